"""The line for machines: one JSON object a record, always valid, never lost."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Literal

from pythonjsonlogger.core import LogData
from pythonjsonlogger.json import JsonFormatter

from fastapi_taskflow.formatters.text import check_no_format
from fastapi_taskflow.levels import level_name
from fastapi_taskflow.records import (
    GIVEN,
    OWN_ATTRIBUTES,
    PREFIX,
    STANDARD_ATTRIBUTES,
    is_lifecycle,
    is_log,
)
from fastapi_taskflow.sanitise import plain, plain_text, sanitise

_OWN_KEYS = frozenset(
    ("timestamp", "level", "logger", "event", "message", "serialize_error", *OWN_ATTRIBUTES)
)


class TaskJsonFormatter(JsonFormatter):
    """One JSON object a line, in ASCII.

    ``timestamp`` (ISO 8601, UTC, milliseconds), ``level``, ``logger``, ``event`` ("log" or
    "lifecycle"), ``message``, then the task's attributes, then the user's extras beside them;
    an extra whose name is one of ours gets the prefix ``extra_``. What JSON has no form for
    becomes text: NaN, cycles, bytes, deep nesting, unknown types. Should an object still not
    fit, the line has the message and ``serialize_error``.
    """

    def __init__(
        self,
        fmt: None = None,
        datefmt: None = None,
        style: Literal["%", "{", "$"] = "%",
        validate: bool = True,  # the standard library's signature
        *,
        defaults: None = None,
    ) -> None:
        """Take the arguments that ``dictConfig`` passes.

        Raises:
            ConfigurationError: A format was given; the object's form is fixed.
        """
        check_no_format(type(self).__name__, format=fmt, datefmt=datefmt, defaults=defaults)
        super().__init__(style=style, validate=validate, json_default=plain)

    def format(self, record: logging.LogRecord) -> str:
        """The record's line, without its end. The record is not changed."""
        data = self._fields(record)
        try:
            line = self.jsonify_log_record(data)
        except Exception:  # noqa: BLE001  # the values' own code: it can raise anything, the line must be kept
            return self._sanitised(record, data)
        # A surrogate: half of a pair that is right, or alone, which strict parsers refuse.
        return self._sanitised(record, data) if "\\ud" in line else line

    def jsonify_log_record(self, log_data: LogData) -> str:
        """Encode strictly: a NaN is an error here."""
        return json.dumps(log_data, default=self.json_default, allow_nan=False)

    def _sanitised(self, record: logging.LogRecord, data: LogData) -> str:
        try:
            return self.jsonify_log_record(sanitise(data))
        except Exception as error:  # noqa: BLE001  # the values' own code again
            minimal = {
                "timestamp": data["timestamp"],
                "level": data["level"],
                "logger": plain_text(record.name),
                "message": plain_text(data["message"]),
                "task_id": plain_text(data.get("task_id")),
                "serialize_error": type(error).__name__,
            }
            return self.jsonify_log_record(minimal)

    def _fields(self, record: logging.LogRecord) -> LogData:
        data: dict[str, Any] = {
            "timestamp": _timestamp(record.created),
            "level": level_name(record.levelno),
            "logger": record.name,
        }
        if is_log(record):
            data["event"] = "log"
        elif is_lifecycle(record):
            data["event"] = "lifecycle"
        data["message"] = record.getMessage()
        attributes = record.__dict__
        data.update((key, attributes[key]) for key in OWN_ATTRIBUTES if key in attributes)
        for key, value in attributes.items():
            if key not in STANDARD_ATTRIBUTES and key not in OWN_ATTRIBUTES and key != GIVEN:
                data[PREFIX + key if key in _OWN_KEYS else key] = value
        if "event" not in data:
            self._add_traceback(data, record)
        return data

    def _add_traceback(self, data: LogData, record: logging.LogRecord) -> None:
        if record.exc_info:
            data["stacktrace"] = self.formatException(record.exc_info)
        elif record.exc_text:
            data["stacktrace"] = record.exc_text
        if record.stack_info:
            data["stack_info"] = self.formatStack(record.stack_info)


def _timestamp(created: float) -> str:
    moment = datetime.fromtimestamp(created, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
