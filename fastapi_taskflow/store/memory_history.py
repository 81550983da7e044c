"""The history of tasks in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.store.audit import AuditEntry, MemoryTrail
from fastapi_taskflow.store.history import TaskHistory
from fastapi_taskflow.store.record import TaskRecord


class MemoryHistory(TaskHistory):
    """The history of tasks in memory.

    Args:
        records: Gives those that there are.
        forget: Called with the ids of tasks that are deleted.
    """

    def __init__(
        self, records: Callable[[], list[TaskRecord]], forget: Callable[[list[str]], None]
    ) -> None:
        self._records = records
        self._forget = forget
        self._trail = MemoryTrail()
        self._retried: set[str] = set()
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Have a lock that nobody holds."""
        self._lock = threading.Lock()

    def ended(
        self, statuses: Collection[TaskStatus], since: datetime | None, func_name: str | None
    ) -> list[str]:
        """The ids of those in memory."""
        found = [
            record
            for record in self._records()
            if record.status in statuses
            and (since is None or _end_of(record) >= since)
            and (func_name is None or record.func_name == func_name)
        ]
        return [record.task_id for record in sorted(found, key=_end_of)]

    def claim_retries(self, task_ids: Collection[str]) -> set[str]:
        """Note that tasks are retried, as long as they are in memory."""
        known = {record.task_id for record in self._records()}
        with self._lock:
            self._retried &= known
            claimed = set(task_ids) - self._retried
            self._retried |= claimed
        return claimed

    def release_retry(self, task_id: str) -> None:
        """Take that back."""
        with self._lock:
            self._retried.discard(task_id)

    def delete(self, before: datetime) -> int:
        """Forget tasks."""
        old = [
            record.task_id
            for record in self._records()
            if record.status.is_final and _end_of(record) < before
        ]
        self._forget(old)
        return len(old)

    def add_audit(self, action: str, task_id: str | None, detail: dict[str, Any]) -> None:
        """Add an entry; beyond the bound the oldest goes."""
        self._trail.add(action, task_id, detail)

    def audit(self, limit: int, before: int | None = None) -> list[AuditEntry]:
        """The newest entries that are kept."""
        return self._trail.newest(limit, before)


def _end_of(record: TaskRecord) -> datetime:
    return record.end_time or record.created_at
