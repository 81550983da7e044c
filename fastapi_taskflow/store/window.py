"""How far something was read that grows at its end, and what was seen of its last part."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Iterable
from datetime import datetime
from typing import Generic, TypeVar

MAX_SEEN = 10_000
"""The most that is remembered; where there is more, what comes late has less time."""

P = TypeVar("P", int, datetime)


class Window(Generic[P]):
    """Where to read from so as to find what came late, and what of that is known.

    A row's place is chosen before it is committed, so one may turn up before others that have
    been read. That is why each reading begins where one of a while ago had ended.

    Args:
        start: Where the first reading begins: with what is behind this place.
        overlap: For how many seconds rows may turn up late.

    Attributes:
        start: Where the next reading begins.
        end: How far it was read.
    """

    def __init__(self, start: P, overlap: float) -> None:
        self.start: P = start
        self.end: P = start
        self._overlap = overlap
        self._seen: dict[Hashable, P] = {}
        self._ends: deque[tuple[float, P]] = deque()

    def knows(self, key: Hashable) -> bool:
        """Whether a row was seen."""
        return key in self._seen

    def see(self, rows: Iterable[tuple[Hashable, P]]) -> None:
        """Remember rows, each by its key and its place."""
        self._seen.update(rows)

    def advance(self, place: P) -> None:
        """All up to this place was read, but for what comes late."""
        now = time.monotonic()
        if place > self.end:
            self.end = place
            self._ends.append((now, place))
        while self._ends:
            if now - self._ends[0][0] < self._overlap and len(self._seen) <= MAX_SEEN:
                break
            self.start = self._ends.popleft()[1]
            self._seen = {key: at for key, at in self._seen.items() if at > self.start}
