"""What the database says of tasks: one, a list of them, all in figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, or_, select

from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.store.base import Query, Samples, Totals
from fastapi_taskflow.store.matching import fold
from fastapi_taskflow.store.memory import TIMED
from fastapi_taskflow.store.record import LogEntry, TaskRecord
from fastapi_taskflow.store.rows import DETAIL, ENTRY, FULL, RECORD, WHOLE, entry_of, record_of
from fastapi_taskflow.store.schema import LEFT, entries, tags, tasks

SAMPLE = 20
"""How many rows are looked at to see whether they can be read."""


class Reads(ABC):
    """Reads tasks and their log entries by the connections that a subclass has.

    Each method raises ``StoreError`` where the database can't be read now.
    """

    @abstractmethod
    def reading(self) -> AbstractContextManager[Connection]:
        """A connection to read by."""

    @abstractmethod
    def asking(self) -> AbstractContextManager[None]:
        """Within the block, what the database can't do now is a ``StoreError``."""

    def get(self, task_id: str) -> TaskRecord | None:
        """A record without its logs, or None."""
        with self.asking(), self.reading() as connection:
            row = connection.execute(select(*DETAIL).where(tasks.c.task_id == task_id)).first()
        return None if row is None else record_of(row)

    def find(self, task_id: str) -> TaskRecord | None:
        """A record with its stored arguments, without its logs, or None."""
        chosen = select(*WHOLE).where(tasks.c.task_id == task_id)
        with self.asking(), self.reading() as connection:
            row = connection.execute(chosen).first()
        return None if row is None else record_of(row)

    def samples(self) -> Samples:
        """Some of the tasks that are left to run, and of the newest."""
        chosen = select(*FULL).limit(SAMPLE)
        with self.asking(), self.reading() as connection:
            left = connection.execute(chosen.where(LEFT)).all()
            newest = connection.execute(chosen.order_by(tasks.c.created_at.desc())).all()
        return Samples([record_of(row) for row in left], [record_of(row) for row in newest])

    def entries(self, task_id: str) -> list[LogEntry]:
        """The entries under a task's id, the oldest first."""
        of_task = entries.c.task_id == task_id
        chosen = select(*ENTRY).where(of_task).order_by(entries.c.id)
        with self.asking(), self.reading() as connection:
            return [entry_of(row) for row in connection.execute(chosen)]

    def query(self, query: Query) -> list[TaskRecord]:
        """The records that match, newest first, without their logs."""
        newest = (tasks.c.created_at.desc(), tasks.c.task_id.desc())
        with self.asking(), self.reading() as connection:
            chosen = _filtered(select(*RECORD), query, connection.dialect.name)
            rows = connection.execute(chosen.order_by(*newest).limit(query.limit)).all()
        return [record_of(row) for row in rows]

    def totals(self) -> Totals:
        """Figures over all records."""
        counts = select(tasks.c.status, func.count()).group_by(tasks.c.status)
        timed = tasks.c.status.in_([status.value for status in TIMED])
        with self.asking(), self.reading() as connection:
            by_status = dict.fromkeys(TaskStatus, 0)
            by_status.update((TaskStatus(status), n) for status, n in connection.execute(counts))
            mean = connection.execute(select(func.avg(tasks.c.duration)).where(timed)).scalar()
        return Totals(by_status, mean)


def _filtered(statement: Select[Any], query: Query, dialect: str) -> Select[Any]:
    column = tasks.c
    wanted = {"status": query.status and query.status.value, "func_name": query.func_name}
    statement = statement.where(
        *(column[name] == value for name, value in wanted.items() if value is not None),
        *(_is_tagged(key, value) for key, value in query.tags.items()),
    )
    if query.since is not None:
        statement = statement.where(column.created_at >= query.since)
    if query.until is not None:
        statement = statement.where(column.created_at < query.until)
    if query.after is not None:
        at, task_id = query.after
        same = and_(column.created_at == at, column.task_id < task_id)
        statement = statement.where(or_(column.created_at < at, same))
    if query.text is not None:
        place = func.strpos if dialect == "postgresql" else func.instr  # LIKE has wildcards
        statement = statement.where(place(column.search, fold(query.text)) > 0)
    return statement


def _is_tagged(key: str, value: str) -> ColumnElement[bool]:
    of_task = tags.c.task_id == tasks.c.task_id
    return exists().where(of_task, tags.c.key == key, tags.c.value == value)
