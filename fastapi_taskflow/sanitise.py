"""Values made fit for JSON: what it has no form for becomes text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from enum import Enum
from typing import Any

MAX_DEPTH = 32
"""Levels of nesting that are kept; what lies deeper becomes text."""

MAX_BITS = 14_000
"""Bits of the largest whole number that stays one: Python writes out 4,300 digits."""


def plain(value: object) -> Any:
    """A form that JSON knows for a value that the encoder does not."""
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    return plain_text(value)


def plain_text(value: object) -> str:
    """A value's text, without lone surrogates, whatever its class does."""
    try:
        text = str(value)
    except Exception as error:  # noqa: BLE001  # the value's own code: it can raise anything
        text = f"<unprintable {type(value).__name__}: {type(error).__name__}>"
    return text.encode("utf-8", "backslashreplace").decode()


def sanitise(value: Any, inside: tuple[int, ...] = ()) -> Any:
    """A copy of a value that every JSON parser takes. It never raises.

    Args:
        value: The value.
        inside: The ids of the containers it lies in, the outermost first.
    """
    try:
        return _sanitise(value, inside)
    except Exception:  # noqa: BLE001  # the value's own code: it can raise anything
        return f"<unreadable {type(value).__name__}>"


def _sanitise(value: Any, inside: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return plain_text(str.__str__(value))  # an enumeration's value, not its name
    if isinstance(value, int):
        return int(value) if value.bit_length() <= MAX_BITS else plain_text(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else plain_text(value)
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return _sanitise_container(value, inside)
    known = plain(value)
    return known if isinstance(known, str) else sanitise(known, (*inside, id(value)))


def _sanitise_container(value: Mapping[Any, Any] | Iterable[Any], inside: tuple[int, ...]) -> Any:
    if id(value) in inside:
        return "<cycle>"
    if len(inside) >= MAX_DEPTH:
        return "<nested too deeply>"
    inside = (*inside, id(value))
    if isinstance(value, Mapping):
        return {_key(key): sanitise(item, inside) for key, item in list(value.items())}
    return [sanitise(item, inside) for item in value]


def _key(key: object) -> str:
    if key is None or isinstance(key, bool):  # as the encoder writes them
        return {None: "null", True: "true", False: "false"}[key]
    return plain_text(str.__str__(key) if isinstance(key, str) else key)
