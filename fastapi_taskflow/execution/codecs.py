"""One argument as JSON and back, by the annotation of its parameter."""

from __future__ import annotations

import collections.abc
import json
import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol, get_args, get_origin

from pydantic import ConfigDict, Secret, SecretBytes, SecretStr, TypeAdapter, ValidationError
from pydantic_core import core_schema, to_json

from fastapi_taskflow.execution.alike import Comparison, type_name
from fastapi_taskflow.execution.annotations import annotated_part, annotations_of
from fastapi_taskflow.execution.plain import SCHEMA_ERRORS, CodecError, PlainCodec

_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings")

_NO_FORM = "Unable to serialize unknown type: "

_FAILURES = {
    "invalid utf-8": "a model's bytes are no UTF-8; give it model_config = "
    'ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")',
    "surrogates not allowed": "it has a lone surrogate, which is no character",
    "Circular reference": "it contains itself",
}
"""What pydantic says, and what it means here."""

_TELLING = {"value_error", "assertion_error", "union_tag_invalid"}

_SILENT = frozenset(get_args(core_schema.ErrorType)) - _TELLING
"""Pydantic's errors whose messages have nothing of the value; users' own errors may."""

_HIDDEN_SECRET = "it holds a secret, which is stored only encrypted; set encrypt_args_key"

_SECRETS = (Secret, SecretBytes, SecretStr)

_ITERABLES = (collections.abc.Iterable, collections.abc.Collection)
"""Pydantic reads these lazily, or not at all; JSON has a list for them."""


class Writer(Protocol):
    """Writes a value as JSON, with or without what its models leave unset."""

    def __call__(self, value: Any, *, exclude_unset: bool) -> str:
        """The value as JSON."""


class Codec(Protocol):
    """Stores the argument of one parameter."""

    def dump(self, value: Any, *, reveal_secrets: bool = False) -> str:
        """The value as JSON.

        Args:
            value: The argument.
            reveal_secrets: Whether a ``SecretStr`` in it may be written in clear.

        Raises:
            CodecError: It would not come back the same.
        """

    def load(self, value: Any) -> Any:
        """The value, from what JSON holds.

        Raises:
            CodecError: It doesn't fit the annotation.
        """


PLAIN = PlainCodec()

_known: weakref.WeakKeyDictionary[Callable[..., Any], Mapping[str, Codec]]
_known = weakref.WeakKeyDictionary()


def codecs_of(call: Callable[..., Any]) -> Mapping[str, Codec]:
    """The codecs of a callable's annotated parameters, by their names.

    They are made once. There is no lock, which a forked child could find locked: two threads
    may both make them, and either's do.
    """
    part = annotated_part(call)
    try:
        codecs = _known.get(part)
    except TypeError:  # a built-in callable that can't be referenced weakly
        return {}
    if codecs is None:
        codecs = {name: make_codec(kind) for name, kind in annotations_of(part).items()}
        _known[part] = codecs
    return codecs


def make_codec(annotation: Any) -> Codec:
    """The codec of an annotation: plain JSON where pydantic makes nothing of it."""
    if annotation is Any or annotation is object:
        return PLAIN
    if isinstance(annotation, str):
        return PlainCodec(_unknown_name(annotation))
    try:
        return AnnotatedCodec(annotation)
    except SCHEMA_ERRORS:
        return PlainCodec(f"pydantic makes nothing of its annotation, {_shown(annotation)}")


