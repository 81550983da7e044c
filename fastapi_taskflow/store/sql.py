"""The database: what is written to it and read from it, through SQLAlchemy Core."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Row, Select, and_, create_engine, event, func, or_, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql import bindparam

from fastapi_taskflow.errors import StoreError
from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.sanitise import plain_text
from fastapi_taskflow.store.base import Query, Totals
from fastapi_taskflow.store.matching import contains_text, has_tags_json
from fastapi_taskflow.store.memory import TIMED
from fastapi_taskflow.store.record import LogEntry, TaskRecord
from fastapi_taskflow.store.schema import SCHEMA_VERSION, entries, metadata, tasks, versions

BUSY_TIMEOUT = 5.0
"""Seconds that a statement waits while another process writes to the SQLite file."""


class Database:
    """Task records and their log entries in SQLite. Any thread may read; one writes.

    Args:
        location: The path of a SQLite file, or a ``sqlite:///`` URL.

    Raises:
        StoreError: The location is a URL of another database.
    """

    def __init__(self, location: str) -> None:
        self.url = _parse(location)
        self._engine: Engine | None = None

    @property
    def name(self) -> str:
        """Where it is, without a password."""
        return self.url.render_as_string(hide_password=True)

    def open(self) -> None:
        """Connect, and make the tables if need be.

        Raises:
            StoreError: The file can't be used, or a newer version of the library made it.
        """
        if self._engine is not None:
            return
        try:
            if self.url.database:
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
            engine = create_engine(self.url, connect_args={"timeout": BUSY_TIMEOUT})
            event.listen(engine, "connect", _set_up_connection)
            version = _make_tables(engine)
        except (OSError, ValueError, SQLAlchemyError) as error:  # ValueError: a null character
            reason = getattr(error, "orig", None) or error
            raise StoreError(self.name, f"{reason}; expected a file that can be written") from error
        if version > SCHEMA_VERSION:
            engine.dispose()
            raise StoreError(
                self.name,
                f"its schema has version {version}, this library knows {SCHEMA_VERSION}; "
                "use the newer release of fastapi_taskflow that made it",
            )
        self._engine = engine
        weakref.finalize(self, engine.dispose).atexit = False  # at exit, the manager closes

    def close(self) -> None:
        """Close all connections; idempotent."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def write(
        self,
        added: Collection[TaskRecord],
        changed: Collection[TaskRecord],
        logged: Collection[tuple[str, LogEntry]],
    ) -> None:
        """Write all of it in one transaction, or nothing.

        Raises:
            SQLAlchemyError: It could not be written now.
        """
        with self._connected().begin() as connection:
            if added:
                connection.execute(tasks.insert(), [_task_row(record) for record in added])
            if changed:
                statement = tasks.update().where(tasks.c.task_id == bindparam("id"))
                rows = [_task_row(record) for record in changed]
                connection.execute(statement, [{**row, "id": row["task_id"]} for row in rows])
            if logged:
                connection.execute(entries.insert(), [_entry_row(*item) for item in logged])

    def get(self, task_id: str) -> TaskRecord | None:
        """A record without its logs, or None."""
        chosen = select(tasks).where(tasks.c.task_id == plain_text(task_id))
        with self._connected().connect() as connection:
            row = connection.execute(chosen).first()
        return None if row is None else _record(row)

    def entries(self, task_id: str) -> list[LogEntry]:
        """The entries under a task's id, the oldest first."""
        of_task = entries.c.task_id == plain_text(task_id)
        chosen = select(entries).where(of_task).order_by(entries.c.id)
        with self._connected().connect() as connection:
            return [_entry(row) for row in connection.execute(chosen)]

    def query(self, query: Query) -> list[TaskRecord]:
        """The records that match, newest first, without their logs."""
        statement = _filtered(select(tasks), query)
        newest = (tasks.c.created_at.desc(), tasks.c.task_id.desc())
        with self._connected().connect() as connection:
            rows = connection.execute(statement.order_by(*newest).limit(query.limit)).all()
        return [_record(row) for row in rows]

    def totals(self) -> Totals:
        """Figures over all records."""
        counts = select(tasks.c.status, func.count()).group_by(tasks.c.status)
        timed = tasks.c.status.in_([status.value for status in TIMED])
        with self._connected().connect() as connection:
            by_status = dict.fromkeys(TaskStatus, 0)
            by_status.update((TaskStatus(status), n) for status, n in connection.execute(counts))
            mean = connection.execute(select(func.avg(tasks.c.duration)).where(timed)).scalar()
        return Totals(by_status, mean)

    def _connected(self) -> Engine:
        self.open()
        assert self._engine is not None  # open() has returned
        return self._engine


