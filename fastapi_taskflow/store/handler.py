"""The handler through which log entries reach their task's record."""

from __future__ import annotations

import logging

from fastapi_taskflow.records import GIVEN, given_extra
from fastapi_taskflow.store.base import TaskStore


class StoreHandler(logging.Handler):
    """Adds log entries to the store's records. Status changes are there before their record.

    Args:
        store: The store.
    """

    def __init__(self, store: TaskStore) -> None:
        super().__init__()
        self._store = store

    def handle(self, record: logging.LogRecord) -> bool:
        """Add an entry to the record of its task; what a branch sends is that, or a status.

        There is no filter, and no lock: the store has its own.
        """
        attributes = record.__dict__
        if "retries_used" not in attributes:
            noted = (
                attributes["seq"],
                attributes["created"],
                attributes["levelno"],
                record.getMessage(),
                attributes["attempt"],
                getattr(record, GIVEN, None) or given_extra(record),
            )
            self._store.note(attributes["task_id"], noted)
        return True
