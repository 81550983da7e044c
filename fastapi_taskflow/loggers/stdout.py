"""Lines on standard output, for containers whose log driver reads it."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from fastapi_taskflow.formatters import TaskFormatter
from fastapi_taskflow.levels import Level
from fastapi_taskflow.loggers.base import HandlerObserver
from fastapi_taskflow.loggers.observed import FormatterChoice, ObservedHandler, observe_lines


class TaskStreamHandler(ObservedHandler, logging.StreamHandler[TextIO]):
    """Writes one line a record to a stream, and flushes it.

    Args:
        stream: A text stream; None means ``sys.stdout`` as it is when a line is written, so
            that redirected output and pytest's ``capsys`` get it.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._stream = stream
        self.setFormatter(TaskFormatter())

    @property
    def stream(self) -> TextIO:
        """Where the next line goes."""
        return sys.stdout if self._stream is None else self._stream

    @stream.setter
    def stream(self, stream: TextIO | None) -> None:
        self._stream = stream

    def format(self, record: logging.LogRecord) -> str:
        """The record's line, in characters that the stream's encoding has."""
        line = super().format(record)
        if line.isascii():
            return line
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        return line.encode(encoding, "backslashreplace").decode(encoding)


class StdoutLogger(HandlerObserver):
    """Writes events to standard output, a line each, the line being on its way at once.

    Args:
        log_lifecycle: Whether status changes get a line too.
        min_level: The lowest level to write.
        formatter: "text", "json", or any ``logging.Formatter``.

    Raises:
        ConfigurationError: A level or formatter that there is not.
    """

    handler: TaskStreamHandler

    def __init__(
        self,
        *,
        log_lifecycle: bool = False,
        min_level: Level = "info",
        formatter: FormatterChoice = "text",
    ) -> None:
        self.handler = TaskStreamHandler()
        observe_lines(
            self.handler, formatter=formatter, min_level=min_level, log_lifecycle=log_lifecycle
        )
