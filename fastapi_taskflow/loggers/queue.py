"""Items on their way to one consumer: queued by any thread, waited for on any loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class _Waiter(NamedTuple):
    """Somebody who waits until so many items have been dealt with."""

    goal: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]


class DeliveryQueue(deque[T]):
    """A queue that knows how many of its items have been dealt with.

    Of what any deque has, only its length is to be asked: the rest would not be counted.

    ``put`` is called by one thread at a time (a handler's lock sees to it), ``take``, ``done``,
    ``tell`` and ``finish`` by one consumer; the rest by anyone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._put = 0
        self._done = 0
        self._told = 0
        self._waiters: list[_Waiter] = []
        self._guard = threading.Lock()

    @property
    def unfinished(self) -> int:
        """How many items wait or are being dealt with."""
        return self._put - self._done

    @property
    def dealt_with(self) -> int:
        """How many items have been dealt with, ever."""
        return self._done

    @property
    def is_awaited(self) -> bool:
        """Whether there is something that those who wait now would wait for."""
        return self._told < self._put

    def put(self, item: T) -> int:
        """Add an item at the end. Returns how many wait now."""
        self._put += 1
        try:
            self.append(item)
        except RecursionError:  # whoever logs is at the end of the stack: nobody waits for this one
            self._put -= 1
            raise
        return len(self)

    def take(self) -> Iterator[T]:
        """Take items off the front until there is none, those that come meanwhile included."""
        while self:
            try:
                item = self.popleft()
            except IndexError:  # somebody else was quicker
                return
            yield item

    def done(self, count: int) -> None:
        """Count items that were taken as dealt with; whoever waits is told later."""
        self._done += count

    def tell(self) -> None:
        """Let go those who have waited for what is dealt with by now."""
        self._told = self._done
        if self._waiters:
            self._release()

    def finish(self, count: int = 1) -> None:
        """Say that items which were taken have been dealt with."""
        self.done(count)
        self.tell()

    def put_back(self, item: T) -> None:
        """Put an item that was taken, but not dealt with, in front again."""
        self.appendleft(item)

    def mark(self) -> int:
        """How many items have been put so far: a goal to wait for."""
        return self._put

    def reached(self, goal: int) -> bool:
        """Whether so many items have been dealt with, and those who wait may know it."""
        return self._told >= goal

    async def wait(self, goal: int) -> None:
        """Wait until so many items have been dealt with, or ``wake`` is called."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(goal, loop, loop.create_future())
        with self._guard:
            self._waiters.append(waiter)
        self._release()  # the last one may be finished already
        await waiter.future

    def wake(self) -> None:
        """Have everybody who waits look again: who dealt with the items is gone."""
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
