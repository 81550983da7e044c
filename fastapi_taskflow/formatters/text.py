"""The line for people: one event, one line, in UTC."""

from __future__ import annotations

import logging
import math
import re
import time
from typing import Literal

from fastapi_taskflow.errors import ConfigurationError
from fastapi_taskflow.records import TaskLogRecord, is_lifecycle, is_tasks

_UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Controls (tab is none), line and paragraph separators, and bidirectional overrides."""

_SHORT = {"\n": r"\n", "\r": r"\r"}


def escape(text: str) -> str:
    """Make text safe for one line: what would end or disguise the line is written out."""
    return text if text.isascii() and text.isprintable() else _UNSAFE.sub(_escape_one, text)


def _escape_one(match: re.Match[str]) -> str:
    char = match[0]
    return _SHORT.get(char) or (f"\\x{ord(char):02x}" if char < "\u0100" else f"\\u{ord(char):04x}")


def check_no_format(formatter: str, **options: object) -> None:
    """Refuse options that would change a form which is fixed.

    Raises:
        ConfigurationError: One of them is set.
    """
    for option, value in options.items():
        if value is not None:
            hint = f"none: the form of {formatter}'s line is fixed; logging.Formatter has others"
            raise ConfigurationError(option, value, hint)


class TaskFormatter(logging.Formatter):
    r"""One event, one line, in UTC.

    ``[abc12345] [send_email] 2026-01-01T12:00:00 Sending to user@example.com``

    First the id's first eight characters, or ``-`` outside a task; then the task's function,
    or the logger's name for a record of another library. Control characters, line separators
    and bidirectional overrides are escaped (``\n``, ``\x1b``, ``\u202e``); tabs and
    backslashes stay. Another library's traceback follows on the same line, escaped.
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
            ConfigurationError: A format was given; the line's form is fixed.
        """
        check_no_format(type(self).__name__, format=fmt, datefmt=datefmt, defaults=defaults)
        super().__init__(style=style, validate=validate)
        # Many lines in a row are of one second, and of one task. Both are replaced as a whole, so
        # that threads which share a formatter see the one or the other.
        self._second = (math.nan, math.nan, "")
        self._head = ("", "", "")

    def format(self, record: logging.LogRecord) -> str:
        """The record's line, without its end. The record is not changed."""
        is_plain = not (record.exc_info or record.exc_text or record.stack_info)
        if isinstance(record, TaskLogRecord) and is_plain:
            message = record.getMessage() if record.args else record.msg  # which is all it does
            task_id, source = record.task_id, record.func_name
        else:
            # A status change's traceback is in the task's record, by the contract.
            is_plain = is_plain or is_lifecycle(record)
            message = record.getMessage() if is_plain else self._with_traceback(record)
            task_id, source = _who(record)
        known_id, known_source, head = self._head
        if task_id is not known_id or source is not known_source:
            head = f"[{escape(task_id[:8])}] [{escape(source)}]"
            self._head = (task_id, source, head)
        if type(message) is not str or not (message.isascii() and message.isprintable()):
            message = escape(str(message))
        return f"{head} {self.formatTime(record)} {message}"

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """The record's time in UTC, in whole seconds."""
        begin, end, text = self._second
        if not begin <= record.created < end:
            second = record.created // 1
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, second + 1, text)
        return text

    def _with_traceback(self, record: logging.LogRecord) -> str:
        parts = [record.getMessage()]
        if record.exc_info:
            # Not through record.exc_text: another formatter's text may be cached there.
            parts.append(self.formatException(record.exc_info))
        elif record.exc_text:
            parts.append(record.exc_text)
        if record.stack_info:
            parts.append(self.formatStack(record.stack_info))
        return "\n".join(parts)


def _who(record: logging.LogRecord) -> tuple[str, str]:
    """The task's id and its function, or what stands for them in a record of another library."""
    attributes = record.__dict__
    if is_tasks(record):
        return attributes["task_id"], attributes["func_name"]
    return str(attributes.get("task_id", "-")), record.name
