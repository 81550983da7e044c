"""Records and log entries as rows, and back."""

from __future__ import annotations

from collections.abc import Iterator
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

ENTRY = tuple(entries.c[name] for name in _ENTRY_FIELDS)
"""The columns to read a log entry from."""


def task_row(record: TaskRecord) -> dict[str, Any]:
    """A record as a new row."""
    row = {name: getattr(record, name) for name in FIELDS}
    return {**row, **change_row(record), "args": record.packed}


def change_row(record: TaskRecord) -> dict[str, Any]:
    """What of a record's row may have changed."""
    row = {name: getattr(record, name) for name in _CHANGING}
    error = None if record.error is None else cut(record.error)
    search = searchable(record.task_id, cut(record.func_name), error)
    row.update(status=record.status.value, result=record.packed_result, search=search)
    return {**row, **_progress_row(record)}


def tag_rows(record: TaskRecord) -> Iterator[dict[str, str]]:
    """A record's tags as rows."""
    for key, value in record.tags.items():
        yield {"task_id": record.task_id, "key": key, "value": value}


def entry_row(task_id: str, entry: LogEntry) -> dict[str, Any]:
    """A task's log entry as a row."""
    return {"task_id": task_id, **{name: getattr(entry, name) for name in _ENTRY_FIELDS}}


def record_of(row: Row[Any]) -> TaskRecord:
    """A row as a record."""
    values = dict(row._mapping)  # documented; named so as not to hide a column
    done, total, message = (values.pop(column.name) for column in _PROGRESS)
    progress = None if done is None else TaskProgress(_number(done), _number(total), message)
    return TaskRecord(**{**values, "status": TaskStatus(values["status"]), "progress": progress})


def _progress_row(record: TaskRecord) -> dict[str, Any]:
    progress = record.progress
    if progress is None:
        return {column.name: None for column in _PROGRESS}
    return {
        "progress_done": float(progress.done),
        "progress_total": None if progress.total is None else float(progress.total),
        "progress_message": progress.message,
    }


def _number(value: Any) -> Any:
    """A number as it was most likely given: the column makes them all floats."""
    is_whole = isinstance(value, float) and value.is_integer() and value < _EXACT
    return int(value) if is_whole else value


def entry_of(row: Row[Any]) -> LogEntry:
    """A row as a log entry."""
    return LogEntry(**row._mapping)
