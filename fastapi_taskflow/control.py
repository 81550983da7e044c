"""What people do to tasks: cancel them."""

from __future__ import annotations

import asyncio
import time

from fastapi_taskflow.engine import TaskEngine
from fastapi_taskflow.errors import ConfigurationTypeError, TaskEndedError, TaskNotFoundError
from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.store import TaskRecord, TaskStore

CANCELLED = "it was cancelled by task_manager.cancel()"

STORE_SECONDS = 5.0
"""How long the database may take until what was done lasts."""

OTHERS_SECONDS = 2.0
"""How long another process may take to cancel a task; it looks every second."""

TURN_SECONDS = 0.05
"""Seconds between two looks at whether it has."""


class Control:
    """Does to tasks what people ask for.

    Args:
        engine: What runs the tasks of this process.
        store: What is known of all of them.
    """

    def __init__(self, engine: TaskEngine, store: TaskStore) -> None:
        self._engine = engine
        self._store = store

    async def cancel(self, task_id: str, reason: str) -> TaskRecord:
        """Cancel a task that has not ended, wherever it is.

        Raises:
            TaskNotFoundError: There is none of this id.
            TaskEndedError: It has ended.
            StoreError: It is another process's, and the database can't be written.
        """
        if not isinstance(reason, str):
            raise ConfigurationTypeError("reason", reason, "a str")
        self._engine.open()
        if self._engine.cancel(task_id, reason):
            await self._store.flush_async(STORE_SECONDS)
        else:
            await asyncio.to_thread(self._cancel_elsewhere, task_id)
        return await asyncio.to_thread(self._known, task_id)

    def _cancel_elsewhere(self, task_id: str) -> None:
        """Ask another process to cancel its task, and wait a little for that."""
        record = self._found(task_id)
        if record.status.is_final:
            raise TaskEndedError(task_id, record.status.value)
        self._store.request_cancel(task_id)
        deadline = time.monotonic() + OTHERS_SECONDS
        while not (record := self._found(task_id)).status.is_final:
            if time.monotonic() > deadline:
                return
            time.sleep(TURN_SECONDS)
        if record.status is not TaskStatus.CANCELLED:
            raise TaskEndedError(task_id, record.status.value)

    def _known(self, task_id: str) -> TaskRecord:
        """A record with its logs."""
        return self._store.get(task_id) or self._found(task_id)

    def _found(self, task_id: str) -> TaskRecord:
        record = self._store.find(task_id)
        if record is None:
            raise TaskNotFoundError(task_id)
        return record
