"""What a process and its worker tell each other, and how it gets across."""

from __future__ import annotations

import pickle
import select
import socket
import threading
from typing import Any, NamedTuple

from fastapi_taskflow.context import TaskContext
from fastapi_taskflow.events import TaskProgress
from fastapi_taskflow.execution.processes.packed_error import PackedError
from fastapi_taskflow.execution.processes.packing import Payload
from fastapi_taskflow.loggers.places import Place

_HEADER = 8
"""Bytes that say how long the message behind them is."""

_CHUNK = 1 << 16


class Job(NamedTuple):
    """One attempt, for a worker to make.

    Attributes:
        number: What the answers refer to.
        name: The task's name.
        context: What ``get_task_context()`` gives.
        payload: The call.
        source_level: The level below which the task's entries are turned away.
        log_prints: Whether prints become entries.
        captured: The names of the loggers whose records become entries.
        levels: The levels of loggers that are captured.
        span: What identifies the OpenTelemetry span that the task runs in, if any.
    """

    number: int
    name: str
    context: TaskContext
    payload: Payload
    source_level: int
    log_prints: bool
    captured: tuple[str, ...]
    levels: dict[str, int]
    span: tuple[int, int, int] | None


class Began(NamedTuple):
    """The call is there, and the body begins."""

    number: int


class Logged(NamedTuple):
    """The body has logged an entry.

    Attributes:
        number: The job's.
        levelno: The level.
        message: The message, rendered.
        extra: The extras, packed one by one.
        place: Where it was logged.
        made: Attributes of the record that say when, and in what process and thread, it was made.
    """

    number: int
    levelno: int
    message: str
    extra: dict[str, Any]
    place: Place
    made: dict[str, Any]


class Captured(NamedTuple):
    """A captured logger has made a record.

    Attributes:
        number: The job's.
        attributes: The record's, packed one by one.
        heard: Whether handlers in the worker have had it.
    """

    number: int
    attributes: dict[str, Any]
    heard: bool


class Returned(NamedTuple):
    """The body has returned.

    Attributes:
        number: The job's.
        result: What it returned, pickled.
    """

    number: int
    result: bytes


class Raised(NamedTuple):
    """The body has raised an error, or the call can't be made, or its result not sent."""

    number: int
    error: PackedError


class Progressed(NamedTuple):
    """The body has come so far."""

    number: int
    progress: TaskProgress


Message = Began | Logged | Captured | Progressed | Returned | Raised
"""What a worker says."""


class Wire:
    """One end of the line. Any thread may send, one thread receives.

    Args:
        end: A connected stream socket, which is the wire's from now on.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._sending = threading.Lock()
        self._received = bytearray()
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)

    def send(self, message: tuple[Any, ...]) -> None:
        """Send a message; blocks while the other end has too much to read.

        Raises:
            OSError: There is no other end any more.
        """
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        data = len(data).to_bytes(_HEADER, "big") + data
        with self._sending:
            self._end.sendall(data)

    def receive(self, timeout: float | None = None) -> Any | None:
        """The next message; None where none has begun to come for so many seconds.

        Raises:
            EOFError: The other end says no more.
            OSError: The line is cut.
        """
        while (data := self._take()) is None:
            if timeout is not None and not self._poll.poll(timeout * 1000):
                return None
            received = self._end.recv(_CHUNK)
            if not received:
                raise EOFError
            self._received += received
        return pickle.loads(data)

    def _take(self) -> bytes | None:
        """A message that has come as a whole, off the bytes received."""
        buffer = self._received
        if len(buffer) < _HEADER:
            return None
        end = _HEADER + int.from_bytes(buffer[:_HEADER], "big")
        if len(buffer) < end:
            return None
        data = bytes(buffer[_HEADER:end])
        del buffer[:end]
        return data

    def hang_up(self) -> None:
        """Say no more; what the other end still says can be received. Idempotent."""
        try:
            self._end.shutdown(socket.SHUT_WR)
        except OSError:  # the other end was first, or the line is closed
            return

    def close(self) -> None:
        """Let go of the socket."""
        self._end.close()
