"""The only birth of a task's record."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from fastapi_taskflow.events import Event, LifecycleEvent, TaskStatus
from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.levels import find_level, known_levels
from fastapi_taskflow.loggers.ledger import Diagnostics, news
from fastapi_taskflow.loggers.places import NOWHERE, Place
from fastapi_taskflow.loggers.plain_record import layout, plain_record, told_in
from fastapi_taskflow.records import (
    CONTEXT,
    LIBRARY,
    LIFECYCLE,
    LIFECYCLE_LEVELS,
    TASK,
    EntryLogRecord,
    LibraryLogRecord,
    StatusLogRecord,
    attach_extra,
)
from fastapi_taskflow.redact.traceback import ExcInfo
from fastapi_taskflow.tracing import current_ids

_diagnostics = Diagnostics(f"{LIBRARY}.execution")
_reported: set[str] = set()
_MAX_REPORTED = 100  # levels made from data must not grow the set without end


STATUS_MESSAGES = {status: f"-- {status.name}" for status in TaskStatus}
"""What the record of a status change says."""


def make_record(
    name: str,
    levelno: int,
    message: str,
    place: Place = NOWHERE,
    extra: dict[str, Any] | None = None,
    exc_info: ExcInfo | None = None,
) -> logging.LogRecord:
    """Make a record through the process's record factory, with no arguments to merge."""
    return make_laid_out(layout(name), levelno, message, place, extra, exc_info)


def make_laid_out(
    laid_out: dict[str, Any],
    levelno: int,
    message: str,
    place: Place,
    extra: dict[str, Any] | None = None,
    exc_info: ExcInfo | None = None,
) -> logging.LogRecord:
    """Make a record that has, beside its own, the attributes of a layout.

    Args:
        laid_out: The layout.
        levelno: The level's number.
        message: The message.
        place: Where it is logged.
        extra: The structured fields.
        exc_info: The exception.
    """
    factory = logging.getLogRecordFactory()
    if factory is logging.LogRecord:
        kind = _kind_of(laid_out)
        plain = plain_record(laid_out, levelno, message, place, extra, kind, news.mine.thread)
        if exc_info is not None:
            plain.exc_info = exc_info
        return plain
    path, lineno, function, _, _ = place
    fields = (laid_out["name"], levelno, path, lineno, message, (), exc_info, function, None)
    told = {**told_in(laid_out), **current_ids()}
    try:
        return _told(factory(*fields), told, extra)
    except BaseException as error:  # noqa: BLE001  # somebody's factory: no line is lost to it
        let_pass(error)
        report("the process's log record factory failed", error)
        return _told(LibraryLogRecord(*fields), told, extra)


def _told(record: object, told: dict[str, Any], extra: dict[str, Any] | None) -> logging.LogRecord:
    """A record with what there is to tell.

    Raises:
        TypeError: It is no record.
    """
    if not isinstance(record, logging.LogRecord):
        raise TypeError(f"it made no LogRecord, but {text_of(record, repr)}")
    record.__dict__.update(told)
    if extra is not None:
        attach_extra(record, extra)
    return record


def _kind_of(laid_out: dict[str, Any]) -> type[LibraryLogRecord]:
    """The class of the records of a layout."""
    if "seq" not in laid_out:
        return LibraryLogRecord
    return StatusLogRecord if "retries_used" in laid_out else EntryLogRecord


def record_of(event: Event) -> logging.LogRecord:
    """The record that tells of an event that somebody made by hand."""
    told = {name: getattr(event, name) for name in CONTEXT}
    if isinstance(event, LifecycleEvent):
        told.update(status=event.status.value, retries_used=event.retries_used)
        told.update(duration=event.duration, error=event.error, stacktrace=event.stacktrace)
        laid_out = layout(f"{LIFECYCLE}.{event.func_name}", **told)
        levelno, message = LIFECYCLE_LEVELS[event.status], STATUS_MESSAGES[event.status]
        record = make_laid_out(laid_out, levelno, message, NOWHERE)
    else:
        laid_out = layout(f"{TASK}.{event.func_name}", **told)
        levelno = level_number_of(event.level)
        record = make_laid_out(laid_out, levelno, event.message, NOWHERE, event.extra)
    record.created = event.timestamp.timestamp()
    record.msecs = event.timestamp.microsecond // 1000
    return record


def message_of(record: logging.LogRecord) -> str:
    """Another library's message, even where its arguments don't fit."""
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001  # the arguments' own code
        return f"{text_of(record.msg)} {text_of(record.args)} <{type(error).__name__}>"


def level_number_of(level: object) -> int:
    """The number of a level as callers give it; what is none is reported, and counts as INFO."""
    number = find_level(level)
    if number is None:
        _report_level(text_of(level, repr))
        return logging.INFO
    return number


def _report_level(level: str) -> None:
    choices = ", ".join(known_levels())
    report(f"task_log(level={level}): no such level, it counts as info; expected one of {choices}")


def report(what: str, error: BaseException | None = None) -> None:
    """Say it once: a mistake in a loop, or in a factory, is made every time."""
    if what not in _reported and len(_reported) < _MAX_REPORTED:
        _reported.add(what)
        news.mine.tell(lambda: _diagnostics.warning("%s", what, exc_info=error))


def text_of(value: object, render: Callable[[object], str] = str) -> str:
    """A value's text, whatever its class does."""
    if type(value) is str and render is str:
        return value
    try:
        return render(value)
    except BaseException as error:  # noqa: BLE001  # the value's own code, run for a task
        let_pass(error)
        return f"<unprintable {type(value).__name__}: {type(error).__name__}>"
