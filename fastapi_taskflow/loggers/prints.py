"""``print()`` in a task: each line an entry of the task, routed by context."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from types import FrameType
from typing import Any

from fastapi_taskflow.context import active_task
from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.loggers.birth import report
from fastapi_taskflow.loggers.emit import TaskEmitter
from fastapi_taskflow.loggers.places import NOWHERE, Place, calling_place

MAX_LINE = 1 << 16
"""Characters after which a line that is never ended becomes an entry all the same."""

_HANDLING = (logging.Handler.handle.__code__, logging.Logger.callHandlers.__code__)


class Prints:
    """What one attempt prints, made entries line by line. Any thread may print.

    Args:
        emitter: The attempt's voice.
    """

    def __init__(self, emitter: TaskEmitter) -> None:
        self.emitter = emitter
        self._begun: dict[int, str] = {}

    def write(self, text: str, place: Place) -> None:
        """Take text; each of its lines that ends here and is not empty becomes an entry."""
        thread = threading.get_ident()
        *lines, rest = (self._begun.pop(thread, "") + text).split("\n")
        if len(rest) > MAX_LINE:
            lines, rest = [*lines, rest], ""
        if rest:
            self._begun[thread] = rest
        for line in lines:
            self._enter(line, place)

    def finish(self) -> None:
        """Make entries of the lines that were begun and never ended."""
        while self._begun:
            self._enter(self._begun.popitem()[1], NOWHERE)

    def _enter(self, line: str, place: Place) -> None:
        if not line.strip():
            return
        try:
            _, source_level, pipeline_level = self.emitter.levels()
            if source_level <= logging.INFO:
                text = line.removesuffix("\r")
                self.emitter.log(text, logging.INFO, {}, place, pipeline_level)
        except BaseException as error:  # noqa: BLE001  # no print raises for our sake
            let_pass(error)
            report("a print failed to become an entry and is lost", error)


_prints: ContextVar[Prints | None] = ContextVar("fastapi_taskflow_prints", default=None)


class _Router:
    """Stands in for a standard output: tasks' prints are routed, all else goes through."""

    def __init__(self, stream: Any) -> None:  # Any: whatever the process has there
        self._stream = stream

    def write(self, text: str) -> int:
        prints = _prints.get()
        # A context that was copied to work for others has no task any more, or another one.
        if prints is None or prints.emitter is not active_task.get() or _is_handling():
            return len(text) if self._stream is None else self._stream.write(text)
        prints.write(text, calling_place(2))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if self._stream is not None:
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property
    def routed(self) -> Any:
        """The standard output that it stands in for."""
        return self._stream


def _is_handling() -> bool:
    """Whether this is called by a logging handler: what one writes is no print of a task's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code not in _HANDLING:
        frame = frame.f_back
    return frame is not None


class _StandardOutput:
    """Has a router in ``sys.stdout`` while there are prints to route, and at no other time."""

    def __init__(self) -> None:
        self._users = 0
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Have a lock that nobody holds."""
        self._guard = threading.Lock()

    def route(self) -> None:
        with self._guard:
            self._users += 1
            if not isinstance(sys.stdout, _Router):
                sys.stdout = _Router(sys.stdout)

    def restore(self) -> None:
        with self._guard:
            self._users -= 1
            # Where somebody has put a stream of theirs over it, the router stays below.
            if not self._users and isinstance(sys.stdout, _Router):
                sys.stdout = sys.stdout.routed


_stdout = _StandardOutput()


@contextlib.contextmanager
def prints_logged(emitter: TaskEmitter) -> Iterator[None]:
    """Make what is printed in this context entries of a task, in place of output."""
    prints = Prints(emitter)
    token = _prints.set(prints)
    _stdout.route()
    try:
        yield
    finally:
        _stdout.restore()
        _prints.reset(token)
        prints.finish()


@contextlib.contextmanager
def prints_shown() -> Iterator[None]:
    """Let what is printed in this context be output, even inside a task."""
    token = _prints.set(None)
    try:
        yield
    finally:
        _prints.reset(token)
