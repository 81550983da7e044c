"""How a task's ``LogRecord`` is laid out, and how an event is read back off it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from fastapi_taskflow.events import Event, LifecycleEvent, LogEvent, TaskStatus, make_log_event
from fastapi_taskflow.levels import level_name

LIBRARY = "fastapi_taskflow"
TASK = f"{LIBRARY}.task"
LIFECYCLE = f"{LIBRARY}.lifecycle"

_TASK_BRANCH = f"{TASK}."
_LIFECYCLE_BRANCH = f"{LIFECYCLE}."

CONTEXT = ("task_id", "func_name", "attempt", "tags", "seq")
"""The attributes that every record of a task has."""

_OUTCOME = ("status", "retries_used", "duration", "error", "stacktrace")
TRACE = ("trace_id", "span_id")
"""The attributes that name the OpenTelemetry span in which a record was made."""

OWN_ATTRIBUTES = (*CONTEXT, *_OUTCOME, *TRACE)
"""The attributes this library sets on a record, beside the standard library's."""

PREFIX = "extra_"
GIVEN = "_given"
"""The slot, or under a factory of the user's the attribute, that has the extras as given."""

_BARE = logging.LogRecord("", 0, "", 0, "", (), None)
STANDARD_ATTRIBUTES = frozenset(vars(_BARE)) | {"message", "asctime", "taskName"}
_RESERVED = STANDARD_ATTRIBUTES | frozenset(dir(_BARE)) | frozenset((*OWN_ATTRIBUTES, GIVEN))

LIFECYCLE_LEVELS = {
    TaskStatus.PENDING: logging.DEBUG,
    TaskStatus.RUNNING: logging.INFO,
    TaskStatus.SUCCESS: logging.INFO,
    TaskStatus.CANCELLED: logging.INFO,
    TaskStatus.INTERRUPTED: logging.WARNING,
    TaskStatus.FAILED: logging.ERROR,
}
"""The natural level of a change to each status."""


Noted = tuple[Any, ...]
"""A log entry as it is noted when it is logged, for the least that a line can cost.

Its seq, when it was logged in seconds since the epoch, the level's number, the message, the
attempt, and then the names and values of its fields. What it takes to be a ``LogEntry`` is done if
somebody reads it. Unless a value is one, there is no container in it: so the garbage collector,
whose full collections stop every thread, passes it over after one look.
"""


class LibraryLogRecord(logging.LogRecord):
    """A record that remembers its extras as given.

    The slot lies outside ``__dict__``, so formatters and shippers that walk a record's
    attributes see each extra once.
    """

    __slots__ = (GIVEN,)

    _given: dict[str, Any]


class TaskLogRecord(LibraryLogRecord):
    """The record of what a task tells; its class says of what, sooner than its attributes.

    Attributes:
        task_id: The task's UUID.
        func_name: The task's function.
        attempt: Zero-based index of the attempt.
        tags: The task's tags.
        seq: The event's number.
    """

    __slots__ = ()

    task_id: str
    func_name: str
    attempt: int
    tags: dict[str, str]
    seq: int


class EntryLogRecord(TaskLogRecord):
    """The record of an entry that a task logged."""

    __slots__ = ()


class StatusLogRecord(TaskLogRecord):
    """The record of a status change, which has the outcome, too."""

    __slots__ = ()


def attach_extra(record: logging.LogRecord, extra: dict[str, Any]) -> None:
    """Set extras as attributes; a name that is taken gets the prefix ``extra_``."""
    set_given(record, extra)
    attributes = record.__dict__
    for key, value in extra.items():
        name = key
        while is_reserved(name) or (name != key and name in extra):
            name = PREFIX + name
        attributes[name] = value


def set_given(record: logging.LogRecord, extra: dict[str, Any]) -> None:
    """Have a record remember extras as given."""
    if isinstance(record, LibraryLogRecord):
        record._given = extra  # noqa: SLF001  # its slot
    else:  # a class of the user's may let nobody set an attribute
        record.__dict__[GIVEN] = extra


def given_extra(record: logging.LogRecord) -> dict[str, Any]:
    """A record's extras under the names that the caller gave them."""
    extra: dict[str, Any] | None = getattr(record, GIVEN, None)
    if extra is not None:
        return extra
    # The record was copied without its slots, by pickle say: read them off the attributes.
    return {
        key.removeprefix(PREFIX) if is_reserved(key.removeprefix(PREFIX)) else key: value
        for key, value in vars(record).items()
        if not is_reserved(key)
    }


def foreign_extra(record: logging.LogRecord) -> dict[str, Any]:
    """The extras of another library's record, under the names that its caller gave them."""
    return {
        name: value
        for name, value in vars(record).items()
        if name not in STANDARD_ATTRIBUTES and not name.startswith("__")
    }


def is_reserved(name: str) -> bool:
    """Whether a record's attribute of this name belongs to the standard library or to us."""
    return name in _RESERVED or name.startswith("__")


def is_tasks(record: logging.LogRecord) -> bool:
    """Whether the record is a task's: an entry that it logged, or a status change."""
    return isinstance(record, TaskLogRecord) or is_log(record) or is_lifecycle(record)


