"""What the observers' tests share: events made by hand, the reports, and time that is given."""

from __future__ import annotations

import asyncio
import logging
import selectors
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from fastapi_taskflow import LifecycleEvent, LogEvent, TaskStatus

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TASK_ID = "abc12345-0000-4000-8000-000000000000"


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def reports() -> Iterator[list[logging.LogRecord]]:
    """What is reported about observers while the test runs."""
    collector = _Collector()
    logger = logging.getLogger("fastapi_taskflow.observers")
    logger.addHandler(collector)

    yield collector.records

    logger.removeHandler(collector)


@pytest.fixture
def log_event() -> Callable[..., LogEvent]:
    """Make a log entry; what isn't given is that of OBSERVABILITY's sample lines."""

    def make(message: str = "hello", **fields: Any) -> LogEvent:
        given = {"level": "info", "timestamp": NOON, "attempt": 0, **fields}
        return LogEvent(TASK_ID, "send_email", message, **given)

    return make


@pytest.fixture
def status_event() -> Callable[..., LifecycleEvent]:
    """Make a status change; what isn't given is that of OBSERVABILITY's sample lines."""

    def make(status: str = "running", **fields: Any) -> LifecycleEvent:
        given = {"timestamp": NOON, "attempt": 0, "retries_used": 0, **fields}
        return LifecycleEvent(TASK_ID, "send_email", TaskStatus(status), **given)

    return make


class _SkippingSelector(selectors.DefaultSelector):
    """Where nothing is ready, time jumps to the next timer instead of passing."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(None if timeout is None else 0)
        if not ready and timeout is not None:
            self.now += max(timeout, 0.0)
        return ready


class _SkippingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now


@pytest.fixture
def run_skipping() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine on a loop whose clock jumps over waits, so that an hour takes no time.

    Nothing in it may wait for a thread. What would wait forever fails, an hour later.
    """

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=_SkippingLoop) as runner:
            return runner.run(asyncio.wait_for(main, 3600))

    return run
