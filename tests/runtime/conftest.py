"""What the runtime's tests share: a manager, and what it tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

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
