"""Which values an encoder may have as they are: only the others are copied.

Nearly all of what is logged is plain already. To see that takes a fraction of the time that
``sanitise()`` takes to copy it.
"""

from __future__ import annotations

import math
from itertools import repeat
from typing import Any

_SMALL = 2**63
_FEW = 40
_SHORT = 300
"""Two levels of so many items, of texts so short, are within what ``sanitise()`` keeps."""


def is_simple(value: Any, levels: int = 2) -> bool:
    """Whether ``sanitise()`` would change nothing but half of a surrogate pair.

    That one every encoder refuses by itself. False may be wrong, True never is.

    Args:
        value: Any value.
        levels: How many levels of containers it may have.
    """
    kind = type(value)
    if kind is str:
        return len(value) < _SHORT
    if kind is int:
        return bool(-_SMALL <= value < _SMALL)
    if kind is dict:
        return levels > 0 and len(value) <= _FEW and _is_simple_mapping(value, levels - 1)
    if kind is list or kind is tuple:
        return levels > 0 and len(value) <= _FEW and _are_simple(value, levels - 1)
    if kind is float:
        return math.isfinite(value)
    return value is None or kind is bool


def _is_simple_mapping(mapping: dict[Any, Any], levels: int) -> bool:
    for key, value in list(mapping.items()):  # other threads may change it
        if type(key) is not str or len(key) >= _SHORT:
            return False
        if len(value) >= _SHORT if type(value) is str else not is_simple(value, levels):
            return False
    return True


def _are_simple(items: list[Any] | tuple[Any, ...], levels: int) -> bool:
    return all(map(is_simple, items, repeat(levels)))
