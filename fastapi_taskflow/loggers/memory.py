"""Events in memory, for tests that assert on what was logged."""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from logging.handlers import MemoryHandler

from fastapi_taskflow.checks import whole_number
from fastapi_taskflow.events import LifecycleEvent, LogEvent
from fastapi_taskflow.filters import LogLevelFilter
from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.levels import Level, level_number
from fastapi_taskflow.loggers.base import HandlerObserver
from fastapi_taskflow.loggers.observed import ObservedHandler
from fastapi_taskflow.records import Kept, event_from, is_log, kept_entry, kept_event


class TaskMemoryHandler(ObservedHandler, MemoryHandler):
    """Keeps the events of the records it gets; it never flushes them to a target.

    Closing it, as ``dictConfig`` does with every handler, loses nothing.

    Args:
        capacity: How many events of each kind to keep, the newest; None means all.
    """

    def __init__(self, capacity: int | None = None) -> None:
        super().__init__(sys.maxsize if capacity is None else capacity, flushOnClose=False)
        self._unread: deque[Kept] = deque(maxlen=capacity)
        self._log_events: deque[LogEvent] = deque(maxlen=capacity)
        self._status_changes: deque[LifecycleEvent] = deque(maxlen=capacity)
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Have nobody read: a thread of a forked child's parent may have been reading."""
        self._reading = threading.RLock()

    @property
    def log_events(self) -> list[LogEvent]:
        """The log entries kept so far, the oldest first: a new list at each access."""
        with self._reading:  # two readers at once would mix them up
            for _ in range(len(self._unread)):
                self._log_events.append(kept_event(self._unread.popleft()))
            return list(self._log_events)

    @property
    def lifecycle_events(self) -> list[LifecycleEvent]:
        """The status changes kept so far, the oldest first: a new list at each access."""
        return list(self._status_changes)

    def clear(self) -> None:
        """Forget everything kept so far."""
        with self._reading:
            self._unread.clear()
            self._log_events.clear()
            self._status_changes.clear()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record's event. A record of another library has none and is passed over."""
        if is_log(record):
            self._unread.append(kept_entry(record))
        elif isinstance(event := event_from(record), LifecycleEvent):
            self._status_changes.append(event)

    def shouldFlush(self, record: logging.LogRecord) -> bool:
        """Never: the events are for whoever asks for them."""
        return False

    def flush(self) -> None:
        """Do nothing: there is no target."""


class InMemoryLogger(HandlerObserver):
    """Captures events in lists. Status changes are kept whatever the level.

    Args:
        min_level: The lowest level of log entries to capture.
        capacity: How many events of each kind to keep, the newest; None means all.

    Raises:
        ConfigurationError: A level that there is not, or a capacity below 1.
    """

    handler: TaskMemoryHandler

    def __init__(self, *, min_level: Level = "debug", capacity: int | None = None) -> None:
        if capacity is not None:
            whole_number("capacity", capacity, minimum=1)
        super().__init__(TaskMemoryHandler(capacity))
        self.handler.observed = True
        self.handler.addFilter(LogLevelFilter(level_number(min_level)))

    @property
    def log_events(self) -> list[LogEvent]:
        """The log entries captured so far, the oldest first: a new list at each access."""
        return self.handler.log_events

    @property
    def lifecycle_events(self) -> list[LifecycleEvent]:
        """The status changes captured so far, the oldest first: a new list at each access."""
        return self.handler.lifecycle_events

    def clear(self) -> None:
        """Forget everything captured so far."""
        self.handler.clear()
