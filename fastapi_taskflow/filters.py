"""Filters for handlers: what an observer is told, beyond its level."""

from __future__ import annotations

import logging

from fastapi_taskflow.context import TaskContext, get_task_context
from fastapi_taskflow.records import is_lifecycle

NO_TASK = "-"
"""What ``TaskContextFilter`` puts where no task runs."""

_CONTEXT = tuple(TaskContext.__dataclass_fields__)


class NoLifecycleFilter(logging.Filter):
    """Turn status changes away; everything else passes."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is no status change."""
        return not is_lifecycle(record)


class LogLevelFilter(logging.Filter):
    """Turn log entries below a level away; status changes pass, whatever their level."""

    def __init__(self, levelno: int) -> None:
        super().__init__()
        self.levelno = levelno

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is a status change, or of the level or above."""
        return record.levelno >= self.levelno or is_lifecycle(record)


class TaskContextFilter(logging.Filter):
    """Put the running task on every record that passes, so that any formatter can show it.

    A record of any library gets ``task_id``, ``func_name``, ``attempt`` and ``tags``, as
    ``get_task_context()`` has them where the record is handled, or "-" where no task runs.
    What a record has already stays; no record is turned away. For a handler that works in
    another thread, put the filter on the handler that feeds it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add what is missing; always True."""
        attributes = record.__dict__
        context = get_task_context()
        for name in _CONTEXT:
            if name not in attributes:
                attributes[name] = NO_TASK if context is None else getattr(context, name)
        return True
