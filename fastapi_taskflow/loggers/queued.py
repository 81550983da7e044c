"""A handler with a thread of its own behind it: whoever logs never waits for what it feeds."""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod
from contextvars import Context
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.levels import level_name
from fastapi_taskflow.loggers.ledger import Ledger
from fastapi_taskflow.loggers.queue import DeliveryQueue
from fastapi_taskflow.records import is_lifecycle

QUEUE_SIZE = 10_000

IDLE_SECONDS = 10.0
"""How long the thread waits for work before it ends; the next record starts another."""

T = TypeVar("T")


class QueuedHandler(logging.Handler, Generic[T]):
    """Queues what it makes of records, in order, for a thread that deals with it.

    The thread is a daemon. It starts with the first record, ends when there is nothing to do,
    and a forked child has one of its own, and an empty queue. A full queue drops log entries,
    never status changes, and counts what it drops.

    Args:
        name: What it is called in the figures.
        queue_size: The most records that may wait before log entries are dropped.
    """

    lock: threading.RLock

    def __init__(self, name: str, *, queue_size: int = QUEUE_SIZE) -> None:
        super().__init__()
        self.queue_size = queue_size
        self.ledger = Ledger(name)
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Begin with an empty queue and no thread."""
        self._queue: DeliveryQueue[T] = DeliveryQueue()
        self._bell: SimpleQueue[None] = SimpleQueue()  # re-entrant, unlike an Event
        self._thread: threading.Thread | None = None
        self._asleep = False

    @property
    def queued(self) -> int:
        """How many records wait, or are being handled."""
        return self._queue.unfinished

    def handle(self, record: logging.LogRecord) -> bool:
        """Queue a record that has been to nobody else."""
        return self.queue(record, [])

    @abstractmethod
    def queue(self, record: logging.LogRecord, heard: list[logging.Handler]) -> bool:
        """Queue a record, if it is wanted.

        Args:
            record: The record.
            heard: The handlers that have had what it tells of already; those that it is queued
                for are added.

        Returns:
            Whether it was wanted, be there room for it or not.
        """

    @abstractmethod
    def deliver(self, queue: DeliveryQueue[T]) -> None:
        """Deal with all that is queued, in the thread. Raises nothing."""

    @abstractmethod
    def record_in(self, item: T) -> logging.LogRecord | None:
        """The record in what is queued, for the figures."""

    async def start(self) -> None:
        """Do nothing: the thread starts with the first record."""

    def attach(self) -> None:
        """Do nothing: the thread needs no event loop."""

    async def drain(self) -> None:
        """Wait until all that was queued before this call was dealt with."""
        goal = self._queue.mark()
        if not self._queue.reached(goal):
            with self.lock:
                self._wake()
            await self._queue.wait(goal)

    async def stop(self) -> None:
        """Count as lost what still waits."""
        left = list(self._queue.take())
        self._queue.finish(len(left))
        records = [record for item in left if (record := self.record_in(item)) is not None]
        self.ledger.drop("shutdown", [level_name(record.levelno) for record in records])

    def _has_room(self, record: logging.LogRecord) -> bool:
        """Whether a record may be queued; if not, it is counted as dropped."""
        if len(self._queue) < self.queue_size or is_lifecycle(record):
            return True
        self.ledger.drop("overflow", [level_name(record.levelno)])
        return False

    def _put(self, item: T) -> None:
        """Queue an item. The lock is held."""
        self._queue.put(item)
        waiting = len(self._queue)
        if waiting > self.ledger.high_water:
            self.ledger.high_water = waiting
        self._wake()

    def _wake(self) -> None:
        """See to it that the queue is looked at. The lock is held: the thread can't be leaving."""
        if self._thread is None or not self._thread.is_alive():
            self._asleep = False
            self._start()
        elif self._asleep:
            self._asleep = False
            self._bell.put(None)

    def _start(self) -> None:
        name = f"fastapi_taskflow-{self.ledger.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread to be had, as when the interpreter exits
            self._thread = None
            Context().run(self.deliver, self._queue)

    def _run(self) -> None:
        self.deliver(self._queue)
        while self._wait():
            self.deliver(self._queue)

    def _wait(self) -> bool:
        """Wait for work. Returns False where there was none for long, and the thread ends."""
        with self.lock:
            if len(self._queue):
                return True
            self._asleep = True
        try:
            self._bell.get(timeout=IDLE_SECONDS)
        except Empty:
            with self.lock:
                if self._asleep:
                    self._thread = None
                    return False
            self._bell.get()  # it was rung just now
        return True
