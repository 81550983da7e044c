"""The line for machines: one JSON object a record, always valid, never lost."""

from __future__ import annotations

import logging
from typing import Literal

from pythonjsonlogger.core import LogData
from pythonjsonlogger.json import JsonFormatter

from fastapi_taskflow.checks import one_of
from fastapi_taskflow.formatters.ecs import ECS
from fastapi_taskflow.formatters.encoder import find_encoder
from fastapi_taskflow.formatters.gcp import GCP
from fastapi_taskflow.formatters.otel import OTEL
from fastapi_taskflow.formatters.preset import DEFAULT, Facts, Fields, Preset, own_attributes
from fastapi_taskflow.formatters.text import check_no_format
from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.records import (
    GIVEN,
    PREFIX,
    STANDARD_ATTRIBUTES,
    is_lifecycle,
    is_log,
)
from fastapi_taskflow.sanitise import plain_text, sanitise

PRESETS = {"default": DEFAULT, "ecs": ECS, "otel": OTEL, "gcp": GCP}
"""The presets that ``preset=`` knows by name."""

SERIALIZE_ERROR = "serialize_error"
_NO_EXTRAS = {
    event: STANDARD_ATTRIBUTES | {GIVEN} | frozenset(own_attributes(event))
    for event in ("log", "lifecycle", None)
}
"""The attributes of a record of each kind that are not the user's."""

_UVICORN = _NO_EXTRAS[None] | {"color_message"}
"""uvicorn puts its message on a record a second time, with colours for a terminal."""


class TaskJsonFormatter(JsonFormatter):
    """One JSON object a line, in ASCII.

    The preset "default" writes ``timestamp`` (ISO 8601, UTC, milliseconds), ``level``,
    ``logger``, ``event`` ("log" or "lifecycle"), ``message``, then the task's attributes, then
    the user's extras beside them. In every preset an extra whose name is one of ours gets the
    prefix ``extra_``. What JSON has no form for becomes text: NaN, cycles, bytes, deep nesting,
    unknown types; a value of more than 10,000 items is cut. Should a record still not fit, the
    line has the message and ``serialize_error``.

    ``dictConfig`` passes ``preset`` and ``encoder`` on only where the class is named by "()",
    not by "class".

    Args:
        preset: The names of the fields: "default", "ecs" (Elastic Common Schema), "otel"
            (OpenTelemetry's log data model), "gcp" (Google Cloud), or a ``Preset``.
        encoder: "orjson" or "json"; None takes orjson where it is installed. Both write the
            same object.
    """

    def __init__(
        self,
        fmt: None = None,
        datefmt: None = None,
        style: Literal["%", "{", "$"] = "%",
        validate: bool = True,  # the standard library's signature
        *,
        defaults: None = None,
        preset: str | Preset = "default",
        encoder: str | None = None,
    ) -> None:
        """Take the arguments that ``dictConfig`` passes.

        Raises:
            ConfigurationError: A format was given, the object's form being fixed; or the
                preset or the encoder is unknown, or not installed.
        """
        check_no_format(type(self).__name__, format=fmt, datefmt=datefmt, defaults=defaults)
        super().__init__(style=style, validate=validate)
        self._preset = _find_preset(preset)
        self._reserved = self._preset.reserved | {SERIALIZE_ERROR}
        self._encode = find_encoder(encoder)

    def format(self, record: logging.LogRecord) -> str:
        """The record's line, without its end. The record is not changed."""
        try:
            return self.jsonify_log_record(self._data(record))
        except BaseException as error:  # noqa: BLE001  # the record's own code: it can raise anything
            let_pass(error)
            return self.jsonify_log_record(self._minimal(record, error))

    def jsonify_log_record(self, log_data: LogData) -> str:
        """Encode what ``sanitise()`` has made plain."""
        return self._encode(log_data)

    def _data(self, record: logging.LogRecord) -> Fields:
        event = "log" if is_log(record) else "lifecycle" if is_lifecycle(record) else None
        data = self._preset.fields(self._facts(record, event))
        target, inside = data, self._preset.inside
        if inside is not None:
            target = data.pop(inside, {})
            _make_plain(target)
        _make_plain(data)
        self._add_extras(target, record.__dict__, _no_extras(record, event))
        if inside is not None:
            data[inside] = target
        return data

    def _facts(self, record: logging.LogRecord, event: str | None) -> Facts:
        message, exc_info = record.getMessage(), record.exc_info
        if event == "lifecycle":
            get, kind = record.__dict__.get, exc_info[0] if exc_info else None
            return Facts(record, event, message, get("error"), kind, get("stacktrace"))
        stack = self._text(self.formatStack(record.stack_info)) if record.stack_info else None
        if not exc_info:
            return Facts(record, event, message, None, None, record.exc_text, stack)
        # Not through record.exc_text: another formatter's text may be cached there.
        kind, error, _ = exc_info
        trace = self._text(self.formatException(exc_info))
        text = None if error is None else plain_text(error)
        return Facts(record, event, message, text, kind, trace, stack)

    @staticmethod
    def _text(lines: str | list[str]) -> str:
        """What python-json-logger has as text or, where a subclass asks for it, as lines."""
        return lines if isinstance(lines, str) else "\n".join(lines)

    def _add_extras(self, target: Fields, attributes: Fields, skipped: frozenset[str]) -> None:
        for key in [key for key in attributes if key not in skipped]:
            name = sanitise(key) if type(key) is str else plain_text(key)
            while name in target or name in self._reserved:
                name = PREFIX + name
            target[name] = sanitise(attributes[key])

    def _minimal(self, record: logging.LogRecord, error: BaseException) -> Fields:
        name, levelno = plain_text(record.name), record.levelno
        bare = logging.LogRecord(name, levelno, "", 0, plain_text(record.msg), (), None)
        bare.created = record.created
        if "task_id" in record.__dict__:
            bare.__dict__["task_id"] = plain_text(record.__dict__["task_id"])
        fields = self._preset.fields(Facts(bare, None, bare.msg))
        _make_plain(fields)
        return {**fields, SERIALIZE_ERROR: type(error).__name__}


def _no_extras(record: logging.LogRecord, event: str | None) -> frozenset[str]:
    if event is None and record.name.partition(".")[0] == "uvicorn":
        return _UVICORN
    return _NO_EXTRAS[event]


def _make_plain(fields: Fields) -> None:
    for key, value in fields.items():
        if type(value) is not str or not value.isascii():
            fields[key] = sanitise(value)


def _find_preset(preset: str | Preset) -> Preset:
    if isinstance(preset, Preset):
        return preset
    one_of("preset", preset, tuple(PRESETS))
    return PRESETS[preset]
