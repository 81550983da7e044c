"""The consumer of one async observer's events: a task on an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
from collections.abc import Awaitable, Callable

from fastapi_taskflow.context import active_task
from fastapi_taskflow.events import LifecycleEvent
from fastapi_taskflow.loggers.ledger import news
from fastapi_taskflow.loggers.queue import DeliveryQueue
from fastapi_taskflow.loggers.turns import RealClock, Turns, give_way
from fastapi_taskflow.records import Kept

Told = LifecycleEvent | Kept
"""What waits for an observer: a status change, or what the event of an entry will be made of."""

BREATH = 0.001
"""Seconds after which other work on the loop gets a turn, between two events."""

LINGER = 0.005
"""Seconds after which a consumer looks once more for events of other threads, before it sleeps."""

STOP_TIMEOUT = 1.0
"""Seconds after which a consumer is left behind whose observer won't be cancelled."""


class Consumer:
    """Delivers queued events in order, one at a time, for as long as its loop runs.

    An event that it could not finish is delivered again by the next consumer.

    Must be made in the loop's thread. It runs outside any task's context, so that what an
    observer logs is no line of a task.

    Args:
        queue: Where the events come from.
        prepare: Awaited once, before the first event.
        deliver: Called for each event; what it returns, if anything, is awaited. Raises nothing
            but the consumer's own cancellation.
    """

    def __init__(
        self,
        queue: DeliveryQueue[Told],
        prepare: Callable[[], Awaitable[None]],
        deliver: Callable[[Told], Awaitable[None] | None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.ready = asyncio.Event()
        self._queue = queue
        self._prepare = prepare
        self._deliver = deliver
        self._thread = threading.get_ident()
        self._signal = asyncio.Event()
        self._turns = Turns()
        self._awake = True
        self._lingers = self._called_from_afar = False
        self._began = self.loop.time(), RealClock.now()
        context = contextvars.copy_context()
        context.run(active_task.set, None)
        self._task = self.loop.create_task(self._run(), context=context)
        self._task.add_done_callback(lambda _: queue.wake())

    @property
    def alive(self) -> bool:
        """Whether events will be delivered without further ado."""
        return self.loop.is_running() and not self._task.done()

    def wake(self) -> None:
        """Have the consumer look at the queue soon: a burst of calls is one wake-up of the loop."""
        if threading.get_ident() == self._thread:
            if not self._awake:
                self._awake = True
                self._signal.set()
            return
        if not (self._awake or self._lingers):
            self._call_from_afar()
        if self._turns.are_due():
            news.mine.tell(give_way)

    def hurry(self) -> None:
        """Have the consumer look at the queue now, though it may cost the loop a wake-up."""
        if self._lingers and not self._awake and threading.get_ident() != self._thread:
            self._call_from_afar()
        else:
            self.wake()

    def _call_from_afar(self) -> None:
        """Wake the loop from another thread.

        That is dear for the loop. It has to read from a socket what has woken it, and each of
        these system calls gives up the interpreter's lock, which it gets back only when the
        thread that logs has had its 5 ms. So it is done once: see ``_linger``.
        """
        self._awake = self._called_from_afar = True
        with contextlib.suppress(RuntimeError):  # the loop is closed: the next consumer looks
            self.loop.call_soon_threadsafe(self._signal.set)

    async def stop(self) -> None:
        """End the consumer; on its own loop, wait until it has ended."""
        if asyncio.get_running_loop() is self.loop:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=STOP_TIMEOUT)
        else:
            self.retire()

    def retire(self) -> None:
        """Have the consumer end when its loop runs next, if it ever does."""
        with contextlib.suppress(RuntimeError):  # closed: it has ended
            self.loop.call_soon_threadsafe(self._task.cancel)

    async def _run(self) -> None:
        try:
            await self._prepare()
        finally:
            self.ready.set()  # whatever happened: nobody waits for ever
        while True:
            self._awake = True
            self._signal.clear()
            await self._deliver_all()
            if self._called_from_afar:
                if self._has_time():
                    await self._linger()
                else:
                    self._called_from_afar = False
            self._awake = False
            if not len(self._queue):  # looked at after the flag: nothing falls between
                await self._signal.wait()

    def _has_time(self) -> bool:
        """Whether the loop's clock runs: where a test has stopped it, no timer ever ends."""
        began, really_began = self._began
        elapsed = self.loop.time() - began
        return elapsed > 0 and abs(elapsed - (RealClock.now() - really_began)) < LINGER

    async def _linger(self) -> None:
        """Wait a little for more events of a thread that has logged, and need not wake the loop."""
        self._lingers = True
        self._awake = False
        if not len(self._queue):
            timer = self.loop.call_later(LINGER, self._signal.set)
            await self._signal.wait()
            timer.cancel()
            self._signal.clear()
        self._lingers = False
        self._called_from_afar = len(self._queue) > 0

    async def _deliver_all(self) -> None:
        self._turns.taken()
        breath = time.monotonic() + BREATH
        for event in self._queue.take():
            try:
                rest = self._deliver(event)
                if rest is not None:
                    await rest
            except BaseException:  # this consumer ends: the event is for the next one
                self._queue.put_back(event)
                raise
            self._queue.finish()
            if time.monotonic() > breath:
                await asyncio.sleep(0)
                self._turns.taken()
                breath = time.monotonic() + BREATH
