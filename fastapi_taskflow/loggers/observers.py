"""All observers of one manager: made into sinks, opened, drained and closed together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from itertools import chain
from typing import Any, get_args

from fastapi_taskflow.errors import ConfigurationTypeError
from fastapi_taskflow.loggers.adopt import AdoptedHandler, AdoptedLogger, AdoptingHandler, adopt
from fastapi_taskflow.loggers.base import HandlerObserver, TaskObserver
from fastapi_taskflow.loggers.bridge import ObserverHandler, any_observers
from fastapi_taskflow.loggers.dispatch import Sink
from fastapi_taskflow.loggers.hooks import HOOK_TIMEOUT, run_hook
from fastapi_taskflow.loggers.ledger import Ledger, ObserverStats
from fastapi_taskflow.loggers.queued import QueuedHandler
from fastapi_taskflow.loggers.tree import reachable
from fastapi_taskflow.redact import Redactor

ObserverChoice = TaskObserver | logging.Handler | logging.Logger | str
"""What ``loggers=`` takes; a text is a logger's name."""

_Queueing = ObserverHandler | QueuedHandler[Any]

STOP_TIMEOUT = HOOK_TIMEOUT + 2.0
"""Seconds after which the end of delivery is left behind; what it waits for has less."""


class Observers:
    """The observers of one manager, in the order in which they receive.

    Args:
        choices: What ``loggers=`` was given. One that is there twice counts once.
        redactor: Takes secrets out of what the observers' errors say; None leaves them in.

    Raises:
        ConfigurationError: One of them is no observer, or asks for a level that there is not.
    """

    def __init__(self, choices: Iterable[object], redactor: Redactor | None = None) -> None:
        self._redactor = redactor
        self.sinks: list[Sink] = []
        self._choices: list[ObserverChoice] = []
        self._synchronous: list[tuple[HandlerObserver, Ledger]] = []
        self._deferred: list[_Queueing] = []
        self._found: list[ObserverHandler] = []
        self._leaving: list[ObserverHandler] = []
        self._loggers: list[logging.Logger] = []
        for choice in _listed(choices):
            self.add(choice)

    def add(self, choice: ObserverChoice) -> None:
        """Add an observer at the end, unless it is there already."""
        if any(choice is known for known in (*self._choices, *(s.handler for s in self.sinks))):
            return
        self._choices.append(choice)
        handler = self._handler_of(choice)
        if any(handler in (sink.handler, _adopted(sink.handler)) for sink in self.sinks):
            return
        if isinstance(handler, (ObserverHandler, QueuedHandler)):
            handler.ledger.name = self._free_name(handler.ledger.name)
            self.sinks.append(Sink(handler, handler.ledger))
            self._deferred.append(handler)
        else:
            self.sinks.append(Sink(handler, Ledger(self._free_name(type(choice).__name__))))
        self.sinks[-1].ledger.redactor = self._redactor
        if isinstance(handler, AdoptingHandler) and isinstance(handler.target, AdoptedLogger):
            self._loggers.append(handler.target.logger)
        if isinstance(handler, ObserverHandler):
            handler.claim(self)
            handler.in_pipeline = False
        elif isinstance(choice, HandlerObserver):
            self._synchronous.append((choice, self.sinks[-1].ledger))

    @property
    def may_find(self) -> bool:
        """Whether there are async observers in this process that ``find`` could come upon."""
        return len(self._found) > 0 or any_observers()

    @property
    def has_loggers(self) -> bool:
        """Whether loggers were adopted, behind which there may be observers, too."""
        return len(self._loggers) > 0

    def find(self, handlers: Iterable[logging.Handler]) -> bool:
        """Serve the observers that a logging configuration has put among the users' handlers.

        Returns:
            Whether there was one that nobody served.
        """
        if self._loggers:
            adopted = (handler for logger in self._loggers for handler in reachable(logger))
            handlers = chain(handlers, adopted)
        found = [
            handler
            for handler in handlers
            if isinstance(handler, ObserverHandler) and handler.claim(self)
        ]
        if self._found:
            self._found = [known for known in self._found if known.is_claimed_by(self)]
        for handler in found:
            if handler not in self._found:
                handler.ledger.name = self._free_name(handler.ledger.name)
                handler.ledger.redactor = self._redactor
                self._found.append(handler)
        return bool(found)

    def take_leave(self, handlers: Iterable[logging.Handler]) -> list[ObserverHandler]:
        """Let go, of the observers that were found, those that no configuration has any more.

        Args:
            handlers: The users' handlers that records reach now.

        Returns:
            Those, to be drained and stopped, each once; ``left()`` is to be called then.
        """
        adopted = (handler for logger in self._loggers for handler in reachable(logger))
        known = {id(handler) for handler in (*chain(handlers, adopted), *self._leaving)}
        gone = [each for each in self._found if id(each) not in known and each.is_claimed_by(self)]
        self._leaving += gone
        return gone

    def left(self, handler: ObserverHandler, *, stopped: bool) -> None:
        """An observer that took leave was stopped, or could not be, as its loop ended."""
        self._leaving.remove(handler)
        if stopped:
            self._found.remove(handler)

    def open(self) -> None:
        """Open what can be opened without a loop: files.

        Raises:
            LogFileError: A file can't be written.
        """
        for observer, _ in self._synchronous:
            observer.open()

    async def start(self, *, wait: bool = True) -> None:
        """Run the observers' ``startup()``, all at once; one that fails is reported.

        Args:
            wait: Whether to wait for the async observers; if not, they get what happens
                meanwhile afterwards.

        Raises:
            TaskflowError: A built-in observer can't do its work.
        """
        for observer, ledger in self._synchronous:
            await run_hook(observer.startup, ledger, "starting up", ours=True)
        for handler in self._served():
            if isinstance(handler, ObserverHandler):
                handler.users.add(self)
        if wait:
            await _together([handler.start() for handler in self._served()])
        else:
            self.attach()

    def attach(self) -> None:
        """Deliver on the running loop what is delivered nowhere else."""
        for handler in self._served():
            handler.attach()

    def release(self) -> None:
        """Let go of what ``open`` has opened."""
        for observer, _ in self._synchronous:
            observer.handler.close()

    async def drain(self, timeout: float) -> None:
        """Wait, for so many seconds at most, until those that queue have had all events."""
        # Nearly always there is nothing to wait for: that is seen without tasks and timers.
        if any(each.is_awaited for each in chain(*self._stages())):
            await _together([self._drain_all()], timeout)

    async def _drain_all(self) -> None:
        for stage in self._stages():
            await _together([each.drain() for each in stage])

    def _stages(self) -> tuple[list[_Queueing], list[_Queueing]]:
        """Those that queue, in the order in which they are drained.

        The queues of adopted loggers come first: async observers may be behind them.
        """
        served = self._served()
        return (
            [each for each in served if isinstance(each, QueuedHandler)],
            [each for each in served if not isinstance(each, QueuedHandler)],
        )

    async def close(self, timeout: float) -> None:
        """Drain for so many seconds at most, then run the observers' ``close()``, all at once.

        What is lost is reported by then.
        """
        try:
            await self._close(timeout)
        finally:
            for ledger in self._ledgers():
                ledger.settle()

    async def _close(self, timeout: float) -> None:
        await self.drain(timeout)
        await _together([self._stop(handler) for handler in self._served()], STOP_TIMEOUT)
        for found in self._found:
            if found.is_claimed_by(self):
                found.unclaim()
        for observer, ledger in reversed(self._synchronous):
            if not _queued(observer.entrance):  # if not, its thread hangs: leave its file to it
                await run_hook(observer.close, ledger, "closing")

    async def _stop(self, handler: _Queueing) -> None:
        """Stop a handler, unless another manager uses it, too."""
        if isinstance(handler, ObserverHandler):
            handler.users.discard(self)
            if handler.users:
                return
        await handler.stop()

    def stats(self) -> dict[str, ObserverStats]:
        """The observers' figures, by class name, a second one of a class as ``Name-2``."""
        stats = {sink.ledger.name: sink.ledger.stats(_queued(sink.handler)) for sink in self.sinks}
        return stats | {
            found.ledger.name: found.ledger.stats(found.queued) for found in self._found
        }

    def _ledgers(self) -> list[Ledger]:
        return [*(sink.ledger for sink in self.sinks), *(found.ledger for found in self._found)]

    def _served(self) -> list[_Queueing]:
        """The handlers that queue what they get."""
        return [*self._deferred, *(found for found in self._found if found.is_claimed_by(self))]

    def _handler_of(self, choice: ObserverChoice) -> logging.Handler:
        """The way of records to an observer: a subclass's own methods are heard, too."""
        if isinstance(choice, ObserverHandler):
            return choice
        if not isinstance(choice, TaskObserver):
            return adopt(choice)
        kind = type(choice)
        if isinstance(choice, HandlerObserver) and (
            kind.on_log is not HandlerObserver.on_log
            or kind.on_lifecycle is not HandlerObserver.on_lifecycle
        ):
            return ObserverHandler(choice)
        return choice.entrance if isinstance(choice, HandlerObserver) else choice.handler

    def _free_name(self, name: str) -> str:
        taken = {ledger.name for ledger in self._ledgers()} | {"pipeline"}
        count = 1
        free = name
        while free in taken:
            count += 1
            free = f"{name}-{count}"
        return free


def _listed(choices: Iterable[object]) -> list[ObserverChoice]:
    expected = (
        "a list of observers: FileLogger, StdoutLogger, InMemoryLogger, a TaskObserver, "
        "or any logging.Handler, logging.Logger or name of a logger"
    )
    if isinstance(choices, (str, bytes)) or not isinstance(choices, Iterable):
        raise ConfigurationTypeError("loggers", choices, expected)
    listed: list[ObserverChoice] = []
    for choice in choices:
        if not isinstance(choice, get_args(ObserverChoice)):
            raise ConfigurationTypeError("loggers", choice, expected)
        listed.append(choice)
    return listed


def _adopted(handler: logging.Handler) -> object:
    """The user's handler behind a queue."""
    target = handler.target if isinstance(handler, AdoptingHandler) else None
    return target.handler if isinstance(target, AdoptedHandler) else None


def _queued(handler: logging.Handler) -> int:
    return handler.queued if isinstance(handler, (ObserverHandler, QueuedHandler)) else 0


async def _together(waits: list[Coroutine[Any, Any, None]], timeout: float | None = None) -> None:
    """Await all of them beside each other; at the timeout, cancel those that are left."""
    if not waits:
        return
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=timeout)
    finally:
        for task in tasks:
            task.cancel()
