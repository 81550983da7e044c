"""One task's events in order: each to all sinks before the next one goes to any."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.loggers.branch import BranchLogger
from fastapi_taskflow.loggers.dispatch import EntryKeeper, Sink
from fastapi_taskflow.loggers.ledger import ThreadNews, news


class Addressed(NamedTuple):
    """A record on its way.

    Attributes:
        logger: The logger whose pipeline it goes down after the sinks, if any.
        record: The record.
        heard: The handlers that have had what it tells of.
        keeper: What keeps it, if it is a log entry, before any sink has it.
    """

    logger: BranchLogger | None
    record: logging.LogRecord
    heard: list[logging.Handler]
    keeper: EntryKeeper | None


class EventOrder:
    """The order of one task's events, over all its attempts.

    A sink that itself logs for the task, while it handles a record, has its line wait until that
    record has been to all sinks; and neither it nor any sink whose line it was handling gets it:
    nobody is fed their own output.

    In a forked child only the thread that forked sends, and what waited is the parent's to send.

    Args:
        seq: The first event's number.
    """

    __slots__ = ("__weakref__", "_at", "_before", "_sender", "_waiting", "lock", "seq")

    def __init__(self, seq: int = 0) -> None:
        self.seq = seq
        self._sender: threading.Thread | None = None
        self._waiting: deque[tuple[Addressed, tuple[Sink, ...]]] = deque()
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Have nobody send, but for a sink that has forked while it was handling a record."""
        self._waiting.clear()
        if self._sender is not news.mine.thread:
            self.lock = threading.RLock()
            self._sender = None
            self._at: Sink | None = None
            self._before: tuple[Sink, ...] = ()

    def send(
        self,
        mine: ThreadNews,
        keeper: EntryKeeper | None,
        sinks: Sequence[Sink],
        logger: BranchLogger | None,
        record: logging.LogRecord,
        heard: list[logging.Handler],
    ) -> None:
        """Hand a record, with its number, to the sinks, and then to the pipeline, in its turn.

        Whatever may run code of others, be it a factory or a ``repr()``, has run before: under the
        lock it could wait for a thread that logs for this task. So has all that may log. The
        users' handlers come after it, as they are not ours.

        Args:
            mine: The news of the thread that calls this.
            keeper: What keeps it, if it is a log entry, before any sink has it.
            sinks: The sinks.
            logger: The logger whose pipeline it goes down, if any.
            record: The record.
            heard: The handlers that have had what it tells of.
        """
        sent: list[Addressed] | None = None  # None: this record and, as nearly always, no other
        mine.held += 1
        try:
            with self.lock:
                record.__dict__["seq"] = self.seq  # a class of the user's may have another one
                self.seq += 1
                if self._sender is not None or self._waiting:
                    sent = self._wait_for_turn(Addressed(logger, record, heard, keeper), sinks)
                else:
                    is_alone = logger is None and len(sinks) == 1
                    self._sender = mine.thread
                    try:
                        if keeper is not None:
                            keeper.keep(record)
                        for sink in sinks:
                            self._at = sink
                            sink.send(record, heard, is_alone)
                    finally:
                        self._sender = self._at = None
                    if self._waiting:
                        sent = self._send_waiting([Addressed(logger, record, heard, keeper)], sinks)
        finally:
            mine.held -= 1
            if mine.waiting:
                mine.let_go()
        if sent is not None:
            _send_on(sent)
        elif logger is not None:
            logger.handle_once(record, heard)

    def _wait_for_turn(self, addressed: Addressed, sinks: Sequence[Sink]) -> list[Addressed]:
        """Have a record wait that came while another one is sent, or after what waits.

        Returns:
            What has been to the sinks meanwhile, in order.
        """
        origin = () if self._at is None else (*self._before, self._at)
        self._waiting.append((addressed, origin))
        return [] if self._sender is not None else self._send_waiting([], sinks)

    def _send_waiting(self, sent: list[Addressed], sinks: Sequence[Sink]) -> list[Addressed]:
        """Hand what waits to the sinks, and add it to what has been there."""
        self._sender = news.mine.thread
        try:
            while self._waiting:
                addressed, self._before = self._waiting.popleft()
                if addressed.keeper is not None:
                    addressed.keeper.keep(addressed.record)
                for sink in sinks:
                    if sink not in self._before:
                        self._at = sink
                        sink.send(addressed.record, addressed.heard)
                sent.append(addressed)
        finally:
            self._sender, self._at, self._before = None, None, ()
        return sent


def _send_on(sent: list[Addressed]) -> None:
    for logger, record, heard, _ in sent:
        if logger is not None:
            logger.handle_once(record, heard)
