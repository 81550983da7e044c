"""Tables made, or brought to this library's version, whatever release made them."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, Table, bindparam, func, inspect, select
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from fastapi_taskflow.store.matching import searchable
from fastapi_taskflow.store.schema import SCHEMA_VERSION, metadata, tags, tasks, versions

BATCH = 1000
"""Rows that are read and rewritten at a time."""


def version_of(connection: Connection) -> int | None:
    """The version of the tables that there are, or None where there are none, or not all."""
    if not inspect(connection).has_table(versions.name):
        return None
    version: int | None = connection.scalar(select(func.max(versions.c.version)))
    return version


def migrate(connection: Connection) -> int:
    """Make or change the tables, unless they are newer; give their version.

    MySQL commits at every change of a table. So each step may find itself done, or half done.
    """
    known = version_of(connection)
    if known is not None and known >= SCHEMA_VERSION:
        return known
    is_there = inspect(connection).has_table(tasks.name)
    for table in metadata.sorted_tables:
        connection.execute(CreateTable(table, if_not_exists=True))
    if is_there:
        for step in STEPS[(known or 1) - 1 :]:
            step(connection)
    for table in metadata.sorted_tables:
        _add_indexes(connection, table)
    connection.execute(versions.delete())
    connection.execute(versions.insert(), {"version": SCHEMA_VERSION})
    return SCHEMA_VERSION


def _to_version_2(connection: Connection) -> None:
    """Version 1 was of SQLite only; it knew neither owners nor requests, and searched by itself."""
    names = "owner args result progress_done progress_total progress_message"
    flags = "cancel_requested persist requeue_on_interrupt"
    _add_columns(connection, tasks, *names.split(), *flags.split(), "search")
    columns = (tasks.c.task_id, tasks.c.func_name, tasks.c.error, tasks.c.tags)
    unfilled = select(*columns).where(tasks.c.search.is_(None)).limit(BATCH)
    fill = tasks.update().where(tasks.c.task_id == bindparam("id"))
    while rows := connection.execute(unfilled).all():
        found = [{"id": row[0], "search": searchable(*row[:3])} for row in rows]
        connection.execute(fill, found)
        tagged = [(row.task_id, *item) for row in rows for item in row.tags.items()]
        if tagged:
            names_of = ("task_id", "key", "value")
            connection.execute(
                tags.insert(), [dict(zip(names_of, each, strict=True)) for each in tagged]
            )


def _to_version_3(connection: Connection) -> None:
    """Version 3 has one more index: those that are missing are made in any case."""


STEPS: tuple[Callable[[Connection], None], ...] = (_to_version_2, _to_version_3)
"""The first goes from version 1 to 2, and so on. Tables that are new are made before them."""


def _add_columns(connection: Connection, table: Table, *names: str) -> None:
    known = {column["name"] for column in inspect(connection).get_columns(table.name)}
    for name in names:
        if name not in known:
            column = CreateColumn(table.c[name]).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {column}")


def _add_indexes(connection: Connection, table: Table) -> None:
    known = {index["name"] for index in inspect(connection).get_indexes(table.name)}
    for index in table.indexes:
        if index.name not in known:
            connection.execute(CreateIndex(index))
