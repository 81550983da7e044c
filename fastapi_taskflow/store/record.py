"""What is known of a task: its record, and the log entries in it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from fastapi_taskflow.events import TaskProgress, TaskStatus
from fastapi_taskflow.frozen import maker_of
from fastapi_taskflow.levels import level_name
from fastapi_taskflow.records import Noted, fields_of


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry in a task's record.

    Attributes:
        seq: The event's position in the task; None for the separator before a retry.
        timestamp: When it was logged, in UTC.
        level: The level's name in lower case.
        message: The message, or the separator.
        attempt: Zero-based index of the attempt.
        extra: The fields given with the message.
    """

    seq: int | None
    timestamp: datetime
    level: str
    message: str
    attempt: int
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def mark(self) -> object:
        """What tells it from the others of its task, as given and as read back."""
        return self.seq, self.attempt, self.timestamp

    def line(self) -> str:
        """The entry as a line: time and message, or the separator alone."""
        if self.seq is None:
            return self.message
        return f"{self.timestamp.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} {self.message}"


def read_noted(noted: Noted) -> LogEntry:
    """The entry for those who read it."""
    seq, created, levelno, message, attempt, *flat = noted
    timestamp = datetime.fromtimestamp(created, tz=UTC)
    return LogEntry(seq, timestamp, level_name(levelno), message, attempt, fields_of(flat))


def lines_of(entries: Iterable[LogEntry | Noted]) -> list[str]:
    """The lines of a log. Many entries are of one second: its text is made once."""
    lines, known, text = [], -1.0, ""
    for each in entries:
        if isinstance(each, LogEntry):
            lines.append(each.line())
            continue
        second = each[1] // 1
        if second != known:
            known, text = second, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
        lines.append(f"{text} {each[3]}")
    return lines


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task as it was at one moment.

    Attributes:
        task_id: The task's UUID.
        func_name: The name it is registered under.
        status: Where it is in its life.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        tags: The tags given when it was enqueued.
        idempotency_key: The key it was enqueued under, if any.
        created_at: When it was enqueued, in UTC.
        start_time: When its body first started, in UTC.
        end_time: When it ended, in UTC.
        duration: Seconds from the first start to the end, retries included.
        attempt: Zero-based index of the last attempt.
        retries_used: How many retries it has used.
        result: What its body returned: the object itself in the process that ran it, as plain
            JSON types where it comes from a database.
        error: The message of the error that it failed with.
        stacktrace: That error's traceback.
        logs: Its log, a line an entry, the oldest first.
        logs_dropped: How many older entries were dropped to bound the log.
        packed: Its arguments as they are stored: JSON, or encrypted; None where they are not.
        owner: Which process has it, as the database knows processes; None without one.
        persist: Whether it runs in another process if its own dies before it has begun.
        requeue_on_interrupt: Whether it runs again if it was interrupted.
        packed_result: Its result as it is stored: JSON, or encrypted; None where it is not.
        result_dropped: Why the result is not stored: "too large", "not JSON"; or, of one that is
            not in this process, "not stored", or "encrypted" with a key that is not there.
        progress: How far its last attempt has come, if it has said so.
        cancel_requested: Whether another process than its own was told to cancel it.
    """

    task_id: str
    func_name: str
    status: TaskStatus
    created_at: datetime
    args: tuple[Any, ...] = field(default=(), repr=False)
    kwargs: dict[str, Any] = field(default_factory=dict, repr=False)
    tags: dict[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    duration: float | None = None
    attempt: int = 0
    retries_used: int = 0
    result: Any = field(default=None, repr=False)
    error: str | None = None
    stacktrace: str | None = field(default=None, repr=False)
    logs: list[str] = field(default_factory=list, repr=False)
    logs_dropped: int = 0
    packed: str | None = field(default=None, repr=False)
    owner: str | None = None
    persist: bool = False
    requeue_on_interrupt: bool = False
    progress: TaskProgress | None = None
    cancel_requested: bool = False
    packed_result: str | None = field(default=None, repr=False)
    result_dropped: str | None = None


_INDEX = {each.name: index for index, each in enumerate(fields(TaskRecord))}
_values_of = attrgetter(*_INDEX)

new_record = maker_of(TaskRecord)
"""Makes a ``TaskRecord``: several are made for each task."""


def changed(record: TaskRecord, **changes: Any) -> TaskRecord:
    """A record with some fields changed: ``dataclasses.replace()``, in a third of the time.

    Raises:
        KeyError: There is no such field.
    """
    values = list(_values_of(record))
    for name, value in changes.items():
        values[_INDEX[name]] = value
    return new_record(*values)
