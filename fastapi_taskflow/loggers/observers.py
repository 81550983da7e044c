"""All observers of one manager: made into sinks, opened, drained and closed together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any

from fastapi_taskflow.errors import ConfigurationTypeError
from fastapi_taskflow.loggers.base import HandlerObserver, TaskObserver
from fastapi_taskflow.loggers.bridge import ObserverHandler
from fastapi_taskflow.loggers.dispatch import Sink
from fastapi_taskflow.loggers.hooks import run_hook
from fastapi_taskflow.loggers.ledger import Ledger, ObserverStats

ObserverChoice = TaskObserver | ObserverHandler
"""What ``loggers=`` takes."""


class Observers:
    """The observers of one manager, in the order in which they receive.

    Args:
        choices: What ``loggers=`` was given. One that is there twice counts once.

    Raises:
        ConfigurationError: One of them is no observer, or asks for a level that there is not.
    """

    def __init__(self, choices: Iterable[object]) -> None:
        self.sinks: list[Sink] = []
        self._synchronous: list[tuple[HandlerObserver, Ledger]] = []
        self._bridges: list[ObserverHandler] = []
        for choice in _listed(choices):
            self.add(choice)

    def add(self, choice: ObserverChoice) -> None:
        """Add an observer at the end, unless it is there already."""
        handler = _handler_of(choice)
        if any(sink.handler is handler for sink in self.sinks):
            return
        watcher = choice.observer if isinstance(choice, ObserverHandler) else choice
        name = self._free_name(type(watcher).__name__)
        if isinstance(handler, ObserverHandler):
            handler.ledger.name = name
            self.sinks.append(Sink(handler, handler.ledger))
            self._bridges.append(handler)
            return
        self.sinks.append(Sink(handler, Ledger(name)))
        if isinstance(choice, HandlerObserver):
            self._synchronous.append((choice, self.sinks[-1].ledger))

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
        if wait:
            await _together([bridge.start() for bridge in self._bridges])
        else:
            self.attach()

    def attach(self) -> None:
        """Deliver on the running loop what is delivered nowhere else."""
        for bridge in self._bridges:
            bridge.attach()

    def release(self) -> None:
        """Let go of what ``open`` has opened."""
        for observer, _ in self._synchronous:
            observer.handler.close()

    async def drain(self, timeout: float) -> None:
        """Wait, for so many seconds at most, until the async observers have had all events."""
        await _together([bridge.drain() for bridge in self._bridges], timeout)

    async def close(self, timeout: float) -> None:
        """Drain for so many seconds at most, then run the observers' ``close()``, all at once."""
        await self.drain(timeout)
        await _together([bridge.stop() for bridge in self._bridges])
        for observer, ledger in reversed(self._synchronous):
            await run_hook(observer.close, ledger, "closing")

    def stats(self) -> dict[str, ObserverStats]:
        """The observers' figures, by class name, a second one of a class as ``Name-2``."""
        return {sink.ledger.name: sink.ledger.stats(_queued(sink.handler)) for sink in self.sinks}

    def _free_name(self, name: str) -> str:
        taken = {sink.ledger.name for sink in self.sinks} | {"pipeline"}
        count = 1
        free = name
        while free in taken:
            count += 1
            free = f"{name}-{count}"
        return free


def _listed(choices: Iterable[object]) -> list[ObserverChoice]:
    expected = "a list of observers: FileLogger, StdoutLogger, InMemoryLogger, or a TaskObserver"
    if isinstance(choices, (str, bytes)) or not isinstance(choices, Iterable):
        raise ConfigurationTypeError("loggers", choices, expected)
    listed: list[ObserverChoice] = []
    for choice in choices:
        if not isinstance(choice, (TaskObserver, ObserverHandler)):
            raise ConfigurationTypeError("loggers", choice, expected)
        listed.append(choice)
    return listed


def _handler_of(choice: ObserverChoice) -> logging.Handler:
    """The way of records to an observer: a subclass's own methods are heard, too."""
    if isinstance(choice, ObserverHandler):
        return choice
    kind = type(choice)
    if isinstance(choice, HandlerObserver) and (
        kind.on_log is not HandlerObserver.on_log
        or kind.on_lifecycle is not HandlerObserver.on_lifecycle
    ):
        return ObserverHandler(choice)
    return choice.handler


def _queued(handler: logging.Handler) -> int:
    return handler.queued if isinstance(handler, ObserverHandler) else 0


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