def _parse(location: str) -> URL:
    if "://" not in location:
        return URL.create("sqlite", database=os.path.abspath(location))
    try:
        url = make_url(location)
    except ArgumentError as error:
        expected = "expected a path, or a URL such as sqlite:///tasks.db"
        raise StoreError(location, expected) from error
    if url.get_backend_name() != "sqlite":
        name = url.render_as_string(hide_password=True)
        raise StoreError(name, "expected a path, or a URL of this dialect: sqlite")
    if not url.database or url.database == ":memory:":
        raise StoreError(location, "expected a file; leave snapshot_db out to keep tasks in memory")
    return url.set(database=os.path.abspath(url.database))


def _set_up_connection(connection: Any, _record: object) -> None:
    """Let readers and the writer go on beside each other; a commit survives a killed process.

    SQLite's own functions know the case of ASCII letters only, and end at a null character.
    """
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.create_function("contains_text", 4, contains_text, deterministic=True)
    connection.create_function("has_tags", 2, has_tags_json, deterministic=True)


def _make_tables(engine: Engine) -> int:
    """Make what is missing, and give the schema's version. Several processes may do so."""
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            connection.execute(CreateTable(table, if_not_exists=True))
            for index in table.indexes:
                connection.execute(CreateIndex(index, if_not_exists=True))
        version = connection.execute(select(func.max(versions.c.version))).scalar()
        if version is None:
            insert = versions.insert().prefix_with("OR IGNORE", dialect="sqlite")
            connection.execute(insert, {"version": SCHEMA_VERSION})
    return version or SCHEMA_VERSION


def _filtered(statement: Select[Any], query: Query) -> Select[Any]:
    column = tasks.c
    wanted = {"status": query.status and query.status.value, "func_name": query.func_name}
    for name, value in wanted.items():
        if value is not None:
            statement = statement.where(column[name] == plain_text(value))
    if query.tags:
        statement = statement.where(func.has_tags(json.dumps(query.tags), column.tags))
    if query.since is not None:
        statement = statement.where(column.created_at >= query.since)
    if query.until is not None:
        statement = statement.where(column.created_at < query.until)
    if query.after is not None:
        at, task_id = query.after
        same = and_(column.created_at == at, column.task_id < plain_text(task_id))
        statement = statement.where(or_(column.created_at < at, same))
    if query.text is not None:
        fields = (column.task_id, column.func_name, column.error)
        statement = statement.where(func.contains_text(plain_text(query.text), *fields))
    return statement


_COLUMNS = tuple(column.name for column in tasks.columns)


def _task_row(record: TaskRecord) -> dict[str, Any]:
    row = {name: _storable(getattr(record, name)) for name in _COLUMNS}
    return {**row, "status": record.status.value}


def _entry_row(task_id: str, entry: LogEntry) -> dict[str, Any]:
    names = ("seq", "timestamp", "level", "message", "attempt")
    row = {name: _storable(getattr(entry, name)) for name in names}
    return {**row, "task_id": task_id, "extra": entry.extra}


def _storable(value: Any) -> Any:
    return plain_text(value) if isinstance(value, str) else value  # no lone surrogates


def _record(row: Row[Any]) -> TaskRecord:
    values = _values(row)
    return TaskRecord(**{**values, "status": TaskStatus(values["status"])})


def _entry(row: Row[Any]) -> LogEntry:
    values = _values(row)
    del values["id"], values["task_id"]
    return LogEntry(**values)


def _values(row: Row[Any]) -> dict[str, Any]:
    return dict(row._mapping)  # documented; named so as not to hide a column
