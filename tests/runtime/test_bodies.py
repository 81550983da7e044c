"""What a task's body may be and do: callables of all kinds, own loops, contexts, odd errors."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest

from fastapi_taskflow import (
    InMemoryLogger,
    TaskManager,
    TaskStatus,
    task_log,
)

Statuses = Callable[[], list[str]]


class Awaited:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Generator[Any, None, int]:
        return self._value().__await__()

    async def _value(self) -> int:
        await asyncio.sleep(0)
        return 2


def returns_awaitable() -> Awaitable[int]:
    return Awaited()


class Worker:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def sync(self, number: int) -> int:
        return self.factor * number

    async def later(self, number: int) -> int:
        return self.factor * number

    @classmethod
    def of_class(cls, number: int) -> int:
        return 2 * number

    @staticmethod
    async def of_nobody(number: int) -> int:
        return 2 * number


async def keywords(*, number: int) -> int:
    return 2 * number


@pytest.mark.parametrize(
    "body",
    [
        returns_awaitable,
        functools.partial(Worker(2).later, 1),
        functools.partial(functools.partial(pow, 2), 1),
        functools.partial(keywords, number=1),
        functools.partial(Worker.of_class, 1),
        functools.partial(Worker.of_nobody, 1),
        functools.partial(int, "2"),
    ],
    ids=[
        "awaitable",
        "method",
        "nested",
        "keyword",
        "class",
        "static",
        "type",
    ],
)
def test_a_body_of_any_kind_runs_to_its_result(
    manager: TaskManager, statuses: Statuses, body: Callable[..., Any]
) -> None:
    record = manager.run(body)

    assert (record.status, record.result, record.error) == (TaskStatus.SUCCESS, 2, None)
    assert statuses() == ["running", "success"]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (Worker(1).sync, "sync"),
        (functools.partial(functools.partial(pow, 2)), "pow"),
        (lambda number: number, "<lambda>"),
        (Worker, "Worker"),
    ],
    ids=["method", "partial", "lambda", "class"],
)
def test_a_task_has_its_functions_name(
    manager: TaskManager, memory: InMemoryLogger, body: Callable[..., Any], name: str
) -> None:
    record = manager.run(body, 1)

    assert record.func_name == name
    assert {event.func_name for event in memory.lifecycle_events} == {name}


def test_a_name_given_is_the_tasks_and_its_events(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    @manager.task(name="mailer")
    def body() -> None:
        task_log("x")

    record = manager.run(body)

    assert record.func_name == "mailer"
    assert {event.func_name for event in memory.log_events} == {"mailer"}
    assert {event.func_name for event in memory.lifecycle_events} == {"mailer"}


def test_an_async_body_in_a_thread_leaves_the_loop_free(manager: TaskManager) -> None:
    started, release = threading.Event(), threading.Event()

    @manager.task(executor="thread")
    async def body() -> bool:
        started.set()
        return release.wait(30)  # it blocks its thread: that is the case

    async def main() -> Any:
        call = asyncio.create_task(manager.execute(body))
        await asyncio.to_thread(started.wait, 30)
        release.set()
        return (await call).result

    assert asyncio.run(main()) is True


def _cancelled_future() -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    return future


async def awaits_what_was_cancelled() -> None:
    await _cancelled_future()


async def cancels_a_child() -> None:
    child = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    child.cancel()
    await child


@pytest.mark.parametrize(
    "body", [awaits_what_was_cancelled, cancels_a_child], ids=lambda body: body.__name__
)
def test_a_cancellation_of_the_bodys_own_making_is_its_failure(
    manager: TaskManager, statuses: Statuses, body: Callable[..., Any]
) -> None:
    async def main() -> list[Any]:
        async with manager:
            return [await manager.execute(body), await manager.execute(returns_awaitable)]

    failed, after = asyncio.run(main())

    assert (failed.status, failed.error) == (TaskStatus.FAILED, "CancelledError")
    assert f"in {body.__name__}" in failed.stacktrace
    assert after.status is TaskStatus.SUCCESS
    assert statuses() == ["running", "failed", "running", "success"]


async def _generator_exit() -> None:
    raise GeneratorExit


async def _cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    "body", [_generator_exit, _cancels_itself], ids=["GeneratorExit", "cancels itself"]
)
def test_no_body_leaves_its_task_running_for_ever(
    manager: TaskManager, statuses: Statuses, body: Callable[..., Any]
) -> None:
    record = manager.run(body)

    assert record.status.is_final
    assert statuses() == ["running", record.status.value]
