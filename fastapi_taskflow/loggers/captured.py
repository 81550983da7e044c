"""What the entry of another library's record has of that record."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from fastapi_taskflow.context import TaskContext
from fastapi_taskflow.filters import NONE
from fastapi_taskflow.loggers.tree import takers
from fastapi_taskflow.records import PREFIX, TRACE, foreign_extra
from fastapi_taskflow.tracing import current_ids

WHEN_AND_WHERE = (
    "created",
    "msecs",
    "relativeCreated",
    "process",
    "processName",
    "thread",
    "threadName",
    "taskName",  # since Python 3.12
)
"""The attributes of a record that say when, and in what process, it was made."""

_OF_THE_ORIGINAL = (*WHEN_AND_WHERE, "exc_info", "exc_text", "stack_info")
"""What the entry of a captured record has of the original, beside its place."""


def captured_extra(
    original: logging.LogRecord, context: TaskContext, tags: dict[str, str]
) -> dict[str, Any]:
    """A captured record's extras and logger, but for what a filter has told it of the task.

    Args:
        original: The record.
        context: The task's.
        tags: The task's tags, as its records have them.
    """
    told = {**asdict(context), "tags": tags, **dict.fromkeys(TRACE, NONE), **current_ids()}
    extra = {
        name: value
        for name, value in foreign_extra(original).items()
        if name not in told or told[name] != value
    }
    name = "logger_name"
    if name in extra:
        extra[PREFIX + name] = extra[name]
    return {**extra, name: original.name}


def made_like(original: logging.LogRecord) -> dict[str, Any]:
    """The attributes by which an entry was made when, and where, its original was."""
    attributes = original.__dict__
    return {name: attributes[name] for name in _OF_THE_ORIGINAL if name in attributes}


def hearers_of(original: logging.LogRecord) -> list[logging.Handler]:
    """The handlers that a captured record goes to by itself."""
    return list(takers(logging.getLogger(original.name), original))
