"""Timeouts: what they end, what they leave alone, and that a late end changes nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from fastapi_taskflow import (
    InMemoryLogger,
    TaskManager,
    TaskStatus,
    TaskTimeoutError,
    get_task_context,
    task_log,
)

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Statuses = Callable[[], list[str]]


def test_an_async_body_is_cancelled_and_may_clean_up(
    manager: TaskManager, run_skipping: Run
) -> None:
    ends: list[str] = []

    @manager.task(timeout=5)
    async def body() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
        finally:
            ends.append("cleaned up")

    record = run_skipping(manager.execute(body))

    assert ends == ["cancelled", "cleaned up"]
    assert (record.status, record.result) == (TaskStatus.FAILED, None)
    assert "body exceeded its timeout of 5 s" in record.error


@pytest.mark.parametrize(
    "retry_on", [Exception, TimeoutError, TaskTimeoutError], ids=lambda kind: kind.__name__
)
def test_each_attempt_has_the_whole_time_and_is_tried_again(
    manager: TaskManager, run_skipping: Run, retry_on: type[Exception]
) -> None:
    starts: list[float] = []

    @manager.task(timeout=10, retries=2, delay=1, retry_on=retry_on)
    async def body() -> str:
        starts.append(asyncio.get_running_loop().time())
        if len(starts) < 3:
            await asyncio.Event().wait()
        await asyncio.sleep(9)
        return "in time"

    record = run_skipping(manager.execute(body))

    assert (record.status, record.result) == (TaskStatus.SUCCESS, "in time")
    assert starts == pytest.approx([starts[0], starts[0] + 11, starts[0] + 22])


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_bodys_own_timeout_error_is_not_taken_for_the_limit(
    manager: TaskManager, kind: str
) -> None:
    @manager.task(timeout=60, name="body")
    def sync_body() -> None:
        raise TimeoutError("the mail server's")

    @manager.task(timeout=60, name="body")
    async def async_body() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    record = manager.run(sync_body if kind == "sync" else async_body)

    assert record.error == ("the mail server's" if kind == "sync" else "TimeoutError")


def test_an_error_while_cleaning_up_is_the_tasks_error(
    manager: TaskManager, run_skipping: Run
) -> None:
    @manager.task(timeout=5)
    async def body() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ConnectionError("could not say goodbye")

    record = run_skipping(manager.execute(body))

    assert (record.status, record.error) == (TaskStatus.FAILED, "could not say goodbye")


def test_the_late_error_of_a_sync_body_changes_nothing(
    manager: TaskManager, statuses: Statuses
) -> None:
    release, ended = threading.Event(), threading.Event()

    @manager.task(timeout=0.02)
    def body() -> None:
        try:
            release.wait(30)
            raise OSError("late")
        finally:
            ended.set()

    async def main() -> tuple[Any, Any]:
        async with manager:
            record = await manager.execute(body)
            release.set()
            await asyncio.to_thread(ended.wait, 30)
            await manager.execute(threading.get_ident)  # by now its end has come to the loop
            return record, manager.get_task(record.task_id)

    record, after = asyncio.run(main())

    assert record.status is TaskStatus.FAILED
    assert after == record
    assert statuses() == ["running", "failed", "running", "success"]


def test_a_late_line_keeps_the_attempt_it_was_logged_in(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    second, logged = threading.Event(), threading.Event()

    @manager.task(timeout=0.05, retries=1)
    def body() -> None:
        context = get_task_context()
        assert context is not None
        if context.attempt == 0:
            second.wait(30)
            task_log("late")
            logged.set()
        else:
            second.set()
            logged.wait(30)

    async def main() -> None:
        async with manager:
            await manager.execute(body)
            await asyncio.to_thread(logged.wait, 30)

    asyncio.run(main())

    (event,) = memory.log_events
    assert (event.message, event.attempt) == ("late", 0)


def test_the_wait_for_a_slot_is_not_part_of_the_time(run_skipping: Run) -> None:
    manager = TaskManager(max_concurrent_tasks=1)

    async def first() -> None:
        await asyncio.sleep(60)

    @manager.task(timeout=5)
    async def second() -> str:
        await asyncio.sleep(4)
        return "in time"

    async def main() -> Any:
        return await asyncio.gather(manager.execute(first), manager.execute(second))

    _, record = run_skipping(main())

    assert (record.status, record.result) == (TaskStatus.SUCCESS, "in time")


def test_a_timed_out_body_holds_its_thread_until_it_ends() -> None:
    manager = TaskManager(max_sync_threads=1)
    release = threading.Event()

    @manager.task(timeout=0.02)
    def stuck() -> None:
        release.wait(30)

    async def main() -> tuple[bool, Any]:
        await manager.execute(stuck)
        after = asyncio.create_task(manager.execute(threading.get_ident))
        for _ in range(10):
            await asyncio.sleep(0)
        waiting = manager.store.totals().by_status[TaskStatus.PENDING] == 1
        release.set()
        return waiting, await after

    waiting, record = asyncio.run(main())

    assert waiting
    assert record.status is TaskStatus.SUCCESS
