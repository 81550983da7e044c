"""The store with a database behind it: memory answers, the database lasts."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Collection, Coroutine
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from fastapi_taskflow.errors import StoreError
from fastapi_taskflow.events import TaskProgress, TaskStatus
from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.sanitise import sanitise
from fastapi_taskflow.store.base import (
    Audience,
    Cancel,
    Decide,
    Query,
    Samples,
    Take,
    TaskStore,
    Totals,
)
from fastapi_taskflow.store.beats import Beats
from fastapi_taskflow.store.leases import Lease
from fastapi_taskflow.store.memory import MemoryStore
from fastapi_taskflow.store.poller import Poller
from fastapi_taskflow.store.record import LogEntry, TaskRecord, changed
from fastapi_taskflow.store.retention import Retention
from fastapi_taskflow.store.sql import Database
from fastapi_taskflow.store.sql_history import SqlHistory
from fastapi_taskflow.store.writer import Writer

READ_TIMEOUT = 2.0
"""Seconds that a listing waits for the writer, so that it shows what has just happened."""


class SnapshotStore(TaskStore):
    """Writes every change to a database as well, from a thread of its own.

    Records of tasks that this process has in memory are read there, others from the database
    and from what waits to be written to it; listings and figures come from the database, and
    from memory alone while it takes no writes.

    Args:
        memory: The live records.
        database: What lasts.
        log: Where to report that the database can't be written; a logger that never raises.
        age: How old an ended task may be before it is deleted; None deletes none.
    """

    def __init__(
        self,
        memory: MemoryStore,
        database: Database,
        log: logging.Logger,
        age: timedelta | None = None,
    ) -> None:
        self._memory = memory
        self._database = database
        self._lease = Lease(database)
        self._beats = Beats(self._lease, log)
        self._writer = Writer(database, log, self._lease.ensure)
        self._retention = Retention(database, age, memory.forget, log)
        self.history = SqlHistory(
            database, partial(self._writer.flush, READ_TIMEOUT), memory.forget
        )
        lease = self._lease
        self._poller = Poller(database, memory, lambda: lease.owner, log)
        self.start_afresh()
        restart_after_fork(self)
        weakref.finalize(self, self._poller.stop).atexit = False
        weakref.finalize(self, self._beats.stop).atexit = False
        weakref.finalize(self, self._retention.stop).atexit = False
        weakref.finalize(self, self._writer.stop).atexit = False  # at exit, the manager closes

    def start_afresh(self) -> None:
        """Have a lock that nobody holds, to hand changes over in the order they are made in."""
        self._turn = threading.Lock()

    def open(self) -> None:
        """Connect to the database.

        Raises:
            StoreError: It can't be used.
        """
        self._database.open()
        self._poller.open()

    def serve(self, audience: Audience) -> None:
        """Tell these of other processes' tasks while they watch."""
        self._poller.serve(audience)

    def follow(self, task_id: str | None) -> None:
        """See to it that those who watch are told."""
        self._poller.follow(task_id)

    def add(self, record: TaskRecord) -> TaskRecord:
        """Keep a new record, here and in the database."""
        own = changed(record, owner=self._lease.owner)
        with self._turn:
            kept = self._memory.add(own)
            if kept is own:
                self._writer.record(own, new=True)
        return kept

    def take_over(self, record: TaskRecord) -> None:
        """Keep a claimed record in memory, with the log that it has in the database."""
        try:
            entries = self._database.entries(record.task_id)
        except (SQLAlchemyError, StoreError):  # gone just now: the task goes on without them here
            entries = []
        self._poller.take_over(record)
        self._memory.adopt(record, entries)

    def look_after(self, decide: Decide, take: Take, cancel: Cancel) -> None:
        """Begin to beat, to take over from the dead, to hear the living, to delete what is old."""
        self._retention.start()
        self._beats.start(decide, take, cancel)

    def request_cancel(self, task_id: str) -> None:
        """Leave word in the task's row, and see at once whether its process is dead."""
        self._database.request_cancel(task_id)
        self._beats.ring()

    def update(
        self, task_id: str, expected: Collection[TaskStatus], **changes: Any
    ) -> TaskRecord | None:
        """Change a record, here and in the database."""
        with self._turn:
            record = self._memory.update(task_id, expected, **changes)
            if record is not None:
                self._writer.record(record)
        return record

    def append(self, task_id: str, entry: LogEntry) -> None:
        """Add a log entry, here and in the database."""
        self._memory.append(task_id, entry)
        # Made storable here: the writer's thread would see what the values are later.
        if entry.extra:
            entry = replace(entry, extra=sanitise(entry.extra))
        self._writer.entry(task_id, entry)

    def set_progress(self, task_id: str, attempt: int, progress: TaskProgress) -> bool:
        """Set it here; ``save_progress()`` is for the database."""
        return self._memory.set_progress(task_id, attempt, progress)

    def save_progress(self, task_id: str) -> None:
        """Write it to the database, if the task still runs: its end has it, too."""
        self.update(task_id, (TaskStatus.RUNNING,))

    def get(self, task_id: str) -> TaskRecord | None:
        """A record of this process from memory, another one from the database."""
        live = self._memory.get(task_id)
        if live is not None:
            return live
        record, entries = self._stored(task_id)
        return record and changed(record, logs=[entry.line() for entry in entries])

    def find(self, task_id: str) -> TaskRecord | None:
        """A record of this process from memory, another one from the database."""
        live = self._memory.find(task_id)
        return live or self._writer.waiting(task_id).record or self._database.find(task_id)

    def samples(self) -> Samples:
        """Some of the tasks in the database."""
        return self._database.samples()

    def entries(self, task_id: str) -> list[LogEntry] | None:
        """A record's entries: of this process from memory, others from the database."""
        live = self._memory.entries(task_id)
        if live is not None:
            return live
        record, entries = self._stored(task_id)
        return None if record is None else entries

    def holding(self, task_id: str) -> AbstractContextManager[None]:
        """Keep a record of this process in memory."""
        return self._memory.holding(task_id)

    def query(self, query: Query) -> list[TaskRecord]:
        """The records in the database that match."""
        return [self._memory.now(record) for record in self._readable().query(query)]

    def totals(self) -> Totals:
        """Figures over the records in the database."""
        return self._readable().totals()

    def flush(self, timeout: float) -> bool:
        """Wait until all that happened so far is in the database."""
        return self._writer.flush(timeout)

    @property
    def is_durable(self) -> bool:
        """Whether it outlasts the process: yes."""
        return True

    def holder(self, task_id: str) -> str:
        """The task that has a flushed task's idempotency key in the database."""
        return self._writer.holder(task_id)

    def flush_async(self, timeout: float) -> Coroutine[Any, Any, bool]:
        """Wait on an event loop until all that happened so far is in the database."""
        return self._writer.flush_async(timeout)

    def close(self, timeout: float) -> None:
        """Flush, and disconnect; what this process leaves behind is others' from now on."""
        self._writer.flush(timeout)
        self._poller.close()
        self._retention.close()
        self._beats.close()
        self._writer.close(timeout)

    def _stored(self, task_id: str) -> tuple[TaskRecord | None, list[LogEntry]]:
        """A record and its entries: what is written and, in its place or behind it, what waits."""
        waiting = self._writer.waiting(task_id)  # first: what is written meanwhile is in both
        if waiting.is_new:
            return waiting.record, waiting.entries
        try:
            record = waiting.record or self._database.get(task_id)
            written = self._database.entries(task_id)
        except (SQLAlchemyError, StoreError):
            if waiting.record is None:
                raise
            return waiting.record, waiting.entries
        known = {entry.mark for entry in written}
        return record, written + [entry for entry in waiting.entries if entry.mark not in known]

    def _readable(self) -> TaskStore | Database:
        return self._database if self.flush(READ_TIMEOUT) else self._memory
