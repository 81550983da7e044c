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
        self._desk = _Desk(self.slots)
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, ref[_Exchange]]
        self._loops = WeakKeyDictionary()  # the calls have them: a loop's own would keep the loop

    def submit(self, function: Callable[[], Any]) -> asyncio.Future[Outcome]:
        """Run a call in a thread, with a copy of this context; a slot must be held for it.

        The slot is given back when the call ends. Cancelling the future abandons the call: one
        that has begun runs to its end, which nobody sees, and one that has not is not made.

        Raises:
            RuntimeError: The system has no more threads.
        """
        exchange = self._exchange()
        call = _Call(function, exchange)
        self._desk.promise()
        exchange.send(call)
        return call.future

    def _exchange(self) -> _Exchange:
        loop = asyncio.get_running_loop()
        known = self._loops.get(loop)
        exchange = None if known is None else known()
        if exchange is None:
            exchange = _Exchange(self._desk)
            self._loops[loop] = ref(exchange)
        return exchange


class _Call:
    """A call on its way to a thread, and its outcome's way back."""

    __slots__ = ("_context", "_exchange", "_function", "future")

    def __init__(self, function: Callable[[], Any], exchange: _Exchange) -> None:
        self.future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._function = function
        self._context = contextvars.copy_context()
        self._exchange = exchange

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
        self._exchange.answer(self.future, outcome)


class _Exchange:
    """What goes between one loop and the threads: calls, and the outcomes on their way back.

    To wake a thread up costs more than all else on either way, and two that run at once are in
    each other's way. So the calls of one turn of the loop are handed out in the next, together;
    and of a burst of outcomes the first one wakes the loop, which takes all that are there.
    """

    __slots__ = ("__weakref__", "_awaited", "_desk", "_given", "_hands_out")

    def __init__(self, desk: _Desk) -> None:
        self._desk = desk
        self._hands_out = False
        self._given: deque[tuple[asyncio.Future[Outcome], Outcome]] = deque()
        self._awaited = False

    def send(self, call: _Call) -> None:
        """Have a call made; called on the loop."""
        self._desk.gathered.append(call)
        if not self._hands_out:
            call.future.get_loop().call_soon(self._hand_out)
            self._hands_out = True  # only now: at the end of the stack that fails

    def _hand_out(self) -> None:
        self._hands_out = False
        self._desk.hand_out()

    def answer(self, future: asyncio.Future[Outcome], outcome: Outcome) -> None:
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


class _Desk:
    """Where calls wait for the threads that make them.

    Of a burst of calls one thread may make many, without anyone being woken up; but for each
    that waits there is an idle one, should the call before it take its time.

    Args:
        slots: What is given back after a call.

    Attributes:
        gathered: Calls that are not handed out yet, for each of which a thread was promised.
    """

    def __init__(self, slots: Slots) -> None:
        self.gathered: deque[_Call] = deque()
        self._slots = slots
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        self._idle: list[None] = []  # an item for each thread that waits, and is promised no call

    def promise(self) -> None:
        """Have a thread for a call that comes; start one if none is idle.

        Raises:
            RuntimeError: The system has no more threads. The call's slot is given back.
        """
        try:
            self._idle.pop()
        except IndexError:
            thread = threading.Thread(target=self.serve, name="fastapi_taskflow-task", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                self._slots.release()
                raise

    def hand_out(self) -> None:
        """Let the threads have what is gathered, by whatever loop; called by any thread."""
        with contextlib.suppress(IndexError):
            while True:
                self._calls.put(self.gathered.popleft())

    def serve(self) -> None:
        """Make calls, in a thread, until none comes for a while.

        It counts as idle before anyone can know of its call's outcome: so what comes next, and
        may come at once, starts no other thread.
        """
        while True:
            call = self._next()
            if call is None:
                return
            outcome = Outcome() if call.future.cancelled() else call.run()
            self._idle.append(None)
            self._slots.release()
            call.answer(outcome)
            del call, outcome  # an idle thread must not keep them alive

    def _next(self) -> _Call | None:
        while True:
            try:
                return self._calls.get(timeout=IDLE_SECONDS)
            except Empty:
                self.hand_out()  # what a loop has gathered that ended before it came to that
            try:
                self._idle.pop()
            except IndexError:  # a call was promised to this thread, and is to come
                continue
            return None


SHARED_THREADS = WorkerThreads()
"""The pool of all managers that have none of their own."""
