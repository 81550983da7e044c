"""Tasks that have ended: found, claimed for a retry, deleted, and what people did to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from datetime import datetime
from typing import Any

from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.store.audit import AuditEntry


class TaskHistory(ABC):
    """What is done to ended tasks. Every method may be called by any thread, and may wait.

    Each raises ``StoreError`` where a database can't be read or written now.
    """

    @abstractmethod
    def ended(
        self, statuses: Collection[TaskStatus], since: datetime | None, func_name: str | None
    ) -> list[str]:
        """The ids of tasks that ended so at this time or later, the oldest first.

        Interrupted tasks that run again by themselves are not among them.
        """

    @abstractmethod
    def claim_retries(self, task_ids: Collection[str]) -> set[str]:
        """Note that tasks are retried, each for one caller only, of all processes.

        Returns:
            Those of them that were not yet.
        """

    @abstractmethod
    def release_retry(self, task_id: str) -> None:
        """Take that back: there was no retry."""

    @abstractmethod
    def delete(self, before: datetime) -> int:
        """Delete the tasks that ended before a time, and all there is of them.

        Returns:
            How many there were.
        """

    @abstractmethod
    def add_audit(self, action: str, task_id: str | None, detail: dict[str, Any]) -> None:
        """Add an entry, of now, to what people have done."""

    @abstractmethod
    def audit(self, limit: int, before: int | None = None) -> list[AuditEntry]:
        """What people have done, the newest first.

        Args:
            limit: The most entries.
            before: Only entries with lower numbers than this one.
        """
