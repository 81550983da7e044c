"""A handler with a thread of its own behind it: whoever logs never waits for what it feeds."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import weakref
from abc import abstractmethod
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.levels import level_name
from fastapi_taskflow.loggers.ledger import Ledger, news
from fastapi_taskflow.loggers.queue import DeliveryQueue
from fastapi_taskflow.loggers.turns import give_way
from fastapi_taskflow.records import is_lifecycle

QUEUE_SIZE = 10_000

GATHERING = 0.02
"""Seconds for which the thread lets a burst gather, at most."""

GLANCE = 0.0005
"""Seconds between two looks at what has gathered."""

BURST = 5
"""Records that must wait, or have come between two looks, if more are to be waited for."""

CHECK = 256
"""After how many records it is made sure that the thread lives."""

CROWD = 64
"""After how many more, once the queue is half full, whoever logs lets the thread catch up."""

RECORD_SECONDS = 10e-6
"""How long a thread that has the interpreter to itself takes for a record, about."""

CATCH_UP = 0.05
"""Seconds for which whoever logs lets the thread catch up, at most."""

T = TypeVar("T")


class QueuedHandler(logging.Handler, Generic[T]):
    """Queues what it makes of records, in order, for a thread that deals with it.

    The thread is a daemon. It starts with the manager, or the first record, and ends with
    ``stop()``, or when nobody has the handler any more: an idle one is kept, since Python 3.12
    starts no thread while the interpreter exits. Where none can be had, records wait, and the
    next one tries again. A forked child has a thread of its own, and an empty queue. A full
    queue drops log entries, never status changes, and counts what it drops.

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
        # It rings with the handler itself: a thread that waits for it holds nothing.
        self._bell: SimpleQueue[QueuedHandler[Any] | None] = SimpleQueue()
        weakref.finalize(self, self._bell.put, None).atexit = False
        self._thread: threading.Thread | None = None
        self._asleep = False
        self._ending = False
        self._hurried = False  # somebody waits for the thread: it is to gather no more
        self._rest_until = 0.0  # till then, whoever logs lets the thread catch up
        self._earned = CATCH_UP
        self._paid_for = 0

    @property
    def queued(self) -> int:
        """How many records wait, or are being handled."""
        return self._queue.unfinished

    @property
    def is_awaited(self) -> bool:
        """Whether there is something to drain."""
        return self._queue.is_awaited

    def handle(self, record: logging.LogRecord) -> bool:
        """Queue a record that has been to nobody else."""
        mine = news.mine
        mine.hold()
        try:
            return self.queue(record, [])
        finally:
            mine.release()

    @abstractmethod
    def queue(
        self, record: logging.LogRecord, heard: list[logging.Handler], is_alone: bool = False
    ) -> bool:
        """Queue a record, if it is wanted.

        Args:
            record: The record.
            heard: The handlers that have had what it tells of already; those that it is queued
                for are added.
            is_alone: Whether nobody else has the record, nor will get it.

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
        """Have a thread, so that there is one when the interpreter exits."""
        self.attach()

    def attach(self) -> None:
        """Have a thread; it needs no event loop."""
        with self.lock:
            if self._thread is None:
                self._wake()

    async def drain(self) -> None:
        """Wait until all that was queued before this call was dealt with, if there is a thread."""
        goal = self._queue.mark()
        if self._queue.reached(goal):
            return
        with self.lock:
            served = self._wake()
            self._hurried = True
        if served:
            await self._queue.wait(goal)

    async def stop(self) -> None:
        """Count as lost what still waits, and let the thread end; the next record starts one."""
        self._lose()
        self._end()

    def _lose(self) -> None:
        """Count as lost what still waits; what is being dealt with is not among it."""
        left = list(self._queue.take())
        self._queue.finish(len(left))
        records = [record for item in left if (record := self.record_in(item)) is not None]
        self.ledger.drop("shutdown", [level_name(record.levelno) for record in records])

    def _end(self) -> None:
        """Let the thread end once it has nothing to do."""
        with self.lock:
            if self._thread is not None:
                self._wake()
                self._hurried = True
                self._ending = True

    def _put(self, item: T, record: logging.LogRecord) -> None:
        """Queue an item; if there is no room for its record it is dropped. The lock is held."""
        if len(self._queue) >= self.queue_size and not is_lifecycle(record):
            self.ledger.drop("overflow", [level_name(record.levelno)])
            return
        waiting = self._queue.put(item)
        if waiting > self.ledger.high_water:
            self.ledger.high_water = waiting
        if self._asleep or self._ending or self._thread is None or waiting % CHECK <= 1:
            self._wake()
        if waiting * 2 > self.queue_size:
            self._hurried = True
            if not waiting % CROWD:
                news.mine.tell(self._let_catch_up)

    def _let_catch_up(self) -> None:
        """Let the thread have the interpreter for as long as it needs to halve the queue.

        Beside many that log it has it too seldom, and a burst would be too much for a quick disk.
        But each second of that must be earned, by records dealt with in half of one: a slow disk
        earns next to nothing, and holds up no task.
        """
        with self.lock:
            now, dealt_with = time.monotonic(), self._queue.dealt_with
            earned = self._earned + 2 * RECORD_SECONDS * (dealt_with - self._paid_for)
            self._paid_for = dealt_with
            needed = (len(self._queue) - self.queue_size // 2) * RECORD_SECONDS
            begin, end = max(now, self._rest_until), now + min(needed, CATCH_UP)
            more = max(0.0, min(end - begin, earned))
            self._earned = min(earned - more, CATCH_UP)
            self._rest_until = begin + more
            pause = self._rest_until - now
        if asyncio._get_running_loop() is not None:  # noqa: SLF001  # the documented one raises
            pause = min(pause, CROWD * RECORD_SECONDS)  # an event loop is everybody's
        give_way(pause)

    def _wake(self) -> bool:
        """See to it that the queue is looked at. The lock is held: the thread can't be leaving.

        Returns:
            Whether there is a thread that does.
        """
        self._ending = False
        if self._asleep:
            self._asleep = False
            self._bell.put(self)
        elif self._thread is None or not self._thread.is_alive():
            self._start()
        return self._thread is not None

    def _start(self) -> None:
        """Start the thread, if the system has one for us. The lock is held."""
        name = f"fastapi_taskflow-{self.ledger.name}"
        thread = threading.Thread(target=_serve, args=(self._bell,), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # a limit of the system's, or the interpreter exits
            self._thread = None
            return
        self._thread = thread
        self._bell.put(self)

    def work(self) -> bool:
        """Deal with all that waits, in the thread. Returns whether to wait for more."""
        try:
            while True:
                self._gather()
                self.deliver(self._queue)
                with self.lock:
                    if len(self._queue):
                        continue
                    self._asleep = not self._ending
                    if self._ending:
                        self._thread = None
                    return self._asleep
        except BaseException:  # of a user's handler that was told of an error, and was interrupted
            with self.lock:
                self._start()
            raise

    def _gather(self) -> None:
        """Wait as long as records come in numbers: for whoever logs them, this thread is a burden.

        Both can't run at once, and each time that one takes the other's place costs more than
        a record does. A burst is over the sooner the less it is interrupted, and is written then.
        It sleeps, and doesn't wait for a bell: up to Python 3.12 a ``SimpleQueue.get`` that is
        given so short a time may, on a busy machine, wait without limit.
        """
        gathering, end = len(self._queue) >= BURST, time.monotonic() + GATHERING
        while gathering and not self._hurried and time.monotonic() < end:
            before = self._queue.mark()
            time.sleep(GLANCE)
            gathering = self._queue.mark() - before >= BURST
        self._hurried = False


def _serve(bell: SimpleQueue[QueuedHandler[Any] | None]) -> None:
    while (handler := bell.get()) is not None and handler.work():
        del handler
