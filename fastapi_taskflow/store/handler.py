"""The handler through which log entries reach their task's record."""

from __future__ import annotations

import logging

from fastapi_taskflow.levels import level_name
from fastapi_taskflow.records import given_extra, is_log, utc_time
from fastapi_taskflow.store.base import TaskStore
from fastapi_taskflow.store.record import LogEntry


class StoreHandler(logging.Handler):
    """Adds log entries to the store's records. Status changes are there before their record.

    Args:
        store: The store.
    """

    def __init__(self, store: TaskStore) -> None:
        super().__init__()
        self._store = store

    def emit(self, record: logging.LogRecord) -> None:
        """Add the entry to the record of its task."""
        if is_log(record):
            attributes = record.__dict__
            entry = LogEntry(
                seq=attributes["seq"],
                timestamp=utc_time(record),
                level=level_name(record.levelno),
                message=record.getMessage(),
                attempt=attributes["attempt"],
                extra=given_extra(record),
            )
            self._store.append(attributes["task_id"], entry)
