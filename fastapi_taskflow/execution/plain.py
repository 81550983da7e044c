"""Values that JSON has itself: they need no annotation to come back the same."""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic import PydanticUserError, TypeAdapter
from pydantic_core import SchemaError

from fastapi_taskflow.execution.alike import type_name

SCHEMA_ERRORS = (PydanticUserError, SchemaError, NameError, TypeError, ValueError, AttributeError)
"""What pydantic raises for a type that it can't make anything of."""

_encode = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode


class CodecError(Exception):
    """A value can't be stored, or not be had back.

    Args:
        reason: What in it, and what to do.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PlainCodec:
    """Stores a value that JSON has itself: of an argument without a usable annotation.

    Args:
        note: Why the annotation is of no use, if there is one.
    """

    def __init__(self, note: str = "") -> None:
        self._note = note

    def dump(self, value: Any, *, reveal_secrets: bool = False) -> str:
        """The value as JSON.

        Raises:
            CodecError: It would not come back the same.
        """
        try:
            _check(value, "it")
            return _encode(value)
        except CodecError as error:
            reason = f"{error.reason}; {self._note}" if self._note else error.reason
        except RecursionError:
            reason = "it contains itself, or is nested too deeply"
        except ValueError:
            reason = "an int in it has more digits than Python reads"
        raise CodecError(reason)

    def load(self, value: Any) -> Any:
        """The value, from what JSON holds."""
        return value


def _check(value: Any, where: str) -> None:
    kind = type(value)
    if kind is str:
        _check_text(value, where)
    elif kind is float:
        if not math.isfinite(value):
            raise CodecError(f"{where} is {value}, which JSON lacks; annotate it as a float")
    elif kind is list:
        for place, item in enumerate(value):
            _check(item, f"{where}[{place}]")
    elif kind is dict:
        _check_dict(value, where)
    elif value is not None and kind not in (bool, int):
        raise CodecError(f"{where} is of type {type_name(kind)}; {what_to_do(kind)}")


def _check_text(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        reason = f"{where} has a lone surrogate, which is no character; pass bytes, or repair it"
        raise CodecError(reason) from None


def _check_dict(value: dict[Any, Any], where: str) -> None:
    for key, item in value.items():
        if type(key) is not str:
            reason = (
                f"a key of {where} is of type {type_name(type(key))}, and JSON has only texts there"
            )
            raise CodecError(f"{reason}; annotate it, as dict[{type(key).__name__}, ...]")
        _check_text(key, f"a key of {where}")
        _check(item, f"{where}[...]")


def what_to_do(kind: type) -> str:
    """What a caller can do about a value of a type that JSON lacks."""
    try:
        TypeAdapter(kind)
    except SCHEMA_ERRORS:
        return (
            "pass what it can be made from again in the task, such as an id, a path or a URL, "
            "or make it a dataclass or a pydantic model"
        )
    return "annotate the parameter with its type, and it comes back as that"
