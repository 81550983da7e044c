"""What people have done to tasks: an entry for each action, and those that memory keeps."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from fastapi_taskflow.fork import restart_after_fork

MAX_ENTRIES = 1000
"""The most entries that are kept in memory, the newest."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that somebody did.

    Attributes:
        number: Its number: later entries have higher ones.
        at: When it was done, in UTC.
        action: What: "cancel", "retry", "bulk-retry", "retry-failed" or "delete-history".
        task_id: To which task; None for several.
        detail: What came of it, in values that JSON has.
    """

    number: int
    at: datetime
    action: str
    task_id: str | None
    detail: dict[str, Any]


class MemoryTrail:
    """The newest entries, in memory."""

    def __init__(self) -> None:
        self._entries: deque[AuditEntry] = deque(maxlen=MAX_ENTRIES)
        self._next = 1
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Have a lock that nobody holds."""
        self._lock = threading.Lock()

    def add(self, action: str, task_id: str | None, detail: dict[str, Any]) -> None:
        """Add an entry, of now."""
        with self._lock:
            entry = AuditEntry(self._next, datetime.now(UTC), action, task_id, detail)
            self._next += 1
            self._entries.appendleft(entry)

    def newest(self, limit: int, before: int | None) -> list[AuditEntry]:
        """So many entries, the newest first, of those whose numbers are lower than that one."""
        with self._lock:
            found = (each for each in self._entries if before is None or each.number < before)
            return list(islice(found, limit))
