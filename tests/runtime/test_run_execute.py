"""``execute()`` and ``run()``: the record they return, and from where they may be called."""

from __future__ import annotations

import asyncio
import threading
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from freezegun import freeze_time

from fastapi_taskflow import (
    InMemoryLogger,
    TaskflowError,
    TaskManager,
    TaskRecord,
    TaskStatus,
    task_log,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def greet(name: str, *, loud: bool = False) -> str:
    task_log(f"hello {name}")
    return name.upper() if loud else name


async def greet_later(name: str, *, loud: bool = False) -> str:
    await asyncio.sleep(0)
    return greet(name, loud=loud)


@pytest.mark.parametrize("body", [greet, greet_later], ids=["sync", "async"])
def test_the_record_tells_all_of_a_task(manager: TaskManager, body: Any) -> None:
    with freeze_time(NOON, real_asyncio=True):
        record = manager.run(body, "ada", loud=True, tags={"a": "b"}, idempotency_key="k")

    assert isinstance(record, TaskRecord)
    assert (record.func_name, record.status, record.result) == (
        body.__name__,
        TaskStatus.SUCCESS,
        "ADA",
    )
    assert (record.args, record.kwargs) == (("ada",), {"loud": True})
    assert (record.tags, record.idempotency_key) == ({"a": "b"}, "k")
    assert [record.created_at, record.start_time, record.end_time] == [NOON] * 3
    assert (record.attempt, record.retries_used) == (0, 0)
    assert (record.error, record.stacktrace) == (None, None)
    assert record.logs == ["2026-01-01T12:00:00Z hello ada"]
    assert record == manager.get_task(record.task_id)


def test_a_tasks_id_is_a_random_uuid(manager: TaskManager) -> None:
    ids = [manager.run(greet, "Ann").task_id for _ in range(20)]

    for task_id in ids:
        made = uuid.UUID(task_id)
        assert (str(made), made.version, made.variant) == (task_id, 4, uuid.RFC_4122)
    assert len(set(ids)) == len(ids)


def test_arguments_and_results_are_not_in_a_records_repr(manager: TaskManager) -> None:
    record = manager.run(lambda word: word, "secret")

    assert record.result == "secret"
    assert "secret" not in repr(record)


def test_run_in_a_running_loop_says_what_to_do_instead(manager: TaskManager) -> None:
    async def main() -> None:
        manager.run(greet, "ada")

    with pytest.raises(TaskflowError, match=r"use `await task_manager.execute\(...\)` here"):
        asyncio.run(main())

    assert sum(manager.store.totals().by_status.values()) == 0


def test_run_from_another_thread_uses_the_loop_that_serves(manager: TaskManager) -> None:
    async def which_loop() -> int:
        return id(asyncio.get_running_loop())

    async def main() -> tuple[Any, int]:
        async with manager:
            record = await asyncio.to_thread(manager.run, which_loop)
            return record.result, id(asyncio.get_running_loop())

    used, serving = asyncio.run(main())

    assert used == serving


def test_execute_from_another_loop_while_a_lifespan_runs(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    async def main() -> Any:
        async with manager:
            return await asyncio.to_thread(asyncio.run, manager.execute(greet_later, "ada"))

    assert asyncio.run(main()).status is TaskStatus.SUCCESS
    assert [event.message for event in memory.log_events] == ["hello ada"]


def test_many_threads_may_run_tasks_at_once(manager: TaskManager) -> None:
    records: list[TaskRecord] = []

    def work() -> None:
        mine = [manager.run(greet, str(number)) for number in range(10)]
        records.extend(mine)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert [record.status for record in records] == [TaskStatus.SUCCESS] * 60
    assert all(record.result == record.args[0] for record in records)


def test_an_unknown_id_is_a_lookup_error(manager: TaskManager) -> None:
    with pytest.raises(LookupError, match="no task with id 'nope'"):
        manager.get_task("nope")
