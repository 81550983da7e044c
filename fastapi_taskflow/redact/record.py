"""A log record without its secrets."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.records import (
    GIVEN,
    OWN_ATTRIBUTES,
    PREFIX,
    STANDARD_ATTRIBUTES,
    LibraryLogRecord,
    attach_extra,
    copy_record,
    is_lifecycle,
    is_log,
    set_given,
)
from fastapi_taskflow.redact.redactor import Redactor
from fastapi_taskflow.redact.traceback import redact_traceback

_SEARCHED = ("tags", "error", "stacktrace")
"""The attributes of ours that can have a secret; the others are ids, numbers and names."""

_TEXTS = ("message", "exc_text", "stack_info")
"""Texts that the standard library keeps on a record."""


def redact_record(redactor: Redactor, record: logging.LogRecord) -> logging.LogRecord:
    """A copy of a record without its secrets; the record itself, if it has none."""
    attributes = record.__dict__
    is_ours = is_log(record) or is_lifecycle(record)
    own = OWN_ATTRIBUTES if is_ours else ()
    extras = {
        name: value
        for name, value in attributes.items()
        if name not in STANDARD_ATTRIBUTES and name not in own and name != GIVEN
    }
    given = getattr(record, GIVEN, None) or {}
    new_given = redactor.mapping(given) if given else given
    new_extras = _redacted_extras(redactor, extras, given, new_given)
    changes = {
        **_redacted_message(redactor, record),
        **_redacted_values(redactor, attributes, _TEXTS),
        **_redacted_values(redactor, attributes, _SEARCHED if is_ours else ()),
        **_redacted_traceback(redactor, record),
    }
    if not changes and new_extras is extras and new_given is given:
        return record
    copied = copy_record(record)
    for name in extras.keys() - new_extras.keys():
        del copied.__dict__[name]
    copied.__dict__.update(new_extras)
    copied.__dict__.update(changes)
    if new_given is not given:
        set_given(copied, new_given)
    return copied


def _redacted_extras(
    redactor: Redactor,
    extras: dict[str, Any],
    given: dict[str, Any],
    new_given: dict[str, Any],
) -> dict[str, Any]:
    """The extras' attributes; what was searched as it was given isn't searched again."""
    attached = _attached(given)
    derived = {
        name
        for name, value in attached.items()
        if name in extras and extras[name] is value  # else a filter has set another
    }
    others = {name: value for name, value in extras.items() if name not in derived}
    redacted = _redacted_others(redactor, others)
    if redacted is others and new_given is given:
        return extras
    # If the extras couldn't be read there are no new ones.
    renamed = zip(attached, _attached(new_given).items(), strict=False)
    return {**{new: value for name, (new, value) in renamed if name in derived}, **redacted}


def _attached(extra: dict[str, Any]) -> dict[str, Any]:
    """Extras under the names of their attributes, in the same order."""
    if not extra:
        return extra
    bare = object.__new__(LibraryLogRecord)
    attach_extra(bare, extra)
    return vars(bare)


def _redacted_others(redactor: Redactor, extras: dict[str, Any]) -> dict[str, Any]:
    redacted = redactor.mapping(extras) if extras else extras
    prefixed = {
        name: redactor.replacement
        for name in extras
        if name.startswith(PREFIX) and redactor.keys.match(name.removeprefix(PREFIX))
    }
    return {**redacted, **prefixed} if prefixed else redacted


def _redacted_values(
    redactor: Redactor, attributes: Mapping[str, Any], names: tuple[str, ...]
) -> dict[str, Any]:
    """The attributes that are other ones now."""
    values = {name: attributes[name] for name in names if attributes.get(name)}
    redacted = {name: redactor.value(value) for name, value in values.items()}
    return {name: value for name, value in redacted.items() if value is not values[name]}


def _redacted_message(redactor: Redactor, record: logging.LogRecord) -> dict[str, Any]:
    """What ``msg`` and ``args`` are now, if anything in them, or in the message, is secret."""
    msg, args = redactor.value(record.msg), redactor.value(record.args)
    if not record.args:  # structlog's msg is a mapping, and must stay one
        return {} if msg is record.msg else {"msg": msg}
    try:
        message = record.getMessage()
    except BaseException as error:  # noqa: BLE001  # the arguments' own code, as they don't fit
        let_pass(error)
        return {} if msg is record.msg and args is record.args else {"msg": msg, "args": args}
    text = redactor.text(message)
    if text == message and args is record.args:
        return {}
    return {"msg": _rendered(redactor, record, args, text), "args": ()}


def _rendered(redactor: Redactor, record: logging.LogRecord, args: Any, text: str) -> str:
    """The message of the redacted arguments; the redacted message, where they don't fit."""
    if args is record.args:
        return text
    try:
        return redactor.text(str(record.msg) % args)
    except BaseException as error:  # noqa: BLE001  # a number's replacement is text: "%d" refuses it
        let_pass(error)
        return text


def _redacted_traceback(redactor: Redactor, record: logging.LogRecord) -> dict[str, Any]:
    """A traceback with a secret, as text: the exception itself can't be changed."""
    if not record.exc_info:
        return {}
    try:
        kind, error, trace = record.exc_info
        if kind is None or error is None:
            return {}
        redacted = redact_traceback(redactor, (kind, error, trace))
    except BaseException as another:  # noqa: BLE001  # the exception's own code, or no exc_info
        let_pass(another)
        redacted = redactor.replacement
    return {} if redacted is None else {"exc_info": None, "exc_text": redacted.rstrip("\n")}
