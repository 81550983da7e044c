"""The line for machines: one JSON object a record, always valid, never lost."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from itertools import filterfalse
from typing import Literal

from pythonjsonlogger.core import LogData
from pythonjsonlogger.json import JsonFormatter

from fastapi_taskflow.checks import one_of
from fastapi_taskflow.formatters.ecs import ECS
from fastapi_taskflow.formatters.encoder import find_encoder
from fastapi_taskflow.formatters.gcp import GCP
from fastapi_taskflow.formatters.otel import OTEL
from fastapi_taskflow.formatters.preset import DEFAULT, Facts, Fields, Preset, own_attributes
from fastapi_taskflow.formatters.simple import is_simple
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
            return self._line(self._facts(record))
        except BaseException as error:  # noqa: BLE001  # the record's own code: it can raise anything
            let_pass(error)
            return self.jsonify_log_record(self._minimal(record, error))

    def jsonify_log_record(self, log_data: LogData) -> str:
        """Encode what has JSON types only.

        Raises:
            ValueError, TypeError: A text has half of a surrogate pair.
        """
        return self._encode(log_data)

    def _line(self, facts: Facts) -> str:
        try:
            return self.jsonify_log_record(self._data(facts, _make_plain))
        except (TypeError, ValueError):
            return self.jsonify_log_record(self._data(facts, _sanitise))

    def _data(self, facts: Facts, make_plain: Callable[[Fields], None]) -> Fields:
        data, inside = self._preset.fields(facts), self._preset.inside
        if inside is None:
            self._add_extras(data, facts)
            make_plain(data)
            return data
        target = data.pop(inside, {})
        self._add_extras(target, facts)
        make_plain(target)
        make_plain(data)
        data[inside] = target
        return data

    def _facts(self, record: logging.LogRecord) -> Facts:
        event = "log" if is_log(record) else "lifecycle" if is_lifecycle(record) else None
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

    def _add_extras(self, target: Fields, facts: Facts) -> None:
        attributes = facts.record.__dict__
        for key in list(filterfalse(_no_extras(facts).__contains__, attributes)):
            name = key if type(key) is str and key.isascii() else plain_text(key)
            while name in target or name in self._reserved:
                name = PREFIX + name
            target[name] = attributes[key]

    def _minimal(self, record: logging.LogRecord, error: BaseException) -> Fields:
        name, levelno, created = plain_text(record.name), record.levelno, record.created
        if type(levelno) is not int:
            levelno = logging.NOTSET
        bare = logging.LogRecord(name, levelno, "", 0, plain_text(record.msg), (), None)
        if type(created) is float and math.isfinite(created):  # else it is as late as now
            bare.created = created
        if "task_id" in record.__dict__:
            bare.__dict__["task_id"] = plain_text(record.__dict__["task_id"])
        facts = Facts(bare, None, bare.msg)
        try:
            fields = self._preset.fields(facts)
            _sanitise(fields)
        except Exception:  # noqa: BLE001  # a preset of somebody's own, which has failed before
            fields = DEFAULT.fields(facts)
        return {**fields, SERIALIZE_ERROR: type(error).__name__}


def _no_extras(facts: Facts) -> frozenset[str]:
    if facts.event is None and facts.record.name.partition(".")[0] == "uvicorn":
        return _UVICORN
    return _NO_EXTRAS[facts.event]


def _make_plain(fields: Fields) -> None:
    for key, value in fields.items():
        if type(value) is not str and not is_simple(value):
            fields[key] = sanitise(value)


def _sanitise(fields: Fields) -> None:
    for key, value in fields.items():
        fields[key] = sanitise(value)


def _find_preset(preset: str | Preset) -> Preset:
    if isinstance(preset, Preset):
        return preset
    one_of("preset", preset, tuple(PRESETS))
    return PRESETS[preset]
