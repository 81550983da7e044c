"""The only birth of a task's record, and the first stretch of its road."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType, TracebackType
from typing import Any

from fastapi_taskflow.context import TaskContext, active_task
from fastapi_taskflow.events import Event, LifecycleEvent, TaskStatus
from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.levels import find_level, known_levels
from fastapi_taskflow.loggers.branch import Branch, BranchLogger
from fastapi_taskflow.loggers.ledger import Diagnostics, news
from fastapi_taskflow.loggers.order import Addressed, EventOrder
from fastapi_taskflow.loggers.snapshot import snapshot
from fastapi_taskflow.records import (
    LIBRARY,
    LIFECYCLE,
    LIFECYCLE_LEVELS,
    TASK,
    TaskLogRecord,
    attach_extra,
)

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

_diagnostics = Diagnostics(f"{LIBRARY}.execution")
_orphans = Diagnostics(TASK)
_reported: set[str] = set()
_MAX_REPORTED = 100  # levels made from data must not grow the set without end


def task_log(message: object, /, *, level: str | int = "info", **extra: Any) -> None:
    """Log one line of the running task.

    The entry goes to the task's record, to every observer and on to the logging
    configuration of the process, in this thread, before the call returns; custom async
    observers get it later, in order. Any thread may call it. It never raises.

    Args:
        message: The message, rendered with ``str()`` now; a ``%`` in it is text.
        level: A level's name in any case, or its number. What is no level counts as "info".
        **extra: Structured fields. They become attributes of the record, and ``extra`` of
            the event; containers are copied now.
    """
    try:
        caller = sys._getframe().f_back  # documented; None where C calls, as at exit
        emitter = active_task.get()
        if isinstance(emitter, TaskEmitter):
            emitter.log(message, level, extra, caller)
        else:
            _log_outside(message, level, extra, caller)
    except BaseException as error:  # this function's promise, should all fail
        if isinstance(error, KeyboardInterrupt):
            raise
        try:
            _report("task_log() failed and the entry is lost", error)
        except RecursionError:  # the caller's own recursion leaves no room even for that
            return


def _log_outside(
    message: object, level: object, extra: dict[str, Any], caller: FrameType | None
) -> None:
    levelno = _level_number(level)
    if _orphans.isEnabledFor(levelno):
        _orphans.handle(make_record(TASK, levelno, _text(message), caller, snapshot(extra)))


class TaskEmitter:
    """The voice of one attempt: makes the task's records and sends them down the branch.

    Thread-safe. Each sink gets the records of one task in the order of their ``seq``.

    Args:
        branch: The manager's branch of the logger tree.
        context: What the records say of the task.
        order: The order that earlier attempts have begun; None begins one.
    """

    __slots__ = ("_loggers", "_order", "branch", "context")

    def __init__(
        self, branch: Branch, context: TaskContext, order: EventOrder | None = None
    ) -> None:
        self.branch = branch
        self.context = context
        self._loggers = branch.loggers(context.func_name)
        self._order = order or EventOrder()

    def next_attempt(self) -> TaskEmitter:
        """The voice of the attempt after this one. What is late of this one keeps its own."""
        context = replace(self.context, attempt=self.context.attempt + 1)
        return TaskEmitter(self.branch, context, self._order)

    def log(
        self,
        message: object,
        level: str | int,
        extra: dict[str, Any],
        caller: FrameType | None = None,
    ) -> None:
        """Emit a log entry, unless a level set on its logger turns it away."""
        levelno = _level_number(level)
        logger = self._loggers.task
        if levelno < logger.source_level():
            return
        text, extra = _text(message), snapshot(extra)
        news.hold()
        try:
            with self._order.lock:
                record = make_record(logger.name, levelno, text, caller, extra)
                sent = self._send(logger, record)
        finally:
            news.release()
        self._send_on(sent)

    def lifecycle(
        self,
        status: TaskStatus,
        *,
        retries_used: int,
        duration: float | None = None,
        error: str | None = None,
        stacktrace: str | None = None,
        exc_info: ExcInfo | None = None,
    ) -> None:
        """Emit a status change, unless a level set on its logger turns it away."""
        logger = self._loggers.lifecycle
        levelno = LIFECYCLE_LEVELS[status]
        if levelno < logger.source_level():
            return
        outcome = {
            "status": status.value,
            "retries_used": retries_used,
            "duration": duration,
            "error": error,
            "stacktrace": stacktrace,
        }
        message = _status_message(status)
        news.hold()
        try:
            with self._order.lock:
                record = make_record(logger.name, levelno, message, exc_info=exc_info)
                record.__dict__.update(outcome)
                sent = self._send(logger, record)
        finally:
            news.release()
        self._send_on(sent)

    def _send_on(self, sent: list[Addressed]) -> None:
        """Let records go on to the users' handlers: without the lock, these are not ours."""
        for logger, record in sent:
            self.branch.send_on(logger, record)

    def _send(self, logger: BranchLogger, record: logging.LogRecord) -> list[Addressed]:
        """Number the record and hand it to the sinks. The lock is held: order is per task."""
        context, order = self.context, self._order
        record.__dict__.update(
            task_id=context.task_id,
            func_name=context.func_name,
            attempt=context.attempt,
            tags=context.tags,
            seq=order.seq,
        )
        order.seq += 1
        return order.send(Addressed(logger, record), self.branch.sinks)


