"""The bridge from records to async observers: a handler that queues, and its consumer."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import pkgutil
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from fastapi_taskflow.checks import Seconds, seconds, whole_number
from fastapi_taskflow.errors import ConfigurationError, ConfigurationTypeError
from fastapi_taskflow.events import LifecycleEvent, LogEvent
from fastapi_taskflow.fork import leave_to_parent, restart_after_fork
from fastapi_taskflow.guard import is_cancelled, let_pass
from fastapi_taskflow.levels import Level, level_number
from fastapi_taskflow.loggers.consumer import Consumer, Told
from fastapi_taskflow.loggers.hooks import run_hook
from fastapi_taskflow.loggers.ledger import Ledger, news
from fastapi_taskflow.loggers.queue import DeliveryQueue
from fastapi_taskflow.loggers.steps import Rest, begin
from fastapi_taskflow.records import event_from, is_log, kept_entry, kept_event, level_of

QUEUE_SIZE = 10_000
EVENT_TIMEOUT = 30.0

_living: weakref.WeakSet[ObserverHandler] = weakref.WeakSet()


def any_observers() -> bool:
    """Whether there is a handler of an async observer anywhere in this process."""
    return len(_living) > 0


class AsyncObserver(Protocol):
    """What an observer must have: the four methods of ``TaskObserver``."""

    async def on_log(self, event: LogEvent) -> None:
        """Be told of a log entry."""

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        """Be told of a status change."""

    async def startup(self) -> None:
        """Open what is needed."""

    async def close(self) -> None:
        """Close it."""


class ObserverHandler(logging.Handler):
    """Carries the events of records to an async observer, in order, and never waits for it.

    ``emit`` makes the event and queues it, in the emitting thread. A consumer on the
    manager's event loop awaits the observer's methods, one event at a time. A full queue
    drops log entries, never status changes, and counts what it drops. Events that come
    before the observer's ``startup()`` are held.

    In ``TaskManager(loggers=[...])`` the manager serves it. One that a logging configuration
    has put on root or the ``fastapi_taskflow`` tree is served by the first manager that sends
    records there: started and closed with that manager's app.

    Args:
        observer: The observer, or, for ``dictConfig``, the dotted path of one, or of a class
            or function that makes one when called without arguments.
        queue_size: The most events that may wait before log entries are dropped.
        timeout: Seconds that the observer may take for one event; after that it is
            cancelled and the event counts as an error.

    Raises:
        ConfigurationError: The observer lacks a method or has a level that there is not, or
            a number is too small.
    """

    def __init__(
        self,
        observer: AsyncObserver | str,
        *,
        queue_size: int = QUEUE_SIZE,
        timeout: Seconds = EVENT_TIMEOUT,
    ) -> None:
        super().__init__()
        self.observer = _find_observer(observer) if isinstance(observer, str) else observer
        _check_observer(self.observer)
        self.queue_size = whole_number("queue_size", queue_size, minimum=1)
        self.timeout = seconds("timeout", timeout, positive=True)
        self.ledger = Ledger(type(self.observer).__name__)
        level: Level | None = getattr(self.observer, "min_level", None)
        if level is not None:
            self.setLevel(level_number(level))
        self.in_pipeline = True
        self.users: weakref.WeakSet[object] = weakref.WeakSet()
        self._server: weakref.ref[object] | None = None
        self._consumer: Consumer | None = None
        self.start_afresh()
        restart_after_fork(self)
        _living.add(self)

    def start_afresh(self) -> None:
        """Begin with nothing queued, and the observer not started: its events are its parent's."""
        leave_to_parent(self._consumer)
        self._queue: DeliveryQueue[Told] = DeliveryQueue()
        self._consumer = None
        self._started = False

    def claim(self, server: object) -> bool:
        """Ask to be served. Returns whether it was, of all askers, the first one alive."""
        if self.is_served:
            return False
        self._server = weakref.ref(server)
        return True

    @property
    def is_served(self) -> bool:
        """Whether there is who serves it, on a loop that still runs if it ever did."""
        if self._server is None or self._server() is None:
            return False
        return self._consumer is None or self._consumer.alive

    def is_claimed_by(self, server: object) -> bool:
        """Whether this one serves it."""
        return self._server is not None and self._server() is server

    def unclaim(self) -> None:
        """Be free to be served by somebody else."""
        self._server = None

    @property
    def queued(self) -> int:
        """How many events wait, or are being handled."""
        return self._queue.unfinished

    @property
    def is_awaited(self) -> bool:
        """Whether there is something to drain."""
        return self._queue.is_awaited

    def handle(self, record: logging.LogRecord) -> bool:
        """Filter the record and queue its event. What would wait does so when the lock is free."""
        mine = news.mine
        mine.held += 1
        try:
            return super().handle(record)
        finally:
            mine.held -= 1
            if mine.waiting:
                mine.let_go()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record's event. A record of another library has none and is passed over."""
        told: Told
        if is_log(record):
            told = kept_entry(record)
        elif isinstance(event := event_from(record), LifecycleEvent):
            told = event
        else:
            return
        ledger, queue = self.ledger, self._queue
        ledger.accepted += self.in_pipeline  # in a manager's list, its sink counts
        if len(queue) >= self.queue_size and not isinstance(told, LifecycleEvent):
            ledger.drop("overflow", [level_of(told)])
            return
        waiting = queue.put(told)
        if waiting > ledger.high_water:
            ledger.high_water = waiting
        consumer = self._consumer
        if consumer is not None:
            if waiting * 2 > self.queue_size:
                consumer.hurry()
            else:
                consumer.wake()

    async def start(self) -> None:
        """Run the observer's ``startup()`` if it is due, and deliver events on this loop."""
        consumer = self._consume_here()
        await consumer.ready.wait()

    def attach(self) -> None:
        """Deliver events on the running loop, unless they are delivered on another already."""
        if self._consumer is None or not self._consumer.alive:
            self._consume_here()

    async def drain(self) -> None:
        """Wait until every event queued before this call was delivered or given up."""
        goal = self._queue.mark()
        while not self._queue.reached(goal):
            self.attach()
            if self._consumer is not None:
                self._consumer.hurry()
            await self._queue.wait(goal)

    async def leave(self, timeout: float) -> None:
        """Drain for so many seconds at most, and stop, for good."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.drain(), timeout)
        await self.stop()
        self.unclaim()

    async def stop(self) -> None:
        """End delivery, count as lost what still waits, and run the observer's ``close()``."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()
        left = list(self._queue.take())
        self._queue.finish(len(left))
        self.ledger.drop("shutdown", [level_of(told) for told in left])
        if self._started:
            self._started = False
            await run_hook(self.observer.close, self.ledger, "closing")

    def _consume_here(self) -> Consumer:
        consumer = self._consumer
        if consumer is not None:
            if consumer.alive and consumer.loop is asyncio.get_running_loop():
                return consumer
            consumer.retire()
        self._consumer = Consumer(self._queue, self._start_observer, self._deliver)
        return self._consumer

    async def _start_observer(self) -> None:
        if not self._started:
            self._started = True
            await run_hook(self.observer.startup, self.ledger, "starting up")

    def _deliver(self, told: Told) -> Coroutine[Any, Any, None] | None:
        """Tell the observer.

        Returns:
            What is left of that and must be awaited; only a cancellation of the task that does
            gets out of it. None where nothing is left.
        """
        try:
            if isinstance(told, LifecycleEvent):
                rest = begin(self.observer.on_lifecycle(told))
            else:
                rest = begin(self.observer.on_log(kept_event(told)))
        except BaseException as error:  # noqa: BLE001  # see let_pass
            let_pass(error)
            self._failed(told, error)
            return None
        return None if rest is None else self._deliver_rest(told, rest)

    async def _deliver_rest(self, told: Told, rest: Rest) -> None:
        here = asyncio.current_task()
        limit = asyncio.timeout(self.timeout)
        try:
            async with limit:
                await rest.run()
            if limit.expired():  # it hid its cancellation
                raise TimeoutError
        except BaseException as error:  # noqa: BLE001  # see let_pass
            let_pass(error, within=here)
            if limit.expired():
                error = TimeoutError(f"not done in {self.timeout:g} s")
            self._failed(told, error)

    def _failed(self, told: Told, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError) and is_cancelled():
            raise error
        what = "a status change" if isinstance(told, LifecycleEvent) else "a log entry"
        self.ledger.fail(error, f"handling {what}", accepted=True)


