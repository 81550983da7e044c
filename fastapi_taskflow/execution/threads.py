"""Worker threads for sync bodies: daemons, so that a stuck one can't hold the process."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any
from weakref import WeakKeyDictionary, ref

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
        self._idle: list[None] = []
        self._answers: WeakKeyDictionary[asyncio.AbstractEventLoop, ref[_Answers]]
        self._answers = WeakKeyDictionary()  # the calls have them: a loop's own would keep the loop

    def submit(self, function: Callable[[], Any]) -> asyncio.Future[Outcome]:
        """Run a call in a thread, with a copy of this context; a slot must be held for it.

        The slot is given back when the call ends. Cancelling the future abandons the call:
        it runs to its end, which nobody sees.
        """
        call = _Call(function, self._answers_here())
        try:
            self._idle.pop()
        except IndexError:
            self._start_worker()
        self._calls.put(call)
        return call.future

    def _answers_here(self) -> _Answers:
        loop = asyncio.get_running_loop()
        known = self._answers.get(loop)
        answers = None if known is None else known()
        if answers is None:
            answers = _Answers()
            self._answers[loop] = ref(answers)
        return answers

    def _start_worker(self) -> None:
        worker = _Worker(self._calls, self._idle, self.slots)
        thread = threading.Thread(target=worker.run, name="fastapi_taskflow-task", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads
            self.slots.release()
            raise


SHARED_THREADS = WorkerThreads()
"""The pool of all managers that have none of their own."""


class _Call:
    """A call on its way to a thread, and its outcome's way back."""

    __slots__ = ("_answers", "_context", "_function", "future")

    def __init__(self, function: Callable[[], Any], answers: _Answers) -> None:
        self.future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._function = function
        self._context = contextvars.copy_context()
        self._answers = answers

    def run(self) -> Outcome:
        """Make the call, in a worker thread."""
        try:
            with ChildEnds():
                return Outcome(self._context.run(self._function))
        except BaseException as error:  # noqa: BLE001  # whatever ends a body must not end the thread
            return Outcome(error=error)
        finally:
            del self._function, self._context  # what goes with them may take its time to go

    def answer(self, outcome: Outcome) -> None:
        """Tell who waits on the loop, if somebody still does."""
        self._answers.give(self.future, outcome)


class _Answers:
    """The outcomes on their way to one loop.

    To wake a loop up costs more than all else on that way: of a burst of outcomes the first
    one does, and the loop takes all that are there.
    """

    __slots__ = ("__weakref__", "_awaited", "_given")

    def __init__(self) -> None:
        self._given: deque[tuple[asyncio.Future[Outcome], Outcome]] = deque()
        self._awaited = False

    def give(self, future: asyncio.Future[Outcome], outcome: Outcome) -> None:
        """Have the future have its outcome; called by any thread."""
        self._given.append((future, outcome))
        if not self._awaited:  # looked at after the outcome is there: nothing falls between
            self._awaited = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                future.get_loop().call_soon_threadsafe(self._take)

    def _take(self) -> None:
        self._awaited = False
        while self._given:
            future, outcome = self._given.popleft()
            if not future.done():
                future.set_result(outcome)


class _Worker:
    """What one thread does: calls, until none comes for a while.

    Of a burst of calls one thread may make many, without anyone being woken up; but for each
    that waits there is an idle one, should the call before it take its time.

    Args:
        calls: Where they come from.
        idle: One item for each worker that waits, or soon will, and is promised no call.
        slots: What is given back after a call.
    """

    def __init__(self, calls: SimpleQueue[_Call], idle: list[None], slots: Slots) -> None:
        self._calls = calls
        self._idle = idle
        self._slots = slots

    def run(self) -> None:
        """Make calls. A worker counts as idle before anyone can know of its call's outcome.

        So what comes next, and may come at once, starts no other thread.
        """
        while True:
            call = self._next()
            if call is None:
                return
            outcome = call.run()
            self._idle.append(None)
            self._slots.release()
            call.answer(outcome)
            del call, outcome  # an idle thread must not keep them alive

    def _next(self) -> _Call | None:
        try:
            return self._calls.get(timeout=IDLE_SECONDS)
        except Empty:
            try:
                self._idle.pop()
            except IndexError:
                return self._calls.get()  # a call was promised to this thread just now
            return None
