"""One task's events in order: each to all sinks before the next one goes to any."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from fastapi_taskflow.loggers.branch import BranchLogger
from fastapi_taskflow.loggers.dispatch import Sink


class Addressed(NamedTuple):
    """A record on its way.

    Attributes:
        logger: The logger whose pipeline it goes down after the sinks, if any.
        record: The record.
        heard: The handlers that have had what it tells of.
    """

    logger: BranchLogger | None
    record: logging.LogRecord
    heard: list[logging.Handler]


class EventOrder:
    """The order of one task's events, over all its attempts.

    Whoever sends holds the lock. A sink that itself logs for the task, while it handles a
    record, has its line wait until that record has been to all sinks; and neither it nor
    any sink whose line it was handling gets it: nobody is fed their own output.

    Args:
        seq: The first event's number.
    """

    __slots__ = ("_origin", "_sending", "_waiting", "lock", "seq")

    def __init__(self, seq: int = 0) -> None:
        self.lock = threading.RLock()
        self.seq = seq
        self._sending = False
        self._origin: tuple[Sink, ...] = ()
        self._waiting: deque[tuple[Addressed, tuple[Sink, ...]]] = deque()

    def send(self, addressed: Addressed, sinks: Sequence[Sink]) -> list[Addressed]:
        """Hand a record to the sinks, in its turn.

        Returns:
            What has been to the sinks by this call, in order: the record and the lines that
            sinks logged meanwhile, or nothing where it has to wait for another's turn.
        """
        self._waiting.append((addressed, self._origin))
        if self._sending:
            return []
        self._sending = True
        sent: list[Addressed] = []
        try:
            while self._waiting:
                addressed, origin = self._waiting.popleft()
                self._send_one(addressed, origin, sinks)
                sent.append(addressed)
        finally:
            self._sending, self._origin = False, ()
        return sent

    def _send_one(
        self, addressed: Addressed, origin: tuple[Sink, ...], sinks: Sequence[Sink]
    ) -> None:
        for sink in sinks:
            if sink not in origin:
                self._origin = (*origin, sink)
                sink.send(addressed.record, addressed.heard)
