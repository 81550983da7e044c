"""What users bring along: any handler or logger of theirs, made a sink with its own thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from contextvars import Context, copy_context
from typing import NamedTuple, Protocol

from fastapi_taskflow.context import active_task
from fastapi_taskflow.errors import ConfigurationError
from fastapi_taskflow.filters import own_record
from fastapi_taskflow.loggers.exit_lock import pass_over_at_exit, passed_over_while
from fastapi_taskflow.loggers.queue import DeliveryQueue
from fastapi_taskflow.loggers.queued import QUEUE_SIZE, QueuedHandler
from fastapi_taskflow.loggers.tree import hand_over, reachable, takers
from fastapi_taskflow.records import copy_record

FLUSH_SECONDS = 2.0
"""How long a user's handlers may take to write everything out at the end."""

Handlers = Collection[logging.Handler]

Address = tuple[logging.LogRecord, Handlers]
"""A record, and the handlers that it is for."""


class Target(Protocol):
    """What stands at the end of the queue."""

    @property
    def name(self) -> str:
        """What it is called in the figures."""

    def address(self, record: logging.LogRecord, heard: Handlers) -> Address | None:
        """Who gets the record, decided where it is sent; None where it is turned away."""

    def handlers(self) -> Iterable[logging.Handler]:
        """Whom it hands records to, as things are now."""


class AdoptedHandler:
    """A user's handler. It stays theirs: it is flushed, and never closed.

    Args:
        handler: The handler.
    """

    def __init__(self, handler: logging.Handler) -> None:
        self.handler = handler
        self.name = type(handler).__name__

    def address(self, record: logging.LogRecord, heard: Handlers) -> Address | None:
        """The handler, unless its level, as it is now, or a record it has had, say no."""
        handler = self.handler
        if record.levelno < handler.level or handler in heard:
            return None
        return record, (handler,)

    def handlers(self) -> Iterable[logging.Handler]:
        """The handler."""
        return (self.handler,)


class AdoptedLogger:
    """A user's logger: its level, filters, handlers and propagation count.

    Its filters run where the record is sent, as the standard library runs a logger's. Its
    ``disabled`` doesn't count: ``dictConfig`` sets that on loggers which it isn't told of.

    Args:
        logger: The logger.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self.logger = logger
        self.name = type(logger).__name__

    def address(self, record: logging.LogRecord, heard: Handlers) -> Address | None:
        """The handlers, if there are any, and the logger's level and filters, as now, agree."""
        if record.levelno < self.logger.getEffectiveLevel():
            return None
        # Since Python 3.12 a filter may replace the record.
        own = own_record(self.logger, record)
        passed: bool | logging.LogRecord = self.logger.filter(own)
        if not passed:
            return None
        handlers = tuple(takers(self.logger, record, heard))
        return (own if passed is True else passed, handlers) if handlers else None

    def handlers(self) -> Iterable[logging.Handler]:
        """The handlers within reach."""
        return reachable(self.logger)


class _Item(NamedTuple):
    """A record and who gets it, or None for a flush, and the context in which it was sent."""

    address: Address | None
    context: Context


class AdoptingHandler(QueuedHandler[_Item]):
    """Queues records for a target of the user's.

    The target gets a copy of each record, within the context variables of whoever sent it (an
    OpenTelemetry span, say), but outside the task: what it logs itself is no line of a task.

    Args:
        target: What the records are for.
        queue_size: The most records that may wait before log entries are dropped.
    """

    def __init__(self, target: Target, *, queue_size: int = QUEUE_SIZE) -> None:
        self.target = target
        super().__init__(target.name, queue_size=queue_size)
        pass_over_at_exit(self)

    def start_afresh(self) -> None:
        """Begin with an empty queue."""
        super().start_afresh()
        self._flushing = False

    @property
    def queued(self) -> int:
        """How many records wait, or are being handled; a flush is none."""
        return super().queued - self._flushing

    def handlers(self) -> Iterable[logging.Handler]:
        """Whom the target hands records to."""
        return self.target.handlers()

    def queue(
        self, record: logging.LogRecord, heard: list[logging.Handler], is_alone: bool = False
    ) -> bool:
        """Queue a copy of the record, if the target wants it."""
        address = self.target.address(record, heard)
        if address is None:
            return False
        own, handlers = address
        heard.extend(handlers)
        with self.lock:
            self._put(_Item((copy_record(own), handlers), copy_context()), own)
        return True

    def record_in(self, item: _Item) -> logging.LogRecord | None:
        """The record that was queued; a flush has none."""
        return None if item.address is None else item.address[0]

    async def stop(self) -> None:
        """Flush the target, unless it hangs, and leave it open."""
        self._lose()
        if not self.queued:  # else it has not come back from a record: a flush would wait for it
            await self._flush()
        self._end()

    async def _flush(self) -> None:
        with self.lock:
            if not self._wake():
                return  # no thread for it: the interpreter's exit flushes every handler
            self._flushing = True
            self._queue.put(_Item(None, copy_context()))
            self._wake()
        try:
            await asyncio.wait_for(self.drain(), FLUSH_SECONDS)
        except TimeoutError:
            error = TimeoutError(f"flush() not done in {FLUSH_SECONDS:g} s")
            self.ledger.fail(error, "flushing")

    def deliver(self, queue: DeliveryQueue[_Item]) -> None:
        """Hand each record to its handlers, in the context in which it was sent."""
        for item in queue.take():
            try:
                item.context.run(self._deliver, item.address)
            except BaseException as error:  # noqa: BLE001  # nothing ends this thread
                self.ledger.fail(error, "handling a record", accepted=item.address is not None)
            finally:
                queue.finish()

    def _deliver(self, address: Address | None) -> None:
        active_task.set(None)
        if address is None:
            try:
                for handler in self.target.handlers():
                    with passed_over_while(handler):
                        handler.flush()
            finally:
                self._flushing = False
            return
        record, handlers = address
        errors, taken = [], False
        for handler in handlers:
            try:
                taken |= hand_over(handler, record) is not False
            except BaseException as error:  # noqa: BLE001  # one handler is not the next one's
                errors.append(error)
        if errors:
            raise errors[0]
        if not taken:
            self.ledger.turn_away()


def adopt(choice: logging.Handler | logging.Logger | str) -> AdoptingHandler:
    """A sink's handler that feeds a user's handler, or logger, given itself or by its name.

    Args:
        choice: The handler, the logger, or the name.

    Raises:
        ConfigurationError: The name can't be a logger's.
    """
    if isinstance(choice, logging.Handler):
        return AdoptingHandler(AdoptedHandler(choice))
    logger = _logger_named(choice) if isinstance(choice, str) else choice
    return AdoptingHandler(AdoptedLogger(logger))


def _logger_named(name: str) -> logging.Logger:
    if not name.strip() or "/" in name or "\\" in name:
        expected = 'the name of a logger, such as "myapp.audit"; for a file, FileLogger(path)'
        raise ConfigurationError("loggers", name, expected)
    return logging.getLogger(name)
