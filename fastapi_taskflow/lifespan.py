"""When a manager starts and stops: with the app, at a signal, at the interpreter's exit."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import signal
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import FrameType
from typing import Any, Protocol

from fastapi import FastAPI

from fastapi_taskflow.fork import run_at_child_end

EXIT_SECONDS = 5.0
"""How long events may take that wait when the interpreter exits without a shutdown."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def wrap_lifespan(app: FastAPI, manager: AbstractAsyncContextManager[object]) -> None:
    """Have the manager run inside the app's own lifespan, however that was given.

    The app's startup runs first and its shutdown last, so that tasks which still run at
    shutdown have what the app opened for them.
    """
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        async with inner(app) as state, manager:
            yield state

    app.router.lifespan_context = lifespan


class ShutdownSignals:
    """Listens for SIGTERM and SIGINT while the manager runs, and passes them on.

    Servers act on these signals long before they start the lifespan's shutdown: they wait
    for background tasks first. Nothing is done outside the main thread, nor for a signal that
    Python has no handler for.

    Args:
        received: Called at a signal, before the server's own handler, in the main thread.
    """

    def __init__(self, received: Callable[[], None]) -> None:
        self._received = received
        self._previous: dict[signal.Signals, Callable[[int, FrameType | None], Any]] = {}

    def install(self) -> None:
        """Chain in front of the handlers that are set now."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            if number in self._previous:
                continue  # still there, below a handler that was set meanwhile
            previous = signal.getsignal(number)
            if callable(previous):
                self._previous[number] = previous
                signal.signal(number, self._handle)

    def restore(self) -> None:
        """Put back the handlers; where somebody has chained in front since, pass on for good."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, previous in list(self._previous.items()):
            if signal.getsignal(number) == self._handle:
                signal.signal(number, previous)
                del self._previous[number]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing is left to stop
            self._received()
        previous = self._previous.get(signal.Signals(number))
        if previous is not None:
            previous(number, frame)


class Stoppable(Protocol):
    """What can be stopped at exit."""

    @property
    def is_open(self) -> bool:
        """Whether there is something to stop."""

    async def stop(self, *, grace: float | None = None, drain: float | None = None) -> None:
        """Interrupt what runs after the grace, drain, and close."""


def stop_at_exit(engine: Stoppable) -> None:
    """Have an engine that nobody has shut down stop when the interpreter exits.

    The engine is not kept alive for it.
    """
    _engines.add(engine)


def _stop_all() -> None:
    with contextlib.ExitStack() as stack:  # one that raises keeps no other from stopping
        for engine in list(_engines):
            if engine.is_open:
                stop = engine.stop(grace=0.0, drain=EXIT_SECONDS)
                stack.callback(asyncio.run, stop)


_engines: weakref.WeakSet[Stoppable] = weakref.WeakSet()
atexit.register(_stop_all)
run_at_child_end(_stop_all)
