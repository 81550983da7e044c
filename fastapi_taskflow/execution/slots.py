"""A limit on how many may go on at once, for callers on any event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from fastapi_taskflow.fork import restart_after_fork


class _Turn:
    """Somebody who waits for a slot.

    Attributes:
        loop: Where.
        future: What is awaited.
        is_given: Whether the slot is theirs, be they told of it or not.
    """

    __slots__ = ("future", "is_given", "loop")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()
        self.is_given = False

    def tell(self) -> None:
        """Have them go on, on their loop."""
        if not self.future.done():
            self.future.set_result(None)


class Slots:
    """So many slots, given out in the order in which they are asked for.

    ``acquire`` is awaited on any loop, ``release`` is called by any thread.

    Args:
        count: How many there are; None means no limit.
    """

    def __init__(self, count: int | None) -> None:
        self._count = count
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Have all slots free: in a forked child nobody has one."""
        self._free = self._count or 0
        self._waiting: deque[_Turn] = deque()
        # The garbage collector may throw away somebody who waits, which takes this lock: nothing
        # that it would look at is made under it.
        self._guard = threading.Lock()

    async def acquire(self) -> None:
        """Take a slot, when there is one."""
        if self._count is None or self._take():
            return
        turn = _Turn()
        if self._take(turn):
            return
        try:
            await turn.future
        except BaseException:  # cancelled, or thrown away with its loop
            self._leave(turn)
            raise

    def release(self) -> None:
        """Give a slot back, or on to whoever waits the longest."""
        if self._count is None:
            return
        while (turn := self._next()) is not None:
            try:
                turn.loop.call_soon_threadsafe(turn.tell)
            except RuntimeError:  # its loop is closed: on to the next, unless it has left by now
                if self._takes_back(turn):
                    continue
            return

    def _take(self, turn: _Turn | None = None) -> bool:
        """Take a free slot; where there is none, have a turn wait."""
        with self._guard:
            if self._free:
                self._free -= 1
                return True
            if turn is not None:
                self._waiting.append(turn)
            return False

    def _next(self) -> _Turn | None:
        """Give a slot to whoever waits the longest; where nobody does, it is free."""
        with self._guard:
            if not self._waiting:
                self._free += 1
                return None
            turn = self._waiting.popleft()
            turn.is_given = True
            return turn

    def _takes_back(self, turn: _Turn) -> bool:
        """Take back the slot that a turn was given. Returns whether it had one."""
        with self._guard:
            was_given, turn.is_given = turn.is_given, False
            return was_given

    def _leave(self, turn: _Turn) -> None:
        with self._guard:
            if turn in self._waiting:
                self._waiting.remove(turn)
        if self._takes_back(turn):  # it goes with a slot: on to the next
            self.release()
