"""Values of any kind, copied as far as there is something to take out."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import pairwise, starmap
from typing import Any, Protocol

from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.redact.keys import KeyNames

MAX_DEPTH = 100
"""Levels of nesting that are searched; what lies deeper is replaced."""


class _Reading(threading.local):
    """Whether an object's text is being made in this thread.

    One that logs itself meanwhile would be read again, twice at each level.
    """

    busy = False


_reading = _Reading()


class Rules(Protocol):
    """What says which texts are secret."""

    keys: KeyNames
    replacement: str

    def text(self, text: str) -> str:
        """The text without secrets."""

    def unkeyed(self, text: str) -> str:
        """The same for text in which a key's name says nothing, such as digits."""


class RedactedCopy:
    """One value's copy in the making.

    A container is copied if one of its items came back as another object. An item within
    itself does, as it is the copy that it shall hold; should nothing be secret in the end,
    the copy is thrown away.

    Args:
        rules: What says which texts are secret.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._copies: dict[int, Any] = {}
        self._originals: list[Any] = []  # kept, so that no other object gets one's id
        self._found = False

    def root(self, value: Any) -> Any:
        """The copy, or the value itself where nothing was secret."""
        copied = self._of(value, MAX_DEPTH)
        return copied if self._found else value

    def _of(self, value: Any, depth: int) -> Any:
        if value is None or value is True or value is False:
            return value
        try:
            return self._read(value, depth)
        except BaseException as error:  # noqa: BLE001  # the value's own code: it can raise anything
            let_pass(error)
            return self._replacement()

    def _read(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return self._noted(value, value, self._rules.text(value))
        if kind is int or kind is float:
            digits = repr(value)
            return self._noted(value, digits, self._rules.unkeyed(digits))
        if issubclass(kind, (bytes, bytearray, memoryview)):
            return self._bytes(value)
        if id(value) in self._copies:
            return self._copies[id(value)]
        self._originals.append(value)
        if issubclass(kind, (Mapping, list, tuple, set, frozenset, deque)):
            copied = self._container(value, depth - 1) if depth else self._replacement()
        else:
            copied = self._other(value, depth)
        self._copies[id(value)] = copied
        return copied

    def _replacement(self) -> str:
        self._found = True
        return self._rules.replacement

    def _noted(self, value: Any, text: str, redacted: str) -> Any:
        """The redacted text of a value, if it is another than its text; else the value."""
        if redacted == text:
            return value
        self._found = True
        return redacted

    def _bytes(self, value: Any) -> Any:
        text = bytes(value).decode("utf-8", "surrogateescape")
        redacted = self._noted(None, text, self._rules.text(text))
        return value if redacted is None else redacted.encode("utf-8", "surrogateescape")

    def _container(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, tuple):
            return self._tuple(value, depth)
        if isinstance(value, (list, deque)):
            return self._list(value, depth)
        items = list(value)
        copied = [self._of(item, depth) for item in items]
        if _same(items, copied):
            return value
        return frozenset(copied) if isinstance(value, frozenset) else set(copied)

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> Any:
        copied: dict[Any, Any] = {}
        self._copies[id(value)] = copied
        items = list(value.items())
        new_keys = _distinct([(key, self._of(key, depth)) for key, _ in items])
        changed = False
        for (key, item), new_key in zip(items, new_keys, strict=True):
            new_item = self._under(key, item, depth)
            copied[new_key] = new_item
            changed = changed or new_key is not key or new_item is not item
        return copied if changed else value

    def _under(self, key: object, item: Any, depth: int) -> Any:
        """An item under a key."""
        if not self._rules.keys.match(key):
            return self._of(item, depth)
        if isinstance(item, str) and item == self._rules.replacement:
            return item
        return self._replacement()

    def _list(self, value: Any, depth: int) -> Any:
        items = list(value)
        copied: list[Any] = []
        self._copies[id(value)] = copied
        keyed = zip(_keys_of(items), items, strict=True)
        copied.extend(self._under(key, item, depth) for key, item in keyed)
        return value if _same(items, copied) else copied

    def _tuple(self, value: tuple[Any, ...], depth: int) -> Any:
        """A tuple; the fields of a named one have keys."""
        names: tuple[Any, ...] | None = getattr(value, "_fields", None)
        kind = tuple if names is None else type(value)
        keyed = zip(_keys_of(value) if names is None else names, value, strict=True)
        copied = [self._under(name, item, depth) for name, item in keyed]
        return value if _same(value, copied) else tuple.__new__(kind, copied)

    def _other(self, value: Any, depth: int) -> Any:
        """An object of any other class: its text, if there is something to take out of it."""
        if _reading.busy:
            return self._replacement()
        _reading.busy = True
        try:
            texts = _texts_of(value)
        finally:
            _reading.busy = False
        if isinstance(value, str):
            texts.append(str.__str__(value))  # an enumeration's value, not its name
        redact = self._rules.unkeyed if isinstance(value, (int, float)) else self._rules.text
        if any(redact(text) != text for text in texts):
            self._found = True
        elif not self._has_fields(value, depth):
            return value
        return redact(texts[0])

    def _has_fields(self, value: Any, depth: int) -> bool:
        """Whether a field of a dataclass has a copy: encoders write those that repr() hides."""
        if not is_dataclass(value) or isinstance(value, type) or not depth:
            return False
        self._copies[id(value)] = value  # it may be within itself
        items = [(field.name, getattr(value, field.name)) for field in fields(value)]
        return any(self._under(name, item, depth - 1) is not item for name, item in items)


def _texts_of(value: object) -> list[str]:
    """An object's texts; where ``str()`` only calls ``repr()``, this is called once."""
    if type(value).__str__ is object.__str__:
        return [repr(value)]
    return [str(value), repr(value)]


def _keys_of(items: Sequence[Any]) -> list[Any]:
    """The key, if any, under which each item stands: a pair's first, or an option before it."""
    if len(items) == 2 and _option(*items) is None:
        return [None, items[0]]
    return [None, *starmap(_option, pairwise(items))][: len(items)]


def _option(before: object, item: object) -> str | None:
    """The name of a command's option, if an item is its value: ``["--password", "x"]``."""
    if type(before) is not str or before[:1] != "-":
        return None
    return None if isinstance(item, str) and item[:1] == "-" else before.lstrip("-")


def _distinct(keys: list[tuple[Any, Any]]) -> list[Any]:
    """The new ones of keys and their new ones: numbered, if another key has become the same."""
    taken = {new for old, new in keys if new is old}
    numbers: Counter[Any] = Counter()
    distinct = []
    for old, new in keys:
        free = new
        while new is not old and free in taken:
            numbers[new] += 1
            free = f"{new} {numbers[new] + 1}"
        taken.add(free)
        distinct.append(free)
    return distinct


def _same(value: Any, copied: list[Any]) -> bool:
    return all(item is new for item, new in zip(value, copied, strict=True))
