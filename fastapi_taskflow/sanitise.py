"""Values made fit for JSON: what it has no form for becomes text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from enum import Enum
from itertools import islice
from typing import Any

from fastapi_taskflow.guard import let_pass

MAX_DEPTH = 32
"""Levels of nesting that are kept; what lies deeper becomes text."""

MAX_SIZE = 10_000
"""How much of one value is kept: each item counts 1, and 1 more for every 100 characters.

Objects that share their parts are written out as trees: 40 lists, each with the next one twice,
would fill any disk.
"""

MAX_BITS = 14_000
"""Bits of the largest whole number that stays one: Python writes out 4,300 digits."""

_CUT = "<too large>"
_SMALL = 2**63


def sanitise(value: Any) -> Any:
    """A copy of a value that every JSON parser takes. It never raises.

    It has only the built-in types themselves, no object twice, no NaN and no lone surrogate.
    """
    kind = type(value)
    if kind is str:
        return value if value.isascii() else _clean(value)
    if _is_plain(kind, value):
        return value
    if kind is dict and not value:  # the tags of most tasks
        return {}
    return _Copy().of(value)


def _is_plain(kind: type, value: Any) -> bool:
    if kind is int:
        return bool(-_SMALL < value < _SMALL)
    if kind is float:
        return math.isfinite(value)
    return value is None or kind is bool


def plain_text(value: object) -> str:
    """A value's text, without lone surrogates, whatever its class does."""
    try:
        return _clean(str(value))
    except BaseException as error:  # noqa: BLE001  # the value's own code: it can raise anything
        let_pass(error)
        return f"<unprintable {type(value).__name__}: {type(error).__name__}>"


def _clean(text: str) -> str:
    return str.encode(text, "utf-8", "backslashreplace").decode()


def _form(value: object) -> Any:
    """What is written in place of a value that is neither a scalar nor a container."""
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, Enum):
        return value.value
    return plain_text(value)


class _Copy:
    """One value's copy in the making."""

    __slots__ = ("inside", "room")

    def __init__(self) -> None:
        self.inside: set[int] = set()  # the ids of the objects around the place
        self.room = MAX_SIZE

    def of(self, value: Any) -> Any:
        self.room -= 1
        kind = type(value)
        if kind is str:
            self.room -= len(value) // 100
            return value if value.isascii() else _clean(value)
        if _is_plain(kind, value):
            return value
        try:
            if kind is list:
                return self._enter(value, self._list, value)
            return self._of(value)
        except BaseException as error:  # noqa: BLE001  # the value's own code: it can raise anything
            let_pass(error)
            return f"<unreadable {kind.__name__}>"

    def _of(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self._enter(value, self._mapping, value)
        if isinstance(value, str):
            return self._text(_clean(str.__str__(value)))  # an enumeration's value, not its name
        if isinstance(value, int):
            return self._number(value)
        if isinstance(value, float):
            finite = math.isfinite(value)
            return float.__float__(value) if finite else self._text(plain_text(value))
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._enter(value, self._list, value)
        if isinstance(value, Mapping):
            return self._enter(value, self._mapping, value)
        form = _form(value)
        return self._text(_clean(form)) if type(form) is str else self._enter(value, self.of, form)

    def _text(self, text: str) -> str:
        self.room -= len(text) // 100
        return text

    def _number(self, value: int) -> Any:
        if int.bit_length(value) <= MAX_BITS:
            return int.__int__(value)
        return self._text(plain_text(value))

    def _enter(self, value: object, copy: Callable[[Any], Any], form: Any) -> Any:
        """Copy what is inside an object, which must not be inside itself."""
        if id(value) in self.inside:
            return "<cycle>"
        if len(self.inside) >= MAX_DEPTH:
            return "<nested too deeply>"
        self.inside.add(id(value))
        try:
            return copy(form)
        finally:
            self.inside.discard(id(value))

    def _mapping(self, mapping: Mapping[Any, Any]) -> dict[str, Any]:
        copied: dict[str, Any] = {}
        for key, item in list(islice(mapping.items(), MAX_SIZE)):  # other threads may change it
            if self.room <= 0:
                copied[_CUT] = None
                break
            name = _key(key)
            self.room -= len(name) // 100
            copied[name] = self.of(item)
        return copied

    def _list(self, items: Iterable[Any]) -> list[Any]:
        copied = []
        for item in items:
            if self.room <= 0:
                copied.append(_CUT)
                break
            copied.append(self.of(item))
        return copied


def _key(key: object) -> str:
    if type(key) is str:
        return key if key.isascii() else _clean(key)
    if key is None or isinstance(key, bool):  # as the encoders write them
        return {None: "null", True: "true", False: "false"}[key]
    return _clean(str.__str__(key)) if isinstance(key, str) else plain_text(key)
