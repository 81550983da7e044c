"""The one thread that writes to the database: batches, retried until they are in."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable

from sqlalchemy.exc import OperationalError

from fastapi_taskflow.store.record import LogEntry, TaskRecord
from fastapi_taskflow.store.sql import Database

MAX_QUEUED_ENTRIES = 100_000
"""Log entries that may wait while the database takes none; older ones are dropped then."""

JOIN_SECONDS = 1.0
"""How long the thread may take to end: it has nothing left to write, or can't."""

RETRY_SECONDS = 0.5
REPORT_SECONDS = 60.0


class Writer:
    """Writes what it is given, in order: while one batch is written, the next one gathers.

    Any thread may give; nobody ever waits, but in ``flush`` and ``close``.

    Args:
        database: Where to write.
        log: Where to report that it can't be written; a logger that never raises.
    """

    def __init__(self, database: Database, log: logging.Logger) -> None:
        self._database = database
        self._log = log
        self._records: dict[str, TaskRecord] = {}
        self._new: set[str] = set()
        self._entries: deque[tuple[str, LogEntry]] = deque()
        self._dropped = 0
        self._given = 0
        self._written = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._next_report = 0.0

    def record(self, record: TaskRecord, *, new: bool = False) -> None:
        """Write a record as it is now; what it was before need not be written any more."""
        with self._changed:
            self._records[record.task_id] = record
            if new:
                self._new.add(record.task_id)
            self._gave()

    def entry(self, task_id: str, entry: LogEntry) -> None:
        """Write a log entry."""
        with self._changed:
            if len(self._entries) >= MAX_QUEUED_ENTRIES:
                self._entries.popleft()
                self._dropped += 1
            self._entries.append((task_id, entry))
            self._gave()

    def flush(self, timeout: float) -> bool:
        """Wait until all that was given so far is written, for at most so many seconds."""
        with self._changed:
            goal = self._given
            return self._changed.wait_for(lambda: self._written >= goal, timeout)

    def close(self, timeout: float) -> None:
        """Flush, end the thread, and report what could not be written in time; idempotent."""
        if not self.flush(timeout):
            with self._changed:
                lost = len(self._records), len(self._entries)
            self._log.error(
                "%s: %d task changes and %d log entries could not be written at shutdown",
                self._database.name,
                *lost,
            )
        self.stop()
        thread = self._thread
        if thread is not None:
            thread.join(JOIN_SECONDS)
        self._database.close()

    def stop(self) -> None:
        """End the thread without waiting for it, after what it is writing."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def _gave(self) -> None:
        self._given += 1
        if self._thread is None:
            self._closing = False
            self._thread = threading.Thread(
                target=self._run, name="fastapi_taskflow-store", daemon=True
            )
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        while self._wait_for_work():
            if not self._write_batch():
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, RETRY_SECONDS)
                    if self._closing:
                        self._thread = None
                        break

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._written < self._given or self._closing)
            if self._written < self._given:
                return True
            self._thread = None  # under the lock: what comes from now on starts another thread
            return False

    def _write_batch(self) -> bool:
        with self._changed:
            goal = self._given
            records, self._records = self._records, {}
            new, self._new = self._new, set()
            entries, self._entries = self._entries, deque()
        try:
            self._write(records, new, entries)
        except Exception as error:  # noqa: BLE001  # a driver's own; the thread must go on
            self._report(error)
            if _may_pass(error):
                self._give_back(records, new, entries)
                return False
            self._write_singly(records, new, entries)
        with self._changed:
            self._written = goal
            self._changed.notify_all()
        return True

    def _write(
        self,
        records: dict[str, TaskRecord],
        new: set[str],
        entries: Iterable[tuple[str, LogEntry]],
    ) -> None:
        added = [record for task_id, record in records.items() if task_id in new]
        changed = [record for task_id, record in records.items() if task_id not in new]
        self._database.write(added, changed, list(entries))

    def _write_singly(
        self,
        records: dict[str, TaskRecord],
        new: set[str],
        entries: Iterable[tuple[str, LogEntry]],
    ) -> None:
        """Write a batch of which a row can't be stored: all but that row."""
        batches: list[tuple[dict[str, TaskRecord], list[tuple[str, LogEntry]]]] = [
            ({task_id: record}, []) for task_id, record in records.items()
        ]
        batches += [({}, [entry]) for entry in entries]
        for some_records, some_entries in batches:
            try:
                self._write(some_records, new, some_entries)
            except Exception as error:  # noqa: BLE001  # as above
                self._dropped += 1
                self._report(error)

    def _give_back(
        self,
        records: dict[str, TaskRecord],
        new: set[str],
        entries: deque[tuple[str, LogEntry]],
    ) -> None:
        with self._changed:
            self._records = {**records, **self._records}
            self._new |= new
            entries.extend(self._entries)
            self._entries = entries

    def _report(self, error: Exception) -> None:
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + REPORT_SECONDS
            self._log.error(
                "%s can't be written now, tasks go on and it is tried again: %s "
                "(%d rows dropped so far)",
                self._database.name,
                error,
                self._dropped,
            )


def _may_pass(error: Exception) -> bool:
    """Whether the same write may work later: the database is locked, full or gone."""
    return isinstance(error, (OperationalError, OSError))
