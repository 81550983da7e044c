"""What became of a batch whose commit was not answered: written again, it would be there twice."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, select

from fastapi_taskflow.store.record import LogEntry, TaskRecord
from fastapi_taskflow.store.schema import entries, tasks

Logged = tuple[str, LogEntry]


@dataclass(slots=True)
class Sent:
    """What a transaction added: all of it is there, or nothing."""

    added: list[TaskRecord]
    logged: list[Logged]

    def is_there(self, connection: Connection) -> bool:
        """Whether it is. One row speaks for all."""
        for record in self.added:
            of_task = tasks.c.task_id == record.task_id
            return connection.scalar(select(tasks.c.task_id).where(of_task)) is not None
        for task_id, entry in self.logged:
            names = ("seq", "attempt", "timestamp", "message")
            row = {"task_id": task_id, **{name: getattr(entry, name) for name in names}}
            chosen = select(entries.c.id).filter_by(**row).limit(1)
            return connection.scalar(chosen) is not None
        return False


class Doubt:
    """Tells what is given once more and is there from what is not."""

    def __init__(self) -> None:
        self._sent: Sent | None = None
        self._tasks: set[str] = set()
        self._entries: dict[int, LogEntry] = {}  # by identity; kept, so that no id is used again

    def resolve(self, connection: Connection) -> None:
        """Ask the database for what is in doubt."""
        if self._sent is not None and self._sent.is_there(connection):
            self._tasks.update(record.task_id for record in self._sent.added)
            self._entries.update((id(entry), entry) for _, entry in self._sent.logged)
        self._sent = None

    def is_added(self, record: TaskRecord) -> bool:
        """Whether there is a row of this record, as it is or as it was."""
        return record.task_id in self._tasks

    def is_logged(self, entry: LogEntry) -> bool:
        """Whether this very entry is there."""
        return id(entry) in self._entries

    def sending(self, added: Collection[TaskRecord], logged: Collection[Logged]) -> None:
        """This is written now. It is in doubt unless one of the next two is called."""
        self._sent = Sent(list(added), list(logged))

    def refused(self) -> None:
        """It was not written."""
        self._sent = None

    def written(self, added: Collection[TaskRecord], logged: Collection[Logged]) -> None:
        """It was, with what was in doubt of all this, which nobody will give again."""
        self._sent = None
        if self._tasks:
            self._tasks.difference_update(record.task_id for record in added)
        if self._entries:
            for _, entry in logged:
                self._entries.pop(id(entry), None)
