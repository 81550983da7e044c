"""Whether what came back from JSON is what went in: the values, and their types."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from typing import Any

from pydantic import BaseModel

_MISSING = object()

_TAKEN_FOR: dict[type, tuple[type, ...]] = {int: (float, complex), float: (complex,)}
"""The types that Python itself takes a number for."""


def type_name(kind: type) -> str:
    """A type as a message calls it."""
    own = kind.__module__ != "builtins"
    return f"{kind.__module__}.{kind.__qualname__}" if own else kind.__qualname__


class Comparison:
    """Compares a value with what came back.

    ``==`` alone would not do: ``True == 1``, ``Colour.RED == "red"``, ``(1, 2) == Point(1, 2)``,
    and NaN is not equal to itself. Differences name types and fields, never values.

    Attributes:
        undecided: Whether a value was met that has no ``__eq__`` to compare it by.
    """

    def __init__(self) -> None:
        self.undecided = False

    def difference(self, given: Any, back: Any, where: str = "it") -> str | None:
        """The first difference, in words; None if there is none."""
        kind = type(given)
        if not _is_a(kind, back):
            if given == back and type(back) in _TAKEN_FOR.get(kind, ()):
                return None
            other = type_name(type(back))
            return f"{where} is of type {type_name(kind)} and would come back as {other}"
        if isinstance(given, BaseModel):
            return self._in_model(given, back, where)
        if dataclasses.is_dataclass(kind):
            return self._in_fields(_compared(kind), given, back, where)
        if isinstance(given, (Mapping, set, frozenset)):
            return self._in_mapping(given, back, where)
        if isinstance(given, (list, tuple, deque)):
            return self._in_sequence(given, back, where)
        return None if self._is_equal(given, back) else _changed(where)

    def _is_equal(self, given: Any, back: Any) -> bool:
        if isinstance(given, (datetime, time)):
            return _on_the_clock(given) == _on_the_clock(back)
        if given == back or (isinstance(given, float) and math.isnan(given) and math.isnan(back)):
            return True
        blind = getattr(type(given), "__eq__", None) is object.__eq__
        self.undecided = self.undecided or blind
        return blind

    def _in_model(self, given: BaseModel, back: BaseModel, where: str) -> str | None:
        names = [*type(given).model_fields, "model_extra", "__pydantic_private__"]
        return self._in_fields(names, given, back, where)

    def _in_fields(
        self, names: Iterable[str], given: object, back: object, where: str
    ) -> str | None:
        for name in names:
            values = (getattr(given, name, _MISSING), getattr(back, name, _MISSING))
            found = self.difference(*values, f"{where}.{name}")
            if found:
                return found
        return None

    def _in_mapping(self, given: Any, back: Any, where: str) -> str | None:
        if not _is_alike_outside(given, back):
            return _changed(where)
        keys = {key: key for key in back}  # what is equal may be of another type
        for key in given:
            found = self.difference(key, keys.get(key, _MISSING), f"a key of {where}")
            if not found and isinstance(given, Mapping):
                found = self.difference(given[key], back[key], f"{where}[...]")
            if found:
                return found
        return None

    def _in_sequence(self, given: Any, back: Any, where: str) -> str | None:
        if not _is_alike_outside(given, back):
            return _changed(where)
        for place, values in enumerate(zip(given, back, strict=True)):
            found = self.difference(*values, f"{where}[{place}]")
            if found:
                return found
        return None


def _changed(where: str) -> str:
    return f"{where} would come back changed"


def _is_a(kind: type, back: object) -> bool:
    # freezegun's dates take plain ones for their own, and plain ones come back.
    return type(back) is kind or (issubclass(kind, date) and isinstance(back, kind))


def _is_alike_outside(given: Any, back: Any) -> bool:
    return len(given) == len(back) and all(
        getattr(given, name, None) == getattr(back, name, None)
        for name in ("default_factory", "maxlen")
    )


def _compared(kind: type) -> list[str]:
    """The fields of a dataclass, but those that it makes itself and doesn't compare."""
    fields = dataclasses.fields(kind)
    return [field.name for field in fields if field.init or field.compare]


def _on_the_clock(moment: datetime | time) -> tuple[object, object]:
    """What a clock shows, and its distance from UTC.

    Two zones' times of one moment are unequal in the hour that a clock is set back (PEP 495),
    and a zone comes back as its distance.
    """
    return moment.replace(tzinfo=None), moment.utcoffset()
