"""Turns at the interpreter: a thread that logs without a pause lets the event loop have one."""

from __future__ import annotations

import time

PATIENCE = 0.006
"""Seconds for which threads may log without the loop having had a turn.

That is more than the 5 ms after which the loop's thread demands the interpreter by itself: a thread
that gave it up before, in vain, would only have those 5 ms begin anew.
"""

GLIMPSE = 50e-6
"""Seconds to sleep so that a thread which waits runs: the system needs some time to wake it."""


class Turns:
    """Who had the interpreter last: the threads that log, or the event loop.

    A thread that writes a line every few microseconds gives the interpreter's lock up for each,
    and takes it back before the loop's thread, which the system has to wake first, can have it.
    Each time the loop's wait of 5 ms, after which it could demand the lock, begins anew: it has
    been seen to stand still for 50 ms. A moment's sleep of the thread that logs ends that.
    """

    __slots__ = ("_last", "_turn")

    def __init__(self) -> None:
        self._last = self._turn = 0.0

    def taken(self) -> None:
        """The loop has its turn."""
        self._turn = time.monotonic()

    def are_due(self) -> bool:
        """A thread logs. Say whether threads have logged for so long that it is to ``give_way``."""
        now = time.monotonic()
        paused, self._last = now - self._last > PATIENCE, now
        if paused:  # the loop could have its turn
            self._turn = now
        if now - self._turn <= PATIENCE:
            return False
        self._turn = now
        return True


def give_way(seconds: float = 0.0) -> None:
    """Let a thread run that waits for the interpreter. No lock may be held: it may want that.

    Args:
        seconds: For how long, if that is more than the moment that it takes to wake it.
    """
    time.sleep(max(seconds, GLIMPSE))


class RealClock:
    """The time that passes, though a test has frozen what ``time`` tells."""

    now = staticmethod(time.monotonic)
