"""The contract of an observer, and the events it is told."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cached_property

from fastapi_taskflow.checks import yes_or_no
from fastapi_taskflow.events import LifecycleEvent, LogEvent
from fastapi_taskflow.levels import Level
from fastapi_taskflow.loggers.batched import BatchedHandler
from fastapi_taskflow.loggers.birth import record_of
from fastapi_taskflow.loggers.bridge import ObserverHandler
from fastapi_taskflow.loggers.exit_lock import pass_over_at_exit
from fastapi_taskflow.loggers.observed import ObservedHandler


class TaskObserver:
    """Something that is told what tasks log and how they fare.

    Override the methods you care about. Each observer gets its events one at a time, in
    the order of their ``seq`` within a task, on the manager's event loop; observers run
    beside each other. What they raise is counted and reported, and never reaches a task.

    Attributes:
        min_level: The lowest level it is told of, status changes by their natural level
            included; None means everything.
    """

    min_level: Level | None = None

    async def on_log(self, event: LogEvent) -> None:
        """Be told of one ``task_log()`` call."""

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        """Be told of one status change."""

    async def startup(self) -> None:
        """Open what is needed; runs before the first event, for at most 10 seconds."""

    async def close(self) -> None:
        """Close it; runs after the last event, for at most 10 seconds."""

    @cached_property
    def handler(self) -> logging.Handler:
        """The handler through which records reach this observer."""
        return ObserverHandler(self)


class HandlerObserver(TaskObserver):
    """An observer that is a thin face over a synchronous handler.

    Awaiting ``on_log`` or ``on_lifecycle`` directly does what a record would do.

    Args:
        handler: The handler.
        queued: Whether a thread writes, in batches, instead of whoever logs.

    Raises:
        ConfigurationError: ``queued`` is neither True nor False.
    """

    handler: ObservedHandler

    def __init__(self, handler: ObservedHandler, *, queued: bool = False) -> None:
        self.handler = handler
        pass_over_at_exit(self)
        self._queue: BatchedHandler | None = None
        if yes_or_no("queued", queued):
            self._queue = BatchedHandler(handler, type(self).__name__)

    def handlers(self) -> Iterable[logging.Handler]:
        """The handler."""
        return (self.handler,)

    @property
    def entrance(self) -> BatchedHandler | ObservedHandler:
        """What records are handed to: the handler itself, or the queue before it."""
        return self._queue or self.handler

    async def on_log(self, event: LogEvent) -> None:
        """Hand the event's record to the handler, if the handler's level lets it through."""
        self._handle(event)

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        """Hand the event's record to the handler, if the handler's level lets it through."""
        self._handle(event)

    async def startup(self) -> None:
        """Open the handler.

        Raises:
            LogFileError: The handler's file can't be written.
        """
        self.open()

    async def close(self) -> None:
        """Write everything out and let go of it; a later event opens it again."""
        if self._queue is not None:
            await self._queue.drain()
        self.handler.close()

    def open(self) -> None:
        """Open what the handler writes to, now; by default there is nothing to open."""

    def _handle(self, event: LogEvent | LifecycleEvent) -> None:
        record = record_of(event)
        if record.levelno >= self.handler.level:
            self.entrance.handle(record)


__all__ = ["HandlerObserver", "LifecycleEvent", "LogEvent", "TaskObserver"]