class AnnotatedCodec:
    """Stores the argument of an annotated parameter.

    Each value is read back when it is written, and must be what it was, of the same type; an
    int may be given for a float. Names are used for fields, never aliases, and default values
    that a model was made without stay unset wherever that loses nothing.

    Args:
        annotation: The parameter's annotation.

    Raises:
        PydanticUserError: Pydantic makes nothing of it; or any other of ``SCHEMA_ERRORS``.
    """

    def __init__(self, annotation: Any) -> None:
        self._annotation = annotation
        self._scalar = annotation if annotation in (str, int, bool) else None
        if get_origin(annotation) in _ITERABLES or annotation in _ITERABLES:
            annotation = list[get_args(annotation) or Any]  # type: ignore[misc]  # made as it runs
        # In a tuple, since pydantic takes no config for a model, dataclass or TypedDict alone.
        self._adapter = TypeAdapter(tuple[annotation], config=_CONFIG)
        if not self._adapter.pydantic_complete:
            raise NameError(_unknown_name(_shown(annotation)))

    def dump(self, value: Any, *, reveal_secrets: bool = False) -> str:
        """The value as JSON."""
        if type(value) is self._scalar:  # what pydantic would do, in a third of the time
            return PLAIN.dump(value)
        text, reason = self._try(self._write, value)
        if text is None:
            clear, _ = found = self._try(self._write_clear, value)
            if reveal_secrets:
                text, reason = found
            elif clear is not None:
                reason = _HIDDEN_SECRET
        if text is None:
            raise CodecError(f"{reason}; its annotation is {_shown(self._annotation)}")
        return text

    def load(self, value: Any) -> Any:
        """The value, from what JSON holds."""
        try:
            return self._read(json.dumps(value))
        except Exception as error:  # noqa: BLE001  # validators are users'
            reason = self._reason(error)
        raise CodecError(reason)

    def _try(self, write: Writer, value: Any) -> tuple[str | None, str]:
        """The text if the value comes back from it, else the reason why not."""
        reason = ""
        for unset in (True, False):
            try:
                text = write(value, exclude_unset=unset)
                reason = self._difference(value, text, partial(write, exclude_unset=unset))
            except Exception as error:  # noqa: BLE001  # validators, serializers, __eq__ are users'
                reason = self._reason(error)
            if not reason:
                return text, ""
        return None, reason

    def _reason(self, error: Exception) -> str:
        if isinstance(error, ValidationError):
            return _invalid(error, set(_field_names(self._adapter.core_schema)))
        return _failure(error)

    def _difference(self, value: Any, text: str, write: Callable[[Any], str]) -> str:
        back = self._read(text)
        comparison = Comparison()
        found = comparison.difference(value, back)
        if found is None and comparison.undecided and write(back) != text:
            found = "it would come back changed"
        return found or ""

    def _read(self, text: str) -> Any:
        (value,) = self._adapter.validate_json(f"[{text}]", by_alias=False, by_name=True)
        return value

    def _write(self, value: Any, *, exclude_unset: bool) -> str:
        return self._adapter.dump_json(
            (value,),
            by_alias=False,
            exclude_unset=exclude_unset,
            round_trip=True,
            warnings=False,
        ).decode()[1:-1]

    def _write_clear(self, value: Any, *, exclude_unset: bool) -> str:
        """As ``_write()``, with secrets where pydantic would write asterisks."""
        data = self._adapter.dump_python(
            (value,),
            by_alias=False,
            exclude_unset=exclude_unset,
            round_trip=True,
            warnings=False,
        )
        clear = _in_clear(data)
        if clear == data:
            return self._write(value, exclude_unset=exclude_unset)
        return to_json(clear, bytes_mode="base64", inf_nan_mode="strings").decode()[1:-1]


def _in_clear(data: Any) -> Any:
    if isinstance(data, _SECRETS):
        return data.get_secret_value()
    if isinstance(data, dict):
        return {_in_clear(key): _in_clear(value) for key, value in data.items()}
    for kind in (list, tuple, set, frozenset):
        if isinstance(data, kind):
            return kind(_in_clear(value) for value in data)
    return data


def _failure(error: Exception) -> str:
    """Why a value can't be written or read, without the value."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    message = str(error)
    known = (reason for part, reason in _FAILURES.items() if part in message)
    if message.startswith(_NO_FORM):
        return f"{message.removeprefix(_NO_FORM)} has no JSON form"
    return next(known, f"a {type(error).__name__} was raised when it was written or read")


def _invalid(error: ValidationError, fields: set[str]) -> str:
    """The first of what pydantic found, without what may be data: keys, and some messages."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = "".join(
        f"[{at}]" if isinstance(at, int) else f".{at}" if at in fields else "[...]"
        for at in first["loc"][1:]
    )
    return f"it{where} is refused: {first['msg'] if first['type'] in _SILENT else first['type']}"


def _field_names(schema: Any) -> Iterator[str]:
    """The names of all fields in a core schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("fields"), dict):
            yield from schema["fields"]
        elif schema.get("type") == "dataclass-field":
            yield schema["name"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from _field_names(part)


def _unknown_name(annotation: str) -> str:
    return (
        f"its annotation {annotation!r} can't be looked up; import or define each name in it at "
        "the top of the function's module, not under TYPE_CHECKING"
    )


def _shown(annotation: Any) -> str:
    named = isinstance(annotation, type) and get_origin(annotation) is None
    return type_name(annotation) if named else str(annotation)
