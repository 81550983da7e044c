"""Worker threads for sync bodies: daemons, so that a stuck one can't hold the process."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from fastapi_taskflow.execution.failure import RemoteTraceback
from fastapi_taskflow.execution.slots import Slots
from fastapi_taskflow.fork import ChildEnds, restart_after_fork

DEFAULT_MAX_THREADS = 40
"""As many as Starlette lets run at once for sync endpoints."""

IDLE_SECONDS = 10.0
"""How long an idle thread waits for work before it ends."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: what it returned, or what it raised.

    A value, since a future takes no ``StopIteration``.

    Attributes:
        result: What it returned.
        error: What it raised.
        remote: The traceback of that, where it was raised in another process.
    """

    result: Any = None
    error: BaseException | None = None
    remote: RemoteTraceback | None = None


class WorkerThreads:
    """Runs sync calls in daemon threads, no more than so many at a time.

    Args:
        max_threads: How many.
    """

    def __init__(self, max_threads: int = DEFAULT_MAX_THREADS) -> None:
        self._max_threads = max_threads
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Begin without threads and calls, as a forked child must."""
        self.slots = Slots(self._max_threads)
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        self._idle = threading.Semaphore(0)

    def submit(self, function: Callable[[], Any]) -> asyncio.Future[Outcome]:
        """Run a call in a thread, with a copy of this context; a slot must be held for it.

        The slot is given back when the call ends. Cancelling the future abandons the call:
        it runs to its end, which nobody sees.
        """
        call = _Call(function, self.slots)
        if not self._idle.acquire(blocking=False):
            try:
                self._start_worker()
            except RuntimeError:  # the system has no more threads
                self.slots.release()
                raise
        self._calls.put(call)
        return call.future

    def _start_worker(self) -> None:
        worker = _Worker(self._calls, self._idle)
        threading.Thread(target=worker.run, name="fastapi_taskflow-task", daemon=True).start()


SHARED_THREADS = WorkerThreads()
"""The pool of all managers that have none of their own."""


class _Call:
    """A call on its way to a thread, and its outcome's way back."""

    __slots__ = ("_context", "_function", "_slots", "future")

    def __init__(self, function: Callable[[], Any], slots: Slots) -> None:
        self.future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._function = function
        self._context = contextvars.copy_context()
        self._slots = slots

    def run(self) -> None:
        """Make the call, in a worker thread."""
        try:
            with ChildEnds():
                outcome = Outcome(self._context.run(self._function))
        except BaseException as error:  # noqa: BLE001  # whatever ends a body must not end the thread
            outcome = Outcome(error=error)
        self._slots.release()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.future.get_loop().call_soon_threadsafe(self._resolve, outcome)

    def _resolve(self, outcome: Outcome) -> None:
        if not self.future.done():
            self.future.set_result(outcome)


class _Worker:
    """What one thread does: calls, until none comes for a while."""

    def __init__(self, calls: SimpleQueue[_Call], idle: threading.Semaphore) -> None:
        self._calls = calls
        self._idle = idle

    def run(self) -> None:
        """Make calls. Every idle worker stands for one permit of the semaphore."""
        while True:
            call = self._next()
            if call is None:
                return
            call.run()
            del call  # an idle thread must not keep a task's arguments alive
            self._idle.release()

    def _next(self) -> _Call | None:
        try:
            return self._calls.get(timeout=IDLE_SECONDS)
        except Empty:
            if self._idle.acquire(blocking=False):
                return None
            return self._calls.get()  # a call was promised to this thread just now
