"""Arguments checked at the earliest moment, with the right values in the error."""

from __future__ import annotations

import math
from collections.abc import Collection
from datetime import timedelta

from fastapi_taskflow.errors import ConfigurationError, ConfigurationTypeError

Seconds = float | timedelta
"""A length of time as callers give it: seconds, or a ``timedelta``."""


def one_of(parameter: str, value: object, choices: Collection[object]) -> None:
    """Check that a value is one of those there are.

    Raises:
        ConfigurationError: It is not.
    """
    if value not in choices:
        raise ConfigurationError(parameter, value, choices)


def yes_or_no(parameter: str, value: object) -> bool:
    """Check that a value is True or False.

    Raises:
        ConfigurationTypeError: It is not.
    """
    if not isinstance(value, bool):
        raise ConfigurationTypeError(parameter, value, [True, False])
    return value


def whole_number(parameter: str, value: object, *, minimum: int = 0) -> int:
    """Check that a value is a whole number, and not too small.

    Raises:
        ConfigurationError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationTypeError(parameter, value, f"a whole number of {minimum} or more")
    if value < minimum:
        raise ConfigurationError(parameter, value, f"a whole number of {minimum} or more")
    return value


def number(parameter: str, value: object, *, minimum: float = 0.0) -> float:
    """Check that a value is a finite number, and not too small.

    Raises:
        ConfigurationError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigurationTypeError(parameter, value, f"a number of {minimum:g} or more")
    if not _is_finite(value) or value < minimum:
        raise ConfigurationError(parameter, value, f"a number of {minimum:g} or more")
    return float(value)


def seconds(parameter: str, value: object, *, positive: bool = False) -> float:
    """Check that a value is a length of time, and give it in seconds.

    Raises:
        ConfigurationError: It is not, or it is negative (or zero, with ``positive``).
    """
    amount = value.total_seconds() if isinstance(value, timedelta) else value
    expected = f"{'more than' if positive else 'at least'} 0 seconds, or a timedelta of that length"
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise ConfigurationTypeError(parameter, value, expected)
    if not _is_finite(amount) or amount < 0 or (positive and amount == 0):
        raise ConfigurationError(parameter, value, expected)
    return float(amount)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False