_EXPECTED = "a TaskObserver: async methods on_log, on_lifecycle, startup and close"


def _find_observer(path: str) -> AsyncObserver:
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        expected = f"{_EXPECTED}, or the dotted path of one ({error})"
        raise ConfigurationError("observer", path, expected) from error
    if not (isinstance(found, type) or inspect.isroutine(found)):
        observer: AsyncObserver = found
        return observer
    try:
        observer = found()
    except Exception as error:  # the user's own code: it can raise anything
        expected = (
            "the path of an observer, or of what makes one when called without arguments; "
            f"this one raised {type(error).__name__}: {error}"
        )
        raise ConfigurationError("observer", path, expected) from error
    return observer


def _check_observer(observer: object) -> None:
    if isinstance(observer, type):
        raise ConfigurationTypeError("observer", observer, f"an instance: {observer.__name__}()")
    for name in ("on_log", "on_lifecycle", "startup", "close"):
        method = getattr(observer, name, None)
        if not callable(method) or _is_plainly_sync(method):
            raise ConfigurationTypeError("observer", observer, f"{_EXPECTED}; look at {name}")


def _is_plainly_sync(method: Callable[..., object]) -> bool:
    if hasattr(method, "__wrapped__") or not inspect.isroutine(method):
        return False  # a decorated method or a callable object: only the call will tell
    return not inspect.iscoroutinefunction(method)
