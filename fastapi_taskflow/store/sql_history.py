"""The history of tasks in a database."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.store.audit import AuditEntry
from fastapi_taskflow.store.history import TaskHistory
from fastapi_taskflow.store.keys import insert_key, retry_key
from fastapi_taskflow.store.retention import deletions
from fastapi_taskflow.store.schema import RUNS_AGAIN, keys, tasks
from fastapi_taskflow.store.sql import Database
from fastapi_taskflow.store.sql_audit import add_entry, newest_entries


class SqlHistory(TaskHistory):
    """The history of tasks in a database.

    Args:
        database: Where they are.
        settle: Called first, to have what has just happened written.
        forget: Called with the ids of tasks that are deleted.
    """

    def __init__(
        self,
        database: Database,
        settle: Callable[[], object],
        forget: Callable[[list[str]], None],
    ) -> None:
        self._database = database
        self._settle = settle
        self._forget = forget

    def ended(
        self, statuses: Collection[TaskStatus], since: datetime | None, func_name: str | None
    ) -> list[str]:
        """The ids of those in the database."""
        self._settle()
        end = func.coalesce(tasks.c.end_time, tasks.c.created_at)
        of = [tasks.c.status.in_([status.value for status in statuses]), ~RUNS_AGAIN]
        if since is not None:
            of.append(end >= since)
        if func_name is not None:
            of.append(tasks.c.func_name == func_name)
        chosen = select(tasks.c.task_id).where(*of).order_by(end, tasks.c.task_id)
        with self._database.asking(), self._database.reading() as connection:
            return list(connection.scalars(chosen))

    def claim_retries(self, task_ids: Collection[str]) -> set[str]:
        """Note in the database that tasks are retried, all at once."""
        with self._database.asking(), self._database.transaction() as connection:
            # In one order everywhere, so that no two wait for each other.
            return {task_id for task_id in sorted(task_ids) if _claimed(connection, task_id)}

    def release_retry(self, task_id: str) -> None:
        """Take that back."""
        own = keys.c.idempotency_key == retry_key(task_id)
        with self._database.asking(), self._database.transaction() as connection:
            connection.execute(keys.delete().where(own))

    def delete(self, before: datetime) -> int:
        """Delete tasks, a few in each transaction, so that nobody waits long."""
        self._settle()
        count = 0
        with self._database.asking():
            for gone in deletions(self._database, before, time.sleep):
                self._forget(gone)
                count += len(gone)
        return count

    def add_audit(self, action: str, task_id: str | None, detail: dict[str, Any]) -> None:
        """Add an entry to the database."""
        with self._database.asking(), self._database.transaction() as connection:
            add_entry(connection, action, task_id, detail)

    def audit(self, limit: int, before: int | None = None) -> list[AuditEntry]:
        """The newest entries, of all processes."""
        with self._database.asking(), self._database.reading() as connection:
            return newest_entries(connection, limit, before)


def _claimed(connection: Connection, task_id: str) -> bool:
    """Whether nobody had claimed it. Another process that does so just now is waited for."""
    key = retry_key(task_id)
    if connection.scalar(select(keys.c.task_id).where(keys.c.idempotency_key == key)) is not None:
        return False
    return insert_key(connection, key, task_id)
