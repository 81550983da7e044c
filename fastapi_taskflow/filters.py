"""Filters for handlers: what an observer is told, beyond its level."""

from __future__ import annotations

import logging

from fastapi_taskflow.records import is_lifecycle


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
