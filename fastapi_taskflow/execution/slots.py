"""A limit on how many may go on at once, for callers on any event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque

from fastapi_taskflow.fork import restart_after_fork


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
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._guard = threading.Lock()

    async def acquire(self) -> None:
        """Take a slot, when there is one."""
        if self._count is None:
            return
        with self._guard:
            if self._free:
                self._free -= 1
                return
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
        try:
            await turn
        except BaseException:  # cancelled, or thrown away with its loop
            self._leave(turn)
            raise

    def release(self) -> None:
        """Give a slot back, or on to whoever waits the longest."""
        if self._count is None:
            return
        with self._guard:
            while self._waiting:
                turn = self._waiting.popleft()
                with contextlib.suppress(RuntimeError):  # its loop is closed: on to the next
                    turn.get_loop().call_soon_threadsafe(_resolve, turn)
                    return
            self._free += 1

    def _leave(self, turn: asyncio.Future[None]) -> None:
        with self._guard:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return
        self.release()  # the slot was given to this one, which goes: on to the next


def _resolve(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
