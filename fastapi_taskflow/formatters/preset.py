"""What a preset of field names is, and the default one."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from fastapi_taskflow.errors import ConfigurationTypeError
from fastapi_taskflow.events import LifecycleEvent, LogEvent
from fastapi_taskflow.filters import NONE
from fastapi_taskflow.levels import level_name
from fastapi_taskflow.records import OWN_ATTRIBUTES

Fields = dict[str, Any]

_OUTCOME = LifecycleEvent.__dataclass_fields__.keys() - LogEvent.__dataclass_fields__.keys()
_CONTEXT = tuple(key for key in OWN_ATTRIBUTES if key not in _OUTCOME)


class Facts(NamedTuple):
    """What a preset gives names to.

    Attributes:
        record: The record, with the task's attributes, if any. It is not to be changed.
        event: "log" or "lifecycle"; None for a record of another library.
        message: The record's message.
        error: What went wrong; None where nothing did.
        error_type: The error's class, if it is known.
        stacktrace: The error's traceback.
        stack_info: The stack of a call with ``stack_info=True``.
    """

    record: logging.LogRecord
    event: str | None
    message: str
    error: str | None = None
    error_type: type[BaseException] | None = None
    stacktrace: str | None = None
    stack_info: str | None = None

    @property
    def context(self) -> Mapping[str, Any]:
        """Where to look up the task's attributes, without what only says that no task ran."""
        attributes = self.record.__dict__
        return attributes if self.event is not None else _of_a_task(attributes)

    @property
    def outcome(self) -> Mapping[str, Any]:
        """Where to look up what a status change tells: nowhere on another record."""
        return self.record.__dict__ if self.event == "lifecycle" else {}

    @property
    def tells_of_an_error(self) -> bool:
        """Whether there is anything to say of an error, or a stack."""
        return self[3:] != (None, None, None, None)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The names and forms of a line's fields.

    Attributes:
        fields: Gives our fields, in order. Values may be of any kind; they are made fit for
            JSON afterwards.
        inside: The key of the object among them that the user's extras go into; None puts
            them beside our fields.
        reserved: Names that no extra may have, beyond those of our own fields.

    Raises:
        ConfigurationError: One of them can't be that.
    """

    fields: Callable[[Facts], Fields]
    inside: str | None = None
    reserved: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse what would fail at the first line."""
        fields: object = self.fields
        if not callable(fields):
            expected = "a function that makes a dict of a Facts"
            raise ConfigurationTypeError("fields", fields, expected)
        inside: object = self.inside
        if inside is not None and not isinstance(inside, str):
            raise ConfigurationTypeError("inside", inside, "a field's name, or None")
        reserved: object = self.reserved
        if not isinstance(reserved, frozenset):
            raise ConfigurationTypeError("reserved", reserved, "a frozenset of field names")


def _of_a_task(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """What another library's record says of a task: "-" is no number, and no tags."""
    found = {key: attributes[key] for key in _CONTEXT if key in attributes}
    return {key: value for key, value in found.items() if type(value) is not str or value != NONE}


def own_attributes(event: str | None) -> tuple[str, ...]:
    """The attributes that are this library's on a record, and not the user's."""
    return OWN_ATTRIBUTES if event == "lifecycle" else _CONTEXT


def present(fields: Fields) -> Fields:
    """The fields that have a value."""
    return {key: value for key, value in fields.items() if value is not None}


def renamed(attributes: Mapping[str, Any], names: Mapping[str, str]) -> Fields:
    """The attributes that have a value, under other names.

    Args:
        attributes: The attributes.
        names: The other name of each.
    """
    found = attributes.get
    return {name: value for key, name in names.items() if (value := found(key)) is not None}


def iso_time(created: float) -> str:
    """A record's time in ISO 8601: UTC, in milliseconds."""
    millis = round(created * 1_000_000) // 1000
    return f"{_second(millis // 1000)}.{millis % 1000:03d}Z"


@functools.lru_cache(maxsize=4)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def labels(tags: object, field: str, other: str, name: Callable[[str], str] = str) -> Fields:
    """The tags as a field of labels, whose values are all text; no field if there are none.

    Args:
        tags: The tags, or another library's attribute that is called like them.
        field: The name of the field of labels.
        other: The name of the field for what is called like our tags, but is none.
        name: Makes a tag's name one that a label can have.
    """
    if isinstance(tags, (dict, Mapping)):  # dict first: it is told apart much faster
        return {field: {name(str(key)): str(tags[key]) for key in tags}} if tags else {}
    return {} if tags is None else {other: tags}


def _default_fields(facts: Facts) -> Fields:
    record, context = facts.record, facts.context
    fields = {
        "timestamp": iso_time(record.created),
        "level": level_name(record.levelno),
        "logger": record.name,
        "event": facts.event,
        "message": facts.message,
    }
    if facts.event is None:
        del fields["event"]
    for key in own_attributes(facts.event):
        if key in context:
            fields[key] = context[key]
    if facts.stacktrace is not None:
        fields["stacktrace"] = facts.stacktrace
    if facts.stack_info is not None:
        fields["stack_info"] = facts.stack_info
    return fields


DEFAULT = Preset(fields=_default_fields, reserved=frozenset({"event"}))
