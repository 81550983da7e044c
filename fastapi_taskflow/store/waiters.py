"""Those who wait on event loops until so much is written: in parties, each woken at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable


class Party:
    """Those who have begun to wait on the same turn of a loop.

    Each has a future of its own, which ends with its task; what is common to them is the timer,
    and the way from the writer's thread to the loop, which cost more than all the rest.

    Args:
        loop: The loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.goal = 0
        self._futures: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None

    def join(self) -> asyncio.Future[None]:
        """Wait with the others: for this."""
        future = self.loop.create_future()
        self._futures.append(future)
        return future

    def wait_for(self, goal: int, timeout: float) -> None:
        """Wait until so much is written, for at most so many seconds; nobody joins from now on."""
        self.goal = goal
        self._timer = self.loop.call_later(timeout, self.end)

    def wake(self) -> None:
        """Have them all go on; called by any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there
            self.loop.call_soon_threadsafe(self.end)

    def end(self) -> None:
        """Have them all go on; called on the loop."""
        if self._timer is not None:
            self._timer.cancel()
        for future in self._futures:
            if not future.done():
                future.set_result(None)
        self._futures.clear()


class Parties:
    """Finds the party to join, and those that have waited long enough.

    Args:
        set_out: Called at the end of the loop's turn with a party that nobody joins any more, and
            how many seconds it waits at most.
    """

    def __init__(self, set_out: Callable[[Party, float], None]) -> None:
        self._set_out = set_out
        self._waiting: deque[Party] = deque()  # by rising goals
        self._open: dict[tuple[asyncio.AbstractEventLoop, float], Party] = {}

    def join(self, timeout: float) -> asyncio.Future[None]:
        """What ends when all that is given up to the end of this turn is written, or then."""
        loop = asyncio.get_running_loop()
        party = self._open.get((loop, timeout))
        if party is None:
            for known, seconds in list(self._open):
                if known.is_closed():  # before the turn's end
                    self._open.pop((known, seconds), None)
            party = self._open[loop, timeout] = Party(loop)
            loop.call_soon(self._close, loop, timeout)
        return party.join()

    def add(self, party: Party) -> None:
        """A party waits, for no less than any other."""
        self._waiting.append(party)

    def reached(self, written: int) -> list[Party]:
        """Those that have waited for no more than what is written, which are forgotten."""
        reached = []
        while self._waiting and self._waiting[0].goal <= written:
            reached.append(self._waiting.popleft())
        return reached

    def _close(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        party = self._open.pop((loop, timeout), None)
        if party is not None:  # else this is a forked child, and it was the parent's
            self._set_out(party, timeout)
