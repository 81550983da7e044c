"""Shutdown: what gets time to end, and what is interrupted and says so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastapi_taskflow import InMemoryLogger, TaskManager, TaskStatus
from fastapi_taskflow.execution.execution import STOPPED


@pytest.mark.parametrize("database", [False, True], ids=["memory", "sqlite"])
def test_what_outlasts_the_timeout_is_interrupted_and_says_so(
    memory: InMemoryLogger, diary: Any, tmp_path: Path, database: bool
) -> None:
    location = tmp_path / "tasks.db" if database else None
    manager = TaskManager(loggers=[memory, diary], snapshot_db=location, shutdown_timeout=0)
    release, started = threading.Event(), threading.Barrier(3, timeout=30)
    cleaned_up: list[str] = []

    def sync_body() -> None:
        started.wait()
        release.wait(30)

    async def async_body() -> None:
        try:
            await asyncio.to_thread(started.wait)
            await asyncio.Event().wait()
        finally:
            cleaned_up.append("async")

    async def main() -> list[Any]:
        async with manager:
            bodies: list[Callable[[], Any]] = [sync_body, async_body]
            calls = [asyncio.create_task(manager.execute(body)) for body in bodies]
            await asyncio.to_thread(started.wait)
            manager.engine.accept(list, (), {}, tags=None, idempotency_key=None)
        return await asyncio.gather(*calls)

    records = asyncio.run(main())

    assert [record.status for record in records] == [TaskStatus.INTERRUPTED] * 2
    assert cleaned_up == ["async"]
    told = [event.status.value for event in memory.lifecycle_events]
    assert told == ["running"] * 2 + ["interrupted"] * 3
    assert diary.pages == ["startup", *told, "close"]
    assert manager.store.totals().by_status[TaskStatus.INTERRUPTED] == 3
    release.set()
    manager.store.close(5.0)


def test_within_the_timeout_running_and_waiting_tasks_end_by_themselves(
    memory: InMemoryLogger,
) -> None:
    manager = TaskManager(loggers=[memory], max_concurrent_tasks=1)

    async def body() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def main() -> list[Any]:
        async with manager:
            calls = [asyncio.create_task(manager.execute(body)) for _ in range(3)]
            await asyncio.sleep(0)
        return await asyncio.gather(*calls)

    records = asyncio.run(main())

    assert [record.status for record in records] == [TaskStatus.SUCCESS] * 3


def test_an_interrupted_task_has_its_duration_and_end(memory: InMemoryLogger) -> None:
    manager = TaskManager(loggers=[memory], shutdown_timeout=0)

    async def main() -> Any:
        started = asyncio.Event()

        async def body() -> None:
            started.set()
            await asyncio.Event().wait()

        async with manager:
            call = asyncio.create_task(manager.execute(body))
            await started.wait()
        return await call

    record = asyncio.run(main())

    event = memory.lifecycle_events[-1]
    assert (event.status, event.error) == (TaskStatus.INTERRUPTED, None)
    assert record.error == STOPPED
    assert event.duration == record.duration
    assert record.duration is not None
    assert record.end_time is not None
