"""A handler of somebody else's behind a thread of its own: a slow one holds nobody up."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from collections.abc import Collection
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

from fastapi_taskflow.context import active_task
from fastapi_taskflow.loggers.ledger import Ledger
from fastapi_taskflow.loggers.queue import DeliveryQueue
from fastapi_taskflow.loggers.tree import hand_over
from fastapi_taskflow.records import copy_record, is_lifecycle

QUEUE_SIZE = 10_000

IDLE_SECONDS = 10.0
"""How long the thread waits for work before it ends; the next record starts another."""

FLUSH_SECONDS = 2.0
"""How long the target may take to write everything out at the end."""


Address = tuple[logging.LogRecord, Collection[logging.Handler]]
"""A record, and the handlers that it is for."""


class Target(Protocol):
    """What stands at the end of the queue."""

    @property
    def name(self) -> str:
        """What it is called in the figures."""

    def address(self, record: logging.LogRecord) -> Address | None:
        """Who gets the record, decided where it is sent; None where it is turned away."""

    def flush(self) -> None:
        """Have everything written out."""


class _Item(NamedTuple):
    """A record and who gets it, or None for a flush, and the context in which it was sent."""

    address: Address | None
    context: Context


class QueuedHandler(logging.Handler):
    """Queues records for a target, in order, and never waits for it.

    The target is called in a daemon thread, which starts with the first record, ends when
    there is nothing to do, and is started again in a forked child. It gets a copy of each
    record, within the context variables of whoever sent it (an OpenTelemetry span, say), but
    outside the task: what it logs itself is no line of a task. A full queue drops log entries,
    never status changes, and counts what it drops.

    Args:
        target: What the records are for.
        queue_size: The most records that may wait before log entries are dropped.
    """

    lock: threading.RLock

    def __init__(self, target: Target, *, queue_size: int = QUEUE_SIZE) -> None:
        super().__init__()
        self.target = target
        self.queue_size = queue_size
        self.ledger = Ledger(target.name)
        self.start_afresh()
        _living.add(self)

    def start_afresh(self) -> None:
        """Begin with an empty queue and no thread, as a forked child must."""
        self._queue: DeliveryQueue[_Item] = DeliveryQueue()
        self._bell: SimpleQueue[None] = SimpleQueue()  # re-entrant, unlike an Event
        self._thread: threading.Thread | None = None
        self._asleep = False
        self._sent = threading.local()

    @property
    def queued(self) -> int:
        """How many records wait, or are being handled."""
        return self._queue.unfinished

    def handle(self, record: logging.LogRecord) -> bool:
        """Queue a copy of the record, if the target wants it."""
        address = self.target.address(record)
        if address is None:
            return False
        self._sent.last = record, address[1]
        with self.lock:
            self._put(address)
        return True

    def served(self, record: logging.LogRecord) -> Collection[logging.Handler]:
        """The handlers that a record is for which this thread has sent last."""
        last, handlers = getattr(self._sent, "last", (None, ()))
        return handlers if last is record else ()

    def _put(self, address: Address) -> None:
        record, handlers = address
        if len(self._queue) >= self.queue_size and not is_lifecycle(record):
            self.ledger.drop("overflow")
            return
        self._queue.put(_Item((copy_record(record), handlers), copy_context()))
        self.ledger.high_water = max(self.ledger.high_water, len(self._queue))
        self._wake()

    async def start(self) -> None:
        """Do nothing: the thread starts with the first record."""

    def attach(self) -> None:
        """Do nothing: the thread needs no event loop."""

    async def drain(self) -> None:
        """Wait until every record queued before this call was handled."""
        goal = self._queue.mark()
        if not self._queue.reached(goal):
            with self.lock:
                self._wake()
            await self._queue.wait(goal)

    async def stop(self) -> None:
        """Count as lost what still waits; flush the target, unless it hangs, and leave it open."""
        left = sum(1 for _ in self._queue.take())
        if left:
            self._queue.finish(left)
            self.ledger.drop("shutdown", left)
        if self._queue.unfinished:
            return  # the target has not come back from a record: a flush would wait behind it
        with self.lock:
            self._queue.put(_Item(None, copy_context()))
            self._wake()
        try:
            await asyncio.wait_for(self.drain(), FLUSH_SECONDS)
        except TimeoutError as error:
            self.ledger.fail(error, f"flushing, for {FLUSH_SECONDS:g} s")

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
            self._deliver_all()

    def _run(self) -> None:
        self._deliver_all()
        while self._wait():
            self._deliver_all()

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

    def _deliver_all(self) -> None:
        for item in self._queue.take():
            try:
                item.context.run(self._deliver, item.address)
            except BaseException as error:  # noqa: BLE001  # nothing ends this thread
                self.ledger.fail(error, "handling a record", accepted=item.address is not None)
            self._queue.finish()

    def _deliver(self, address: Address | None) -> None:
        active_task.set(None)
        if address is None:
            self.target.flush()
            return
        record, handlers = address
        errors, taken = [], not handlers
        for handler in handlers:
            try:
                taken |= hand_over(handler, record) is not False
            except BaseException as error:  # noqa: BLE001  # one handler is not the next one's
                errors.append(error)
        if errors:
            raise errors[0]
        if not taken:
            self.ledger.turn_away()


_living: weakref.WeakSet[QueuedHandler] = weakref.WeakSet()


def _after_fork() -> None:
    for handler in list(_living):
        handler.start_afresh()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
