"""Level names, read strictly: the standard library's, in any case, and registered ones."""

from __future__ import annotations

import logging

from fastapi_taskflow.errors import ConfigurationError

Level = str | int
"""A level as callers give it: a name in any case, or one of the standard library's numbers."""

STANDARD = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
"""The numbers of the standard library's levels, by their names in lower case."""

_STANDARD_NAMES = {number: name for name, number in STANDARD.items()}


def find_level(level: object) -> int | None:
    """The number of a level, or None for what is no level at all.

    Names registered with ``logging.addLevelName`` and their numbers count. ``NOTSET`` does
    not: it is the absence of a level.
    """
    if isinstance(level, str):
        number = STANDARD.get(level)
        return number if number is not None else _find_name(level)
    if isinstance(level, int) and not isinstance(level, bool):
        return level if level > 0 and _is_named(level) else None
    return None


def level_number(level: object, *, parameter: str = "min_level") -> int:
    """The number of a level.

    Raises:
        ConfigurationError: It is no level; the message lists those there are.
    """
    number = find_level(level)
    if number is None:
        raise ConfigurationError(parameter, level, known_levels())
    return number


def level_name(number: int) -> str:
    """The lower-case name of a level's number, as events carry it."""
    return _STANDARD_NAMES.get(number) or logging.getLevelName(number).lower()


def known_levels() -> list[str]:
    """Every level's name in lower case, the lowest first."""
    numbers = {n for n in logging.getLevelNamesMapping().values() if n > logging.NOTSET}
    return [level_name(number) for number in sorted(numbers)]


def _find_name(name: str) -> int | None:
    number = logging.getLevelNamesMapping().get(name.upper())
    if number is None:  # a name registered in lower or mixed case
        folded = {key.casefold(): n for key, n in logging.getLevelNamesMapping().items()}
        number = folded.get(name.casefold())
    return number or None


def _is_named(number: int) -> bool:
    return number in _STANDARD_NAMES or number in logging.getLevelNamesMapping().values()
