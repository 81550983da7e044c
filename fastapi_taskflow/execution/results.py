"""What a task returned, as JSON: to be stored, and shown, as far as that is possible."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pydantic_core import to_json, to_jsonable_python

from fastapi_taskflow.errors import DecryptionError
from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.execution.vault import Vault, is_sealed
from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.redact import Redactor
from fastapi_taskflow.store import TaskRecord

MAX_RESULT_BYTES = 65_536

TOO_LARGE = "too large"
NOT_JSON = "not JSON"
NOT_STORED = "not stored"
ENCRYPTED = "encrypted"

_FLAT = 100
"""So many containers can't be nested too deeply to be sent."""

_FEW = 100
"""So many parts are encoded at once, whatever becomes of them then."""

_NONE = "null"

_SCALARS = frozenset((str, int, float, bool, type(None)))


class _TooLargeError(Exception):
    """A result's JSON has more bytes than are kept."""


class Results:
    """Packs what tasks return.

    Args:
        vault: What it is stored in.
        redactor: What takes secrets out of it first; None leaves them in.
        max_bytes: The most bytes of JSON, before it is encrypted, that are kept.
    """

    def __init__(self, vault: Vault, redactor: Redactor | None, max_bytes: int) -> None:
        self._vault = vault
        self._redactor = redactor
        self._max_bytes = max_bytes

    def fields(self, result: object) -> dict[str, Any]:
        """What a record says of a result. It never raises."""
        if result is None:
            return {"result": None, "packed_result": _NONE}
        try:
            packed = self._vault.seal(self._packed(result))
        except _TooLargeError:
            return {"result": result, "result_dropped": TOO_LARGE}
        except BaseException as error:  # noqa: BLE001  # the result's own code can raise anything
            let_pass(error)
            return {"result": result, "result_dropped": NOT_JSON}
        return {"result": result, "packed_result": packed}

    def opened(self, record: TaskRecord) -> TaskRecord:
        """A record with the result that it has as JSON only, as it comes from a database."""
        packed = record.packed_result
        is_whole = packed == _NONE  # as most are
        if is_whole or record.result is not None or record.result_dropped is not None:
            return record
        if packed is None:
            has_lost_it = record.status is TaskStatus.SUCCESS
            return replace(record, result_dropped=NOT_STORED) if has_lost_it else record
        try:
            return replace(record, result=json.loads(self._vault.unseal(packed)))
        except DecryptionError:
            return replace(record, result_dropped=ENCRYPTED)

    def _packed(self, result: object) -> str:
        text = self._encoded(result)
        if self._redactor is not None:
            text = self._encoded(self._redactor.value(json.loads(text)))
        if text.count("[") + text.count("{") > _FLAT:
            to_json([[json.loads(text)]])  # an answer to a request is nested no deeper than this
        return text

    def _encoded(self, value: object) -> str:
        """A value as JSON. What is too large is not encoded to its end."""
        if _is_small(value):
            text = _encoder.encode(value)  # the encoder in C: it makes all of it at once
            if len(text.encode()) > self._max_bytes:
                raise _TooLargeError
            return text
        size, parts = 0, []
        for part in _encoder.iterencode(value):
            size += len(part.encode())  # no half of a surrogate pair has a form
            if size > self._max_bytes:
                raise _TooLargeError
            parts.append(part)
        return "".join(parts)


def shown(record: TaskRecord) -> tuple[Any, str | None]:
    """A record's result for everyone to see, and why there is none, if so."""
    packed = record.packed_result
    if packed is None:
        is_lost = record.status is TaskStatus.SUCCESS and record.result_dropped is None
        return None, NOT_STORED if is_lost else record.result_dropped
    return (None, ENCRYPTED) if is_sealed(packed) else (json.loads(packed), None)


def _is_small(value: object) -> bool:
    """Whether a value has few parts, all of types that JSON has itself."""
    parts = [value]
    for part in parts:  # which grows meanwhile
        kind = type(part)
        if kind is dict or kind is list:
            inner: Any = part
            if len(parts) + len(inner) > _FEW:
                return False
            parts.extend(inner.values() if kind is dict else inner)
        elif kind not in _SCALARS:
            return False
    return True


def _form(value: object) -> Any:
    """What JSON lacks and pydantic has a form for: times, models, dataclasses, sets and such."""
    if isinstance(value, Iterator):
        raise TypeError("it would be used up")
    return to_jsonable_python(value, inf_nan_mode="constants")


# What may be large is made in pieces, in Python.
_encoder = json.JSONEncoder(
    allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_form
)
