"""The one place where a task's status changes: state first, then news."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.execution.failure import Failure
from fastapi_taskflow.fork import lineage
from fastapi_taskflow.loggers.emit import TaskEmitter
from fastapi_taskflow.store import TaskStore

ALLOWED: dict[TaskStatus, Collection[TaskStatus]] = {
    TaskStatus.PENDING: (TaskStatus.RUNNING, TaskStatus.INTERRUPTED, TaskStatus.CANCELLED),
    TaskStatus.RUNNING: (
        TaskStatus.SUCCESS,
        TaskStatus.FAILED,
        TaskStatus.INTERRUPTED,
        TaskStatus.CANCELLED,
    ),
    TaskStatus.SUCCESS: (),
    TaskStatus.FAILED: (),
    TaskStatus.INTERRUPTED: (),
    TaskStatus.CANCELLED: (),
}
"""Which statuses may follow each one."""

_BEFORE = {
    after: tuple(status for status, allowed in ALLOWED.items() if after in allowed)
    for after in TaskStatus
}


@dataclass(slots=True)
class Progress:
    """One task's way through its statuses. A move that is not allowed leaves all as it is.

    Safe to call from any thread: of two moves to an end, the first one counts. A forked child
    moves none of its parent's tasks.

    Attributes:
        store: Where the state is.
        emitter: Where the news goes.
        first_start: When the body first started, in a process that is dead; None where in none.
        started: When it first started, on the monotonic clock; None before it does here.
    """

    store: TaskStore
    emitter: TaskEmitter
    first_start: datetime | None = None
    started: float | None = None
    _forks: int = field(default_factory=lambda: lineage.forks)

    @property
    def is_parents(self) -> bool:
        """Whether the task is one of the process that this one was forked from."""
        return self._forks != lineage.forks

    def start(self) -> bool:
        """The body starts now. Returns whether it may."""
        now, self.started = datetime.now(UTC), time.monotonic()
        first = self.first_start
        if first is not None:  # in a process that is dead: by the clock it had
            self.started -= max((now - first).total_seconds(), 0.0)
        return self._move(TaskStatus.RUNNING, start_time=first or now, progress=None)

    def retry(self) -> bool:
        """Another attempt starts: no news, but state. Returns whether the task still runs."""
        if self.is_parents:
            return False
        emitter = self.emitter.next_attempt()
        task_id, attempt = emitter.context.task_id, emitter.context.attempt
        self.emitter.settle_progress()  # what comes later of the attempt before is not heard
        running = (TaskStatus.RUNNING,)
        changes = {"attempt": attempt, "retries_used": attempt, "progress": None}
        if self.store.update(task_id, running, **changes) is None:
            return False
        self.emitter = emitter
        return True

    def succeed(self, result: object, **about: Any) -> bool:
        """The body has returned. Returns whether the task had not ended before.

        Args:
            result: What it returned.
            **about: What else the record says of that.
        """
        return self._end(TaskStatus.SUCCESS, result=result, **about)

    def fail(self, failure: Failure) -> bool:
        """The last attempt has failed. Returns whether the task had not ended before."""
        return self._end(TaskStatus.FAILED, failure)

    def interrupt(self, reason: str | None = None) -> bool:
        """The process stops before the task could end. Returns whether it had not ended.

        The record alone says why: the news of it is not that of an error.
        """
        return self._end(TaskStatus.INTERRUPTED, says_why=False, error=reason)

    def lose(self, reason: str) -> bool:
        """Its worker process died, and this one lives: it may be the task that kills.

        So it does not run again by itself. Returns whether it had not ended.
        """
        return self._end(TaskStatus.INTERRUPTED, error=reason, requeue_on_interrupt=False)

    def cancel(self, reason: str | None = None) -> bool:
        """Somebody called the task off. Returns whether it had not ended before."""
        return self._end(TaskStatus.CANCELLED, error=reason)

    def _end(
        self,
        status: TaskStatus,
        failure: Failure | None = None,
        *,
        says_why: bool = True,
        **changes: Any,
    ) -> bool:
        if failure is not None:
            changes.update(error=failure.error, stacktrace=failure.stacktrace)
        end, duration = datetime.now(UTC), self._duration()
        return self._move(
            status, failure, says_why=says_why, end_time=end, duration=duration, **changes
        )

    def _move(
        self,
        status: TaskStatus,
        failure: Failure | None = None,
        *,
        says_why: bool = True,
        **changes: Any,
    ) -> bool:
        if self.is_parents:
            return False
        task_id = self.emitter.context.task_id
        record = self.store.update(task_id, _BEFORE[status], status=status, **changes)
        if record is None:
            return False
        self.emitter.lifecycle(
            status,
            retries_used=record.retries_used,
            duration=record.duration,
            error=record.error if says_why else None,
            stacktrace=record.stacktrace,
            exc_info=None if failure is None else failure.safe_exc_info,
            exc_text=None if failure is None else failure.prepared_traceback,
        )
        return True

    def _duration(self) -> float | None:
        return None if self.started is None else time.monotonic() - self.started
