"""Extras as they are now: containers copied, so that later changes don't reach later readers."""

from __future__ import annotations

from typing import Any

MAX_DEPTH = 100
"""Levels of nesting that are copied; what lies deeper is kept by reference."""

_PLAIN = frozenset({str, int, float, bool, type(None)})
_CONTAINERS = (dict, list, tuple, set, bytearray)


def snapshot(extra: dict[str, Any]) -> dict[str, Any]:
    """Copy the built-in containers in extras, however nested, cycles kept.

    Subclasses of them become the built-in ones. Other values stay as they are: to copy an
    object of somebody's own may be costly, or have effects. Runs no code of the values'
    classes, so nothing in it can raise.
    """
    if _PLAIN.issuperset(map(type, extra.values())):
        return extra.copy()  # nearly always: there is nothing in it to copy
    copies: dict[int, Any] = {}
    return {
        key: _copy(value, copies, MAX_DEPTH) if _is_container(value) else value
        for key, value in extra.items()
    }


def _copy(value: Any, copies: dict[int, Any], depth: int) -> Any:
    if depth == 0 or not _is_container(value):
        return value
    if id(value) in copies:
        return copies[id(value)]
    if isinstance(value, dict):
        mapping: dict[Any, Any] = {}
        copies[id(value)] = mapping
        for key, item in list(dict.items(value)):
            mapping[key] = _copy(item, copies, depth - 1)
        return mapping
    if isinstance(value, list):
        items: list[Any] = []
        copies[id(value)] = items
        items.extend(_copy(item, copies, depth - 1) for item in list.copy(value))
        return items
    return _copy_flat(value, copies, depth)


def _copy_flat(value: Any, copies: dict[int, Any], depth: int) -> Any:
    if isinstance(value, tuple):  # can't be inside itself but through one of the others
        copied: Any = tuple(_copy(item, copies, depth - 1) for item in tuple.__iter__(value))
    else:
        copied = bytes(value) if isinstance(value, bytearray) else set.copy(value)
    copies[id(value)] = copied
    return copied


def _is_container(value: object) -> bool:
    return issubclass(type(value), _CONTAINERS)  # isinstance would ask the value's __class__
