"""What the database says of other processes' tasks: each query has an index and a limit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func, select

from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.store.record import LogEntry, TaskRecord
from fastapi_taskflow.store.rows import ENTRY, RECORD, record_of
from fastapi_taskflow.store.schema import entries, owners, tasks
from fastapi_taskflow.store.sql import Database
from fastapi_taskflow.store.window import MAX_SEEN

PAGE = 500
"""Rows that are read at a time."""

MAX_RUNNING = 1000
"""Running tasks that are looked at, the newest: of others it shows later that they run."""


class Written(NamedTuple):
    """A log entry's place: its number, and its task."""

    number: int
    task_id: str


class Others:
    """Reads what other processes have written. Each answer is as new as its call.

    Args:
        database: The database.
        owner: Gives the id that this process has in it.
    """

    def __init__(self, database: Database, owner: Callable[[], str]) -> None:
        self._database = database
        self._owner = owner

    @property
    def is_sequential(self) -> bool:
        """Whether what is written later has a higher number: SQLite has one writer at a time."""
        return self._database.url.get_backend_name() == "sqlite"

    def processes(self) -> list[str]:
        """The other processes that have, or had, tasks and have not said that they end."""
        chosen = select(owners.c.owner).where(owners.c.owner != self._owner())
        with self._database.reading() as connection:
            return list(connection.scalars(chosen))

    def running(self) -> list[TaskRecord]:
        """The tasks of others that run."""
        chosen = select(*RECORD).where(
            tasks.c.status == TaskStatus.RUNNING.value, tasks.c.owner != self._owner()
        )
        with self._database.reading() as connection:
            rows = connection.execute(chosen.order_by(tasks.c.start_time.desc()).limit(MAX_RUNNING))
            return [record_of(row) for row in rows]

    def last_end(self, owner: str) -> datetime | None:
        """When a process's last task ended."""
        chosen = select(func.max(tasks.c.end_time)).where(tasks.c.owner == owner)
        with self._database.reading() as connection:
            end: datetime | None = connection.scalar(chosen)
            return end

    def ended(self, owner: str, after: datetime) -> list[tuple[str, datetime]]:
        """The first of a process's tasks that ended after a time, and when."""
        chosen = select(tasks.c.task_id, tasks.c.end_time).where(
            tasks.c.owner == owner, tasks.c.end_time > after
        )
        # As many more than a window knows, that there are new ones among them.
        limited = chosen.order_by(tasks.c.end_time).limit(MAX_SEEN + PAGE)
        with self._database.reading() as connection:
            return [(row.task_id, row.end_time) for row in connection.execute(limited)]

    def records(self, task_ids: Collection[str]) -> dict[str, TaskRecord]:
        """Tasks of others by their ids; those that are this process's are left out."""
        found: dict[str, TaskRecord] = {}
        with self._database.reading() as connection:
            for page in _pages(list(task_ids)):
                others = tasks.c.owner != self._owner()
                chosen = select(*RECORD).where(tasks.c.task_id.in_(page), others)
                found.update((row.task_id, record_of(row)) for row in connection.execute(chosen))
        return found

    def last_entry(self) -> int:
        """The number of the newest log entry, or 0."""
        with self._database.reading() as connection:
            return connection.scalar(select(func.max(entries.c.id))) or 0

    def written(
        self, after: int, up_to: int, *, task_id: str | None = None, before: datetime | None = None
    ) -> list[Written]:
        """The first log entries with these numbers, of any process.

        Args:
            after: The number before the first one.
            up_to: The last number.
            task_id: Only this task's.
            before: Only those that were logged before this time.
        """
        chosen = select(entries.c.id, entries.c.task_id).where(
            entries.c.id > after, entries.c.id <= up_to, entries.c.seq.is_not(None)
        )
        if task_id is not None:
            chosen = chosen.where(entries.c.task_id == task_id)
        if before is not None:
            chosen = chosen.where(entries.c.timestamp < before)
        with self._database.reading() as connection:
            rows = connection.execute(chosen.order_by(entries.c.id).limit(PAGE))
            return [Written(*row) for row in rows]

    def entries(self, numbers: Collection[int]) -> dict[int, LogEntry]:
        """Log entries by their numbers, of which there is at most a page."""
        chosen = select(entries.c.id, *ENTRY).where(entries.c.id.in_(numbers))
        with self._database.reading() as connection:
            rows = connection.execute(chosen.order_by(entries.c.id)).mappings()
            return {values.pop("id"): LogEntry(**values) for values in map(dict, rows)}

    def last_seq(self, task_id: str, before: datetime) -> int | None:
        """The ``seq`` of the last entry that a task logged before a time."""
        chosen = select(entries.c.seq).where(
            entries.c.task_id == task_id,
            entries.c.timestamp <= before,
            entries.c.seq.is_not(None),
        )
        with self._database.reading() as connection:
            seq: int | None = connection.scalar(chosen.order_by(entries.c.id.desc()).limit(1))
            return seq


def _pages(items: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(items), PAGE):
        yield items[start : start + PAGE]
