"""One task's events in order: each to all sinks before the next one goes to any."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from fastapi_taskflow.fork import restart_after_fork
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

    In a forked child only the thread that forked sends, and what waited is the parent's to send.

    Args:
        seq: The first event's number.
    """

    __slots__ = ("__weakref__", "_at", "_before", "_sender", "_waiting", "lock", "seq")

    def __init__(self, seq: int = 0) -> None:
        self.seq = seq
        self._sender: int | None = None
        self._waiting: deque[tuple[Addressed, tuple[Sink, ...]]] = deque()
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Have nobody send, but for a sink that has forked while it was handling a record."""
        self._waiting.clear()
        if self._sender != threading.get_ident():
            self.lock = threading.RLock()
            self._sender = None
            self._at: Sink | None = None
            self._before: tuple[Sink, ...] = ()

    def send(
        self,
        logger: BranchLogger | None,
        record: logging.LogRecord,
        heard: list[logging.Handler],
        sinks: Sequence[Sink],
    ) -> list[Addressed] | None:
        """Hand a record to the sinks, in its turn. The lock is held.

        Returns:
            None where just this record has been to the sinks by this call, as it is nearly
            always. Otherwise all that has been, in order: the record and the lines that sinks
            logged meanwhile, or nothing, as it has to wait for another's turn.
        """
        if self._sender is not None or self._waiting:
            origin = () if self._at is None else (*self._before, self._at)
            self._waiting.append((Addressed(logger, record, heard), origin))
            return [] if self._sender is not None else self._send_waiting([], sinks)
        self._sender = threading.get_ident()
        try:
            for sink in sinks:
                self._at = sink
                sink.send(record, heard)
        finally:
            self._sender = self._at = None
        if self._waiting:
            return self._send_waiting([Addressed(logger, record, heard)], sinks)
        return None

    def _send_waiting(self, sent: list[Addressed], sinks: Sequence[Sink]) -> list[Addressed]:
        """Hand what waits to the sinks, and add it to what has been there."""
        self._sender = threading.get_ident()
        try:
            while self._waiting:
                addressed, self._before = self._waiting.popleft()
                for sink in sinks:
                    if sink not in self._before:
                        self._at = sink
                        sink.send(addressed.record, addressed.heard)
                sent.append(addressed)
        finally:
            self._sender, self._at, self._before = None, None, ()
        return sent
