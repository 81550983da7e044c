"""Records and log entries as rows, and back."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from operator import attrgetter
from typing import Any

from sqlalchemy import Row

from fastapi_taskflow.events import TaskProgress, TaskStatus
from fastapi_taskflow.store.matching import searchable
from fastapi_taskflow.store.record import LogEntry, TaskRecord
from fastapi_taskflow.store.schema import entries, tasks
from fastapi_taskflow.store.texts import cut

FIELDS = (
    "task_id",
    "func_name",
    "status",
    "tags",
    "idempotency_key",
    "created_at",
    "start_time",
    "end_time",
    "duration",
    "attempt",
    "retries_used",
    "error",
    "stacktrace",
    "owner",
    "persist",
    "requeue_on_interrupt",
    "cancel_requested",
)
"""What of a record is in columns of the same names."""

_CHANGING = (
    "start_time",
    "end_time",
    "duration",
    "attempt",
    "retries_used",
    "error",
    "stacktrace",
    "owner",
    "requeue_on_interrupt",
)
"""What of it may be another value later, beside the status."""

_KEPT = tuple(name for name in FIELDS if name not in (*_CHANGING, "status"))

_PROGRESS = (tasks.c.progress_done, tasks.c.progress_total, tasks.c.progress_message)

RECORD = (*(tasks.c[name] for name in FIELDS), *_PROGRESS)
"""The columns to read a record from."""

DETAIL = (*RECORD, tasks.c.result.label("packed_result"))
"""The same, with what its task returned, which may be long."""

WHOLE = (*RECORD, tasks.c.args.label("packed"))
"""The same, with what is needed to run its task again."""

FULL = (*DETAIL, tasks.c.args.label("packed"))
"""The same, with both."""

_EXACT = 2.0**53
"""Below this, each whole number is a float."""

_ENTRY_FIELDS = ("seq", "timestamp", "level", "message", "attempt", "extra")

CHANGED = (*_CHANGING, "status", "result", "search", *(column.name for column in _PROGRESS))
"""The columns of ``change_row()``."""

ADDED = (*_KEPT, "args", *CHANGED)
"""The columns of ``task_row()``."""

TAGGED = ("task_id", "key", "value")
"""The columns of ``tag_rows()``."""

LOGGED = ("task_id", *_ENTRY_FIELDS)
"""The columns of ``entry_row()``."""

_NAMES = {status: status.value for status in TaskStatus}

_kept_of = attrgetter(*_KEPT)
_changing_of = attrgetter(*_CHANGING)
_entry_of = attrgetter(*_ENTRY_FIELDS)

ENTRY = tuple(entries.c[name] for name in _ENTRY_FIELDS)
"""The columns to read a log entry from."""


def task_row(record: TaskRecord) -> tuple[Any, ...]:
    """A record as a new row."""
    return (*_kept_of(record), record.packed, *change_row(record))


def change_row(record: TaskRecord) -> tuple[Any, ...]:
    """What of a record's row may have changed."""
    search = _searched(record.task_id, record.func_name)
    if record.error is not None:
        search = searchable(record.task_id, cut(record.func_name), cut(record.error))
    rest = (_NAMES[record.status], record.packed_result, search)
    return (*_changing_of(record), *rest, *_progress_row(record))


@lru_cache  # asked for again when the task starts, and when it ends
def _searched(task_id: str, func_name: str) -> str:
    return searchable(task_id, cut(func_name))


def tag_rows(record: TaskRecord) -> Iterator[tuple[str, str, str]]:
    """A record's tags as rows."""
    for key, value in record.tags.items():
        yield record.task_id, key, value


def entry_row(task_id: str, entry: LogEntry) -> tuple[Any, ...]:
    """A task's log entry as a row."""
    return (task_id, *_entry_of(entry))


def record_of(row: Row[Any]) -> TaskRecord:
    """A row as a record."""
    values = dict(row._mapping)  # documented; named so as not to hide a column
    done, total, message = (values.pop(column.name) for column in _PROGRESS)
    progress = None if done is None else TaskProgress(_number(done), _number(total), message)
    return TaskRecord(**{**values, "status": TaskStatus(values["status"]), "progress": progress})


def _progress_row(record: TaskRecord) -> tuple[float | None, float | None, str | None]:
    progress = record.progress
    if progress is None:
        return None, None, None
    total = None if progress.total is None else float(progress.total)
    return float(progress.done), total, progress.message


def _number(value: Any) -> Any:
    """A number as it was most likely given: the column makes them all floats."""
    is_whole = isinstance(value, float) and value.is_integer() and value < _EXACT
    return int(value) if is_whole else value


def entry_of(row: Row[Any]) -> LogEntry:
    """A row as a log entry."""
    return LogEntry(**row._mapping)
