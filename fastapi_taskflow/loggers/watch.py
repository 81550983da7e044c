"""One who watches: the events that wait for them, and the iterator over these."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, Self, TypeVar, cast

from fastapi_taskflow.errors import WatchOverflowError
from fastapi_taskflow.events import LifecycleEvent, News, ProgressEvent

BUFFER = 10_000
"""The most events that wait for one watcher."""

BREATH = 64
"""Events after which other work on the watcher's loop gets a turn."""


E = TypeVar("E")


class Published:
    """An event on its way to all who watch.

    Attributes:
        number: Its position among the events of this process, from 1. A progress has 0: it is
            not kept for those who come back, who are told of the next one.
        event: The event.
        rendered: What the first reader has made of it, for the others; None before.
    """

    __slots__ = ("event", "number", "rendered")

    def __init__(self, number: int, event: News) -> None:
        self.number = number
        self.event = event
        self.rendered: bytes | None = None


class Bell:
    """Wakes those who wait on one loop: a burst of rings is one wake-up.

    Only the loop's own thread makes one and waits; any thread rings.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: dict[Buffer, asyncio.Future[None]] = {}
        self._rung = False

    @classmethod
    def here(cls) -> Bell:
        """The bell of the loop that is running."""
        loop = asyncio.get_running_loop()
        bell = _here.bell()
        if bell is None or bell.loop is not loop:
            bell = cls(loop)
            _here.bell = weakref.ref(bell)
        return bell

    async def wait(self, buffer: Buffer) -> None:
        """Wait until the bell is rung and there is news for this one."""
        self._waiting[buffer] = future = self.loop.create_future()
        buffer.bell = self
        try:
            if not buffer.has_news:  # looked at after the bell is there: nothing falls between
                await future
        finally:
            buffer.bell = None
            del self._waiting[buffer]

    def ring(self) -> Iterable[Buffer]:
        """Have them look again.

        Returns:
            Those who wait on a loop that is closed: they never will.
        """
        if self._rung:
            return ()
        self._rung = True  # before the call: whoever looks afterwards finds what came until then
        try:
            self.loop.call_soon_threadsafe(self._answer)
        except RuntimeError:  # the loop is closed
            return list(self._waiting)
        return ()

    def _answer(self) -> None:
        self._rung = False
        for buffer, future in self._waiting.items():
            if buffer.has_news and not future.done():
                future.set_result(None)


class _Here(threading.local):
    """The bell that was last used in this thread, as long as somebody has it."""

    bell: Callable[[], Bell | None] = staticmethod(lambda: None)


_here = _Here()


class Buffer:
    """What one watcher has still to take, bounded.

    Items are offered under the lock of ``Watchers``, in their order, and taken by the watcher.

    Args:
        task_id: The task that is watched; None means all.
        progress: Whether it is for progress, too.
    """

    def __init__(self, task_id: str | None, *, progress: bool) -> None:
        self.task_id = task_id
        self.has_progress = progress
        self.bell: Bell | None = None
        self.missed = 0
        self._items: deque[Published] = deque()
        self._limit = BUFFER
        self._over = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def has_news(self) -> bool:
        """Whether there is something to take, or nothing to wait for any more."""
        return bool(self._items) or self._over or self.missed > 0

    @property
    def is_over(self) -> bool:
        """Whether nothing will come after what waits."""
        return self._over

    def offer(self, item: Published) -> None:
        """Add an item at the end. After the first one that found no room none is taken."""
        if self._over:
            return
        if isinstance(item.event, ProgressEvent):
            self._offer_progress(item, item.event.task_id)
            return
        if self.missed or len(self._items) >= self._limit:
            self.missed += 1
        else:
            self._items.append(item)
        if self.task_id is not None and is_last(item.event):
            self._over = True

    def _offer_progress(self, item: Published, task_id: str) -> None:
        """Add it where there is room, in place of the task's last one if that is the newest item.

        None is missed: a later one, or the task's record, says the same and more.
        """
        if not self.has_progress:
            return
        with suppress(IndexError):  # the watcher has taken the last item just now
            last = self._items[-1].event
            if isinstance(last, ProgressEvent) and last.task_id == task_id:
                self._items[-1] = item
                return
        if not self.missed and len(self._items) < self._limit:
            self._items.append(item)

    def hold(self, item: Published) -> None:
        """Add an item that is there from the start, for which there is always room."""
        self._limit += 1
        self.offer(item)

    def end(self) -> None:
        """Say that nothing comes after what waits."""
        self._over = True

    def take(self) -> Published | None:
        """Take the first item, or None."""
        return self._items.popleft() if self._items else None

    def clear(self) -> None:
        """Let go of what waits: nobody takes it any more."""
        self._items.clear()


def is_last(event: News) -> bool:
    """Whether it is a task's end."""
    return isinstance(event, LifecycleEvent) and event.status.is_final


class Watch(Generic[E]):
    """Events as they happen, from the moment this was made: what ``watch()`` returns.

    An async iterator, for one ``async for`` at a time, on any loop. Whoever leaves it does
    well to ``aclose()`` it, by ``contextlib.aclosing()`` say; dropped, it is freed just so. A
    wait for the next event can be cancelled, and the iteration taken up again.

    Args:
        buffer: Where the events come from.
        leave: Called when no more events are wanted, by any thread, maybe more than once.
        since: The number of the last event that is not for this watch, being from before.
        is_reset: Whether events are missing that were asked for.
    """

    def __init__(
        self,
        buffer: Buffer,
        leave: Callable[[Buffer], None],
        *,
        since: int = 0,
        is_reset: bool = False,
    ) -> None:
        self._buffer = buffer
        self._leave = leave
        self._taken = 0
        self._closed = False
        self.since = since
        self.is_reset = is_reset

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        self._taken += 1
        if self._taken % BREATH == 0:
            await asyncio.sleep(0)
        await self.wait()
        item = self.take()
        if item is None:
            raise StopAsyncIteration
        return cast("E", item.event)  # the buffer has no others

    async def wait(self) -> None:
        """Wait until there is an event to take, or nothing will come any more.

        Raises:
            RuntimeError: Somebody else waits for this watch's events.
        """
        if self._buffer.has_news:
            return
        if self._buffer.bell is not None:
            raise RuntimeError("this watch is being waited for; call watch() once for each task")
        await Bell.here().wait(self._buffer)

    def take(self) -> Published | None:
        """Take the next event, or None: there is none yet, or none will come any more.

        Raises:
            WatchOverflowError: The next ones are missing, as there was no room for them.
        """
        item = self._buffer.take()
        if item is None and self._buffer.missed and not self._closed:
            missed = self._buffer.missed
            self.close()
            raise WatchOverflowError(missed, BUFFER)
        return item

    @property
    def has_news(self) -> bool:
        """Whether there is something to take, or nothing to wait for any more."""
        return self._buffer.has_news

    @property
    def is_over(self) -> bool:
        """Whether all has been taken and nothing will come any more."""
        return self._buffer.is_over and not len(self._buffer)

    def end(self) -> None:
        """Have it end after what waits now."""
        self._buffer.end()
        self._leave(self._buffer)

    def close(self) -> None:
        """Want no more events; whoever waits for one is told that it is over."""
        if not self._closed:
            self._closed = True
            self._buffer.clear()
            self.end()
            self._buffer.clear()  # one may have been on its way

    @contextmanager
    def closed_by_errors(self) -> Iterator[None]:
        """Close it where the block raises: the traceback keeps it in memory."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    async def aclose(self) -> None:
        """End the iteration and free what it holds, as an async generator's does."""
        self.close()

    def __del__(self) -> None:
        self.close()