def is_log(record: logging.LogRecord) -> bool:
    """Whether the record is an entry that a task logged."""
    kind = type(record)
    if kind is EntryLogRecord or kind is StatusLogRecord:
        return kind is EntryLogRecord
    attributes = record.__dict__
    return (
        "seq" in attributes  # which nearly no other record has
        and record.name.startswith(_TASK_BRANCH)
        and _has_context(attributes)
    )


def is_lifecycle(record: logging.LogRecord) -> bool:
    """Whether the record is a status change of a task."""
    kind = type(record)
    if kind is StatusLogRecord or kind is EntryLogRecord:
        return kind is StatusLogRecord
    attributes = record.__dict__
    return (
        "retries_used" in attributes
        and record.name.startswith(_LIFECYCLE_BRANCH)
        and _has_context(attributes)
    )


def _has_context(attributes: Mapping[str, Any]) -> bool:
    """Whether the attributes of a task are there, and not just one that is called so."""
    return (
        "seq" in attributes
        and "task_id" in attributes
        and "func_name" in attributes
        and "attempt" in attributes
        and "tags" in attributes
    )


def event_from(record: logging.LogRecord) -> Event | None:
    """The event that a record tells of; None for a record of another library."""
    if is_log(record):
        return _log_event(record, record.__dict__)
    if is_lifecycle(record):
        return _lifecycle_event(record, record.__dict__)
    return None


def _log_event(record: logging.LogRecord, attributes: Mapping[str, Any]) -> LogEvent:
    return make_log_event(
        attributes["task_id"],
        attributes["func_name"],
        record.getMessage(),
        level_name(record.levelno),
        utc_time(record),
        attributes["attempt"],
        dict(attributes["tags"]),
        dict(given_extra(record)),
        attributes["seq"],
    )


def noted_entry(record: logging.LogRecord) -> Noted:
    """A log entry as it is noted, of a new record: nobody has changed one of ours yet."""
    if type(record) is EntryLogRecord:
        given = record._given  # noqa: SLF001  # its slot
        noted = record.seq, record.created, record.levelno, record.msg, record.attempt
        return noted + _flat(given) if given else noted
    attributes = record.__dict__
    return (
        attributes["seq"],
        attributes["created"],
        attributes["levelno"],
        record.getMessage(),
        attributes["attempt"],
        *_flat(given_extra(record)),
    )


def _flat(fields: Mapping[str, Any]) -> tuple[Any, ...]:
    """Names and values in turns."""
    return tuple(chain.from_iterable(fields.items()))


def fields_of(flat: Sequence[Any]) -> dict[str, Any]:
    """The fields whose names and values are given in turns."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


Kept = tuple[Any, ...]
"""What the event of a log entry will be made of; no container either, as in what is noted.

Of 50,000 events that are kept, each full collection would look at all, and hold every thread up.
"""


def kept_entry(record: logging.LogRecord) -> Kept:
    """What ``kept_event`` makes the event of, later, of the record of a log entry."""
    attributes = record.__dict__
    tags, extra = attributes["tags"], given_extra(record)
    kept = (
        attributes["task_id"],
        attributes["func_name"],
        record.getMessage(),
        record.levelno,
        record.created,
        attributes["attempt"],
        attributes["seq"],
        2 * len(tags),
    )
    return kept + _flat(tags) + _flat(extra) if tags or extra else kept


def kept_event(kept: Kept) -> LogEvent:
    """The event, a new one each time."""
    task_id, func_name, message, levelno, created, attempt, seq, tagged, *flat = kept
    return make_log_event(
        task_id,
        func_name,
        message,
        level_name(levelno),
        datetime.fromtimestamp(created, tz=UTC),
        attempt,
        fields_of(flat[:tagged]) if tagged else {},
        fields_of(flat[tagged:]) if len(flat) > tagged else {},
        seq,
    )


def _lifecycle_event(record: logging.LogRecord, attributes: Mapping[str, Any]) -> LifecycleEvent:
    return LifecycleEvent(
        task_id=attributes["task_id"],
        func_name=attributes["func_name"],
        status=TaskStatus(attributes["status"]),
        timestamp=utc_time(record),
        attempt=attributes["attempt"],
        retries_used=attributes["retries_used"],
        duration=attributes["duration"],
        error=attributes["error"],
        stacktrace=attributes["stacktrace"],
        tags=dict(attributes["tags"]),
        seq=attributes["seq"],
    )


def level_of(told: LifecycleEvent | Kept) -> str:
    """The level of what is kept of an entry; a status change has its natural one."""
    if isinstance(told, LifecycleEvent):
        return level_name(LIFECYCLE_LEVELS[told.status])
    return level_name(told[3])


def utc_time(record: logging.LogRecord) -> datetime:
    """When a record was made."""
    return datetime.fromtimestamp(record.created, tz=UTC)


def copy_record(record: logging.LogRecord) -> logging.LogRecord:
    """A record of its own for somebody who will change it, or handle it later."""
    copied: logging.LogRecord = object.__new__(type(record))
    copied.__dict__ = record.__dict__.copy()  # since Python 3.13 half of what an update() takes
    given = getattr(record, GIVEN, None)
    if given is not None:
        set_given(copied, given)  # a slot's value isn't in __dict__
    return copied