def make_record(
    name: str,
    levelno: int,
    message: str,
    caller: FrameType | None = None,
    extra: dict[str, Any] | None = None,
    exc_info: ExcInfo | None = None,
) -> logging.LogRecord:
    """Make a record through the process's record factory, with no arguments to merge."""
    factory = logging.getLogRecordFactory()
    if factory is logging.LogRecord:
        factory = TaskLogRecord
    path, line, function = _place(caller)
    fields = (name, levelno, path, line, message, (), exc_info, function, None)
    try:
        record = factory(*fields)
    except BaseException as error:  # noqa: BLE001  # somebody's factory: no line is lost to it
        let_pass(error)
        record = TaskLogRecord(*fields)
        _report("the process's log record factory failed", error)
    if extra is not None:
        attach_extra(record, extra)
    return record


_CONTEXT: tuple[str, ...] = ("task_id", "func_name", "attempt", "tags", "seq")


def record_of(event: Event) -> logging.LogRecord:
    """The record that tells of an event that somebody made by hand."""
    if isinstance(event, LifecycleEvent):
        levelno = LIFECYCLE_LEVELS[event.status]
        message = _status_message(event.status)
        record = make_record(f"{LIFECYCLE}.{event.func_name}", levelno, message)
        record.__dict__["status"] = event.status.value
        own = (*_CONTEXT, "retries_used", "duration", "error", "stacktrace")
    else:
        levelno = _level_number(event.level)
        name = f"{TASK}.{event.func_name}"
        record = make_record(name, levelno, event.message, extra=event.extra)
        own = _CONTEXT
    for attribute in own:
        record.__dict__[attribute] = getattr(event, attribute)
    record.created = event.timestamp.timestamp()
    record.msecs = event.timestamp.microsecond // 1000
    return record


def _status_message(status: TaskStatus) -> str:
    return f"-- {status.name}"


def _place(caller: FrameType | None) -> tuple[str, int, str]:
    if caller is None:
        return "(unknown file)", 0, "(unknown function)"
    code = caller.f_code
    return code.co_filename, caller.f_lineno, code.co_name


def _level_number(level: object) -> int:
    number = find_level(level)
    if number is None:
        _report_level(_text(level, repr))
        return logging.INFO
    return number


def _report_level(level: str) -> None:
    choices = ", ".join(known_levels())
    _report(f"task_log(level={level}): no such level, it counts as info; expected one of {choices}")


def _report(what: str, error: BaseException | None = None) -> None:
    """Say it once: a mistake in a loop, or in a factory, is made every time."""
    if what not in _reported and len(_reported) < _MAX_REPORTED:
        _reported.add(what)
        news.tell(lambda: _diagnostics.warning("%s", what, exc_info=error))


def _text(value: object, render: Callable[[object], str] = str) -> str:
    if type(value) is str and render is str:
        return value
    try:
        return render(value)
    except BaseException as error:  # noqa: BLE001  # the value's own code, run for a task
        let_pass(error)
        return f"<unprintable {type(value).__name__}: {type(error).__name__}>"
