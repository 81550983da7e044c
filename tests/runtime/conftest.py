"""What the runtime's tests share: a manager, what it tells, and a loop that skips its waits."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from fastapi_taskflow import InMemoryLogger, LifecycleEvent, LogEvent, TaskManager, TaskObserver


@pytest.fixture
def memory() -> InMemoryLogger:
    return InMemoryLogger()


@pytest.fixture
def manager(memory: InMemoryLogger) -> TaskManager:
    return TaskManager(loggers=[memory])


@pytest.fixture
def statuses(memory: InMemoryLogger) -> Callable[[], list[str]]:
    """The statuses that the observer was told of so far."""
    return lambda: [event.status.value for event in memory.lifecycle_events]


class Diary(TaskObserver):
    """Writes down everything an observer is told, in order."""

    def __init__(self) -> None:
        self.pages: list[str] = []

    async def startup(self) -> None:
        await asyncio.sleep(0)
        self.pages.append("startup")

    async def on_log(self, event: LogEvent) -> None:
        await asyncio.sleep(0)
        self.pages.append(event.message)

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        self.pages.append(event.status.value)

    async def close(self) -> None:
        self.pages.append("close")


@pytest.fixture
def diary() -> Diary:
    return Diary()


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
    """Run a coroutine on a loop whose clock jumps over waits; nothing may wait for a thread."""

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=_SkippingLoop) as runner:
            return runner.run(main)

    return run
