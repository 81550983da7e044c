"""Lines on standard output, for containers whose log driver reads it."""

from __future__ import annotations

import io
import logging
import os
import select
import sys
from collections.abc import Callable, Iterable
from typing import TextIO

from fastapi_taskflow.formatters import TaskFormatter
from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.levels import Level
from fastapi_taskflow.loggers.base import HandlerObserver
from fastapi_taskflow.loggers.chunks import chunks, formatted
from fastapi_taskflow.loggers.observed import (
    FormatterChoice,
    ObservedHandler,
    observe_lines,
    untold,
)

PIPE_BYTES = 4096
"""Bytes that a pipe takes at once, unmixed with other processes' (``PIPE_BUF`` on Linux)."""


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

    def emit_batch(
        self,
        records: Iterable[logging.LogRecord],
        failed: Callable[[BaseException], None],
        done: Callable[[int], None] = untold,
    ) -> None:
        """Write the records' lines, many by one write.

        Without this handler's lock, nor the stream's, where the stream has a file descriptor: a
        pipe that nobody reads holds up who calls this, and nobody else.
        """
        write = _writer_of(self.stream)
        for chunk in chunks(formatted(records, self._line, failed, done), _pipe_room, _most_bytes):
            try:
                write("".join(chunk))
            except BaseException as error:  # noqa: BLE001  # see let_pass
                let_pass(error)
                for _ in chunk:
                    failed(error)
            done(len(chunk))

    def _line(self, record: logging.LogRecord) -> str:
        return self.format(record) + self.terminator


def _pipe_room(_line: str) -> int:
    """As much as a pipe takes without mixing it with another process's."""
    return PIPE_BYTES


def _most_bytes(line: str) -> int:
    return len(line) if line.isascii() else 4 * len(line)


def _writer_of(stream: TextIO) -> Callable[[str], None]:
    """How to write to a stream, and have it written when that returns."""
    descriptor = _descriptor_of(stream)
    if descriptor is not None:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        return lambda text: _write_all(descriptor, text.encode(encoding, "backslashreplace"))

    def write_and_flush(text: str) -> None:
        stream.write(text)
        stream.flush()

    return write_and_flush


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # somebody has made it non-blocking
            select.select((), (descriptor,), ())


def _descriptor_of(stream: TextIO) -> int | None:
    """The file descriptor of a stream that does nothing with a text but to write it there.

    What stands in for a standard output (a tee, a notebook's) may pass on its ``fileno()``.
    """
    while hasattr(type(stream), "routed"):  # ours, for prints
        stream = stream.routed  # type: ignore[attr-defined]  # it was asked for just now
    if os.name == "nt":  # it translates lines
        return None
    try:
        return stream.fileno() if _is_plain(stream) else None
    except (OSError, ValueError):  # it is none of the system's, or is closed
        return None


def _is_plain(stream: object) -> bool:
    if not isinstance(stream, io.TextIOWrapper) or type(stream).write is not io.TextIOWrapper.write:
        return False
    raw = getattr(stream.buffer, "raw", stream.buffer)
    return type(stream.buffer) in (io.BufferedWriter, io.FileIO) and type(raw) is io.FileIO


class StdoutLogger(HandlerObserver):
    """Writes events to standard output, a line each, the line being on its way at once.

    Args:
        log_lifecycle: Whether status changes get a line too.
        min_level: The lowest level to write.
        formatter: "text", "json", or any ``logging.Formatter``.
        queued: Whether a thread writes, in batches, so that a pipe that nobody reads holds up
            no task. The lines are then not in order with what the process prints, and those
            that wait are lost if it is killed.

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
        queued: bool = False,
    ) -> None:
        super().__init__(TaskStreamHandler(), queued=queued)
        observe_lines(
            self.handler, formatter=formatter, min_level=min_level, log_lifecycle=log_lifecycle
        )
