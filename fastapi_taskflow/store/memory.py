"""The live store: records in memory, bounded."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from fastapi_taskflow.events import TaskProgress, TaskStatus
from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.records import Noted
from fastapi_taskflow.store.base import MAY_RUN_AGAIN, Query, TaskStore, Totals
from fastapi_taskflow.store.matching import contains_text, has_tags
from fastapi_taskflow.store.memory_history import MemoryHistory
from fastapi_taskflow.store.record import LogEntry, TaskRecord, changed, lines_of, read_noted

MAX_LOG_ENTRIES = 10_000
MAX_FINISHED_TASKS = 10_000


class _Live:
    """A record and its log, while they are in memory."""

    __slots__ = ("appended", "entries", "holders", "is_due", "progress", "record")

    def __init__(self, record: TaskRecord, max_log_entries: int) -> None:
        self.record = record
        # Newer than the record's: it is set often, and costs little.
        self.progress = record.progress
        self.entries: deque[LogEntry | Noted] = deque(maxlen=max_log_entries)
        self.appended = 0
        self.holders = 0
        self.is_due = False  # to be forgotten once nobody holds it

    def now(self) -> TaskRecord:
        record, progress = self.record, self.progress
        return record if record.progress is progress else changed(record, progress=progress)

    def log(self) -> list[LogEntry]:
        return [
            each if isinstance(each, LogEntry) else read_noted(each) for each in list(self.entries)
        ]

    def with_logs(self) -> TaskRecord:
        logs = lines_of(list(self.entries))
        return changed(self.now(), logs=logs, logs_dropped=self.appended - len(logs))


class MemoryStore(TaskStore):
    """Keeps every task that has not ended, and the newest of those that have.

    Args:
        max_log_entries: The most entries kept of one task's log, the newest.
        max_finished_tasks: The most ended tasks kept, those that ended last.
    """

    def __init__(
        self,
        max_log_entries: int = MAX_LOG_ENTRIES,
        max_finished_tasks: int = MAX_FINISHED_TASKS,
    ) -> None:
        self.max_log_entries = max_log_entries
        self.max_finished_tasks = max_finished_tasks
        self._tasks: dict[str, _Live] = {}
        self._finished: deque[str] = deque()
        self._keys: dict[str, str] = {}
        self.history = MemoryHistory(self.records, self.forget)
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Have a lock that nobody holds."""
        self._lock = threading.Lock()

    def add(self, record: TaskRecord) -> TaskRecord:
        """Keep a new record, unless a task that did not fail has its idempotency key."""
        key = record.idempotency_key
        with self._lock:
            first = self._tasks.get(self._keys.get(key, "")) if key is not None else None
            if first is not None and first.record.status not in MAY_RUN_AGAIN:
                return first.record
            if key is not None:
                self._keys[key] = record.task_id
            self._tasks[record.task_id] = _Live(record, self.max_log_entries)
        return record

    def adopt(self, record: TaskRecord, entries: list[LogEntry]) -> None:
        """Keep a record that began elsewhere, and its log."""
        live = _Live(record, self.max_log_entries)
        live.entries.extend(entries)
        live.appended = len(entries)
        with self._lock:
            if record.task_id in self._tasks:  # it was this process's, before a shutdown
                with contextlib.suppress(ValueError):
                    self._finished.remove(record.task_id)
            self._tasks[record.task_id] = live
            if record.idempotency_key is not None:
                self._keys[record.idempotency_key] = record.task_id

    def update(
        self, task_id: str, expected: Collection[TaskStatus], **changes: Any
    ) -> TaskRecord | None:
        """Change a record; an ended one may push the oldest ended one out."""
        with self._lock:
            live = self._tasks.get(task_id)
            if live is None or live.record.status not in expected:
                return None
            before = live.record
            live.record = record = changed(before, **{"progress": live.progress, **changes})
            live.progress = record.progress
            if record.status.is_final and not before.status.is_final:
                self._finished.append(task_id)
                self._forget_oldest()
        return record

    def append(self, task_id: str, entry: LogEntry) -> None:
        """Add a log entry; beyond the bound the oldest goes."""
        live = self._tasks.get(task_id)
        if live is not None:
            live.appended += 1
            live.entries.append(entry)

    def note(self, task_id: str, noted: Noted) -> None:
        """Add a log entry as it is: each line that is logged comes here, few are ever read."""
        live = self._tasks.get(task_id)
        if live is not None:
            live.appended += 1
            live.entries.append(noted)

    def set_progress(self, task_id: str, attempt: int, progress: TaskProgress) -> bool:
        """Set it, without a lock: it is called often. A change of status may be quicker."""
        live = self._tasks.get(task_id)
        if live is None:
            return False
        record = live.record
        if record.status is not TaskStatus.RUNNING or record.attempt != attempt:
            return False
        live.progress = progress
        return True

    def now(self, record: TaskRecord) -> TaskRecord:
        """A record that was read elsewhere, with the progress that is known here."""
        live = self._tasks.get(record.task_id)
        if live is None or live.progress is None or record.status is not TaskStatus.RUNNING:
            return record
        return changed(record, progress=live.progress)

    def get(self, task_id: str) -> TaskRecord | None:
        """A record with its logs, or None."""
        live = self._tasks.get(task_id)
        return None if live is None else live.with_logs()

    def find(self, task_id: str) -> TaskRecord | None:
        """A record without its logs, or None."""
        live = self._tasks.get(task_id)
        return None if live is None else live.now()

    def entries(self, task_id: str) -> list[LogEntry] | None:
        """A record's entries, or None."""
        live = self._tasks.get(task_id)
        return None if live is None else live.log()

    def query(self, query: Query) -> list[TaskRecord]:
        """The records that match, newest first."""
        found = [record for record in self.records() if matches(record, query)]
        found.sort(key=position, reverse=True)
        return found[: query.limit]

    def records(self) -> list[TaskRecord]:
        """All records, without their logs, in no order."""
        with self._lock:
            return [live.now() for live in self._tasks.values()]

    def totals(self) -> Totals:
        """Figures over the records in memory."""
        with self._lock:
            records = [live.record for live in self._tasks.values()]
        by_status = dict.fromkeys(TaskStatus, 0)
        for record in records:
            by_status[record.status] += 1
        durations = [r.duration for r in records if r.status in TIMED and r.duration is not None]
        return Totals(by_status, sum(durations) / len(durations) if durations else None)

    @contextlib.contextmanager
    def holding(self, task_id: str) -> Iterator[None]:
        """Put off forgetting a record, beyond the bound if need be."""
        with self._lock:
            live = self._tasks.get(task_id)
            if live is not None:
                live.holders += 1
        try:
            yield
        finally:
            if live is not None:
                with self._lock:
                    live.holders -= 1
                    if live.is_due:
                        self._forget(live)

    def forget(self, task_ids: Iterable[str]) -> None:
        """Forget ended tasks, which are deleted elsewhere."""
        with self._lock:
            for task_id in task_ids:
                live = self._tasks.get(task_id)
                if live is not None and live.record.status.is_final:
                    self._forget(live)

    def _forget_oldest(self) -> None:
        while len(self._finished) > self.max_finished_tasks:
            live = self._tasks.get(self._finished.popleft())
            if live is not None:
                self._forget(live)

    def _forget(self, live: _Live) -> None:
        live.is_due = live.holders > 0
        task_id, key = live.record.task_id, live.record.idempotency_key
        if live.is_due or self._tasks.get(task_id) is not live:  # it was adopted meanwhile
            return
        del self._tasks[task_id]
        if key is not None and self._keys.get(key) == task_id:
            del self._keys[key]


TIMED = (TaskStatus.SUCCESS, TaskStatus.FAILED)
"""The statuses whose tasks' durations count for the mean."""


def position(record: TaskRecord) -> tuple[Any, str]:
    """A record's place in a listing."""
    return record.created_at, record.task_id


def matches(record: TaskRecord, query: Query) -> bool:
    """Whether a query asks for a record; its limit aside."""
    return (
        (query.status is None or record.status is query.status)
        and (query.func_name is None or record.func_name == query.func_name)
        and has_tags(query.tags, record.tags)
        and (query.since is None or record.created_at >= query.since)
        and (query.until is None or record.created_at < query.until)
        and (query.after is None or position(record) < tuple(query.after))
        and (
            query.text is None
            or contains_text(query.text, record.task_id, record.func_name, record.error)
        )
    )
