"""What is told of tasks: a log entry, a status change; and how far one has come."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from fastapi_taskflow.frozen import maker_of


class TaskStatus(str, Enum):  # noqa: UP042  # formatted as an Enum, not as a str
    """Where a task is in its life. The last four are final."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether a task with this status has ended."""
        return self in _FINAL


_FINAL = frozenset(set(TaskStatus) - {TaskStatus.PENDING, TaskStatus.RUNNING})


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One ``task_log()`` call.

    Attributes:
        task_id: The task's UUID.
        func_name: The task's function.
        message: The message, as it was when it was logged.
        level: The level's name in lower case, such as "info".
        timestamp: When it was logged, in UTC.
        attempt: Zero-based index of the attempt.
        tags: The tags given when the task was enqueued.
        extra: The keyword arguments given to ``task_log()``, under the names given.
        seq: Position among all events of the task, from 0.
    """

    task_id: str
    func_name: str
    message: str
    level: str
    timestamp: datetime
    attempt: int
    tags: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)  # Any: users log what they like
    seq: int = 0


make_log_event = maker_of(LogEvent)
"""Makes a ``LogEvent``: one is made for each line."""


@dataclass(frozen=True, slots=True)
class LifecycleEvent:
    """One status change.

    Attributes:
        task_id: The task's UUID.
        func_name: The task's function.
        status: The new status.
        timestamp: When it changed, in UTC.
        attempt: Zero-based index of the attempt.
        retries_used: How many retries the task has used so far.
        duration: Seconds from the first start to the end, retries included; None before the end.
        error: The error's message, when the task failed.
        stacktrace: The error's traceback, when the task failed.
        tags: The tags given when the task was enqueued.
        seq: Position among all events of the task, from 0.
    """

    task_id: str
    func_name: str
    status: TaskStatus
    timestamp: datetime
    attempt: int
    retries_used: int
    duration: float | None = None
    error: str | None = None
    stacktrace: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    seq: int = 0


Event = LogEvent | LifecycleEvent
"""What observers are told."""


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """How far an attempt has come, as ``task_progress()`` was told.

    Attributes:
        done: How much is done.
        total: How much there is to do; None where that is unknown.
        message: What is being done.
    """

    done: float
    total: float | None = None
    message: str | None = None

    @property
    def percent(self) -> float | None:
        """How much of the total is done, from 0 to 100; None where that is unknown."""
        if self.total is None:
            return None
        return 100.0 if self.done >= self.total else 100.0 * (self.done / self.total)


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """How far a task has come, for those who watch.

    It is the newest of what was reported in some 40 milliseconds, and no log entry: observers
    and logging handlers are not told, and it has no ``seq``.

    Attributes:
        task_id: The task's UUID.
        func_name: The task's function.
        progress: How far it has come.
        timestamp: When this was told, in UTC.
        attempt: Zero-based index of the attempt.
        tags: The tags given when the task was enqueued.
    """

    task_id: str
    func_name: str
    progress: TaskProgress
    timestamp: datetime
    attempt: int
    tags: dict[str, str] = field(default_factory=dict)


News = Event | ProgressEvent
"""What those are told who watch."""
