"""Whose line it is: gathered children, bodies side by side in threads, a task within a task."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest

from fastapi_taskflow import InMemoryLogger, TaskManager, get_task_context, task_log


@pytest.mark.parametrize("executor", ["async", "thread"])
def test_what_an_async_body_gathers_belongs_to_its_task(
    manager: TaskManager, memory: InMemoryLogger, executor: str
) -> None:
    async def child(number: int) -> str:
        await asyncio.sleep(0)
        task_log(f"child {number}")
        context = get_task_context()
        return "" if context is None else context.task_id

    @manager.task(executor=executor)
    async def body() -> tuple[str, str, str]:
        in_thread = asyncio.to_thread(lambda: asyncio.run(child(3)))
        one, two, three = await asyncio.gather(child(1), asyncio.create_task(child(2)), in_thread)
        return one, two, three

    record = manager.run(body)

    assert record.result == (record.task_id,) * 3
    messages = sorted(event.message for event in memory.log_events)
    assert messages == ["child 1", "child 2", "child 3"]
    assert {event.task_id for event in memory.log_events} == {record.task_id}


def test_tasks_beside_each_other_never_mix_their_lines(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    barrier = threading.Barrier(4, timeout=30)

    def sync_body(mine: str) -> None:
        for _ in range(5):
            barrier.wait()
            task_log(mine)

    async def async_body(mine: str) -> None:
        for _ in range(5):
            await asyncio.to_thread(barrier.wait)
            task_log(mine)

    async def main() -> dict[str, str]:
        calls = {"a": sync_body, "b": async_body, "c": sync_body, "d": async_body}
        runs = [manager.execute(body, mine) for mine, body in calls.items()]
        records = await asyncio.gather(*runs)
        return {record.task_id: str(record.args[0]) for record in records}

    owners = asyncio.run(main())

    assert len(memory.log_events) == 20
    assert all(owners[event.task_id] == event.message for event in memory.log_events)


def test_a_sync_body_may_run_another_task_and_wait_for_it(manager: TaskManager) -> None:
    def inner() -> str:
        return "inner"

    def outer() -> str:
        return str(manager.run(inner).result)

    async def main() -> Any:
        async with manager:
            return (await manager.execute(outer)).result

    assert asyncio.run(main()) == "inner"
    assert manager.run(outer).result == "inner"


@pytest.mark.parametrize("executor", ["async", "thread"])
def test_what_a_body_sets_in_the_context_stays_in_it(manager: TaskManager, executor: str) -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    @manager.task(executor=executor)
    async def body() -> str:
        before = variable.get()
        variable.set("changed")
        return before

    async def main() -> tuple[Any, Any, str]:
        variable.set("given")
        first = await manager.execute(body)
        second = await manager.execute(body)
        return first.result, second.result, variable.get()

    assert asyncio.run(main()) == ("given", "given", "given")
