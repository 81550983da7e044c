"""Events on their way to one async observer: queued by any thread, waited for on any loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from fastapi_taskflow.events import Event


class _Waiter(NamedTuple):
    """Somebody who waits until so many events have been dealt with."""

    goal: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]


class EventQueue:
    """A queue that knows how many of its events have been dealt with.

    ``put`` is called by one thread at a time (a handler's lock sees to it), ``take`` and
    ``finish`` by one consumer; the rest by anyone.
    """

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._put = 0
        self._finished = 0
        self._waiters: list[_Waiter] = []
        self._guard = threading.Lock()

    def __len__(self) -> int:
        return len(self._events)

    @property
    def unfinished(self) -> int:
        """How many events wait or are being dealt with."""
        return self._put - self._finished

    def put(self, event: Event) -> None:
        """Add an event at the end."""
        self._put += 1
        self._events.append(event)

    def take(self) -> Iterator[Event]:
        """Take events off the front until there is none, those that come meanwhile included."""
        while self._events:
            yield self._events.popleft()

    def finish(self, count: int = 1) -> None:
        """Say that events which were taken have been dealt with."""
        self._finished += count
        if self._waiters:
            self._release()

    def put_back(self, event: Event) -> None:
        """Put an event that was taken, but not dealt with, in front again."""
        self._events.appendleft(event)

    def mark(self) -> int:
        """How many events have been put so far: a goal to wait for."""
        return self._put

    def reached(self, goal: int) -> bool:
        """Whether so many events have been dealt with."""
        return self._finished >= goal

    async def wait(self, goal: int) -> None:
        """Wait until so many events have been dealt with, or ``wake`` is called."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(goal, loop, loop.create_future())
        with self._guard:
            self._waiters.append(waiter)
        self._release()  # the last one may be finished already
        await waiter.future

    def wake(self) -> None:
        """Have everybody who waits look again: who dealt with the events is gone."""
        with self._guard:
            ready, self._waiters = self._waiters, []
        self._resolve(ready)

    def _release(self) -> None:
        with self._guard:
            ready = [waiter for waiter in self._waiters if self.reached(waiter.goal)]
            self._waiters = [waiter for waiter in self._waiters if not self.reached(waiter.goal)]
        self._resolve(ready)

    def _resolve(self, waiters: list[_Waiter]) -> None:
        for waiter in waiters:
            with contextlib.suppress(RuntimeError):  # its loop was closed: nobody waits there
                waiter.loop.call_soon_threadsafe(_resolve, waiter.future)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
