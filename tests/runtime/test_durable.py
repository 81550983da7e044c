"""What is in the database, and when, as tasks are enqueued, run and end."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from fastapi_taskflow import (
    ManagedBackgroundTasks,
    StoreUnavailableError,
    TaskManager,
    TaskStatus,
    task_log,
)

ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_has_run() -> None:
    ran.clear()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


def rows(path: Path, columns: str = "status", table: str = "taskflow_tasks") -> list[Any]:
    """What another process would read."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(f"SELECT {columns} FROM {table}").fetchall()
    return [row[0] for row in found]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Have another connection write, and not commit."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def note(name: str) -> None:
    ran.append(name)


async def enqueue(manager: TaskManager, *args: Any, **options: Any) -> ManagedBackgroundTasks:
    tasks = ManagedBackgroundTasks(manager.engine)
    await tasks.enqueue(note, *args, **options)
    return tasks


def test_enqueue_returns_once_the_row_is_committed(path: Path) -> None:
    async def use() -> None:
        async with TaskManager(snapshot_db=path) as manager:
            tasks = await enqueue(manager, "a")
            assert rows(path) == ["pending"]
            assert not ran
            await tasks()
            assert rows(path) == ["success"]
            assert ran == ["a"]

    asyncio.run(use())


def test_the_row_is_there_before_the_body_and_its_end_before_the_call_returns(path: Path) -> None:
    seen: list[Any] = []

    async def body() -> None:
        task_log("hello")
        seen.extend(rows(path))

    async def use() -> None:
        async with TaskManager(snapshot_db=path) as manager:
            await manager.execute(body)
            assert rows(path) == ["success"]
            assert rows(path, "message", "taskflow_entries") == ["hello"]

    asyncio.run(use())

    assert seen in (["pending"], ["running"])


def test_a_sync_endpoint_waits_for_the_commit(path: Path) -> None:
    manager = TaskManager(snapshot_db=path)
    app = FastAPI()
    manager.init_app(app)

    def endpoint(tasks: ManagedBackgroundTasks) -> list[Any]:
        tasks.add_task(note, "a")
        return rows(path)

    managed = Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]
    endpoint.__annotations__ = {"tasks": managed}
    app.get("/")(endpoint)

    with TestClient(app) as client:
        assert client.get("/").json() == ["pending"]

    assert ran == ["a"]


def test_a_database_that_takes_nothing_turns_an_enqueue_away_and_blocks_no_loop(
    path: Path,
) -> None:
    async def use() -> None:
        async with TaskManager(snapshot_db=path, store_timeout=0.2) as manager:
            turns = 0

            async def tick() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0.01)

            ticking = asyncio.create_task(tick())
            with locked(path):
                with pytest.raises(StoreUnavailableError, match=r"note.*0\.2 s.*add_task"):
                    await enqueue(manager, "a")
                assert turns > 5
            ticking.cancel()
            await manager.execute(note, "b")

    asyncio.run(use())

    assert ran == ["b"]
    assert rows(path) == ["cancelled", "success"]


def test_a_task_that_does_not_insist_runs_and_its_row_follows(path: Path) -> None:
    async def use() -> None:
        async with TaskManager(snapshot_db=path, store_timeout=0.1) as manager:
            with locked(path):
                record = await manager.execute(note, "a")
                assert record.status is TaskStatus.SUCCESS
                assert rows(path) == []
            await manager.execute(note, "b")

    asyncio.run(use())

    assert ran == ["a", "b"]
    assert rows(path) == ["success", "success"]


def test_an_enqueue_that_is_cancelled_leaves_no_task_behind(path: Path) -> None:
    async def use() -> None:
        async with TaskManager(snapshot_db=path) as manager:
            with locked(path):
                enqueuing = asyncio.create_task(enqueue(manager, "a"))
                await asyncio.sleep(0)
                enqueuing.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await enqueuing

    asyncio.run(use())

    assert rows(path) == ["cancelled"]


def test_all_who_give_a_key_of_another_process_at_once_get_the_first_tasks_id(path: Path) -> None:
    async def use() -> None:
        first, second = (TaskManager(snapshot_db=path) for _ in range(2))
        async with first, second:
            there, here = (ManagedBackgroundTasks(each.engine) for each in (first, second))
            holder = await there.enqueue(note, "a", idempotency_key="k")

            enqueued = [here.enqueue(note, "b", idempotency_key="k") for _ in range(4)]
            executed = [second.execute(note, "b", idempotency_key="k") for _ in range(2)]

            assert await asyncio.gather(*enqueued) == [holder] * 4
            assert {record.task_id for record in await asyncio.gather(*executed)} == {holder}
            assert not here.tasks

    asyncio.run(use())

    assert not ran


def test_a_sync_endpoint_gets_the_first_tasks_id_of_another_process(path: Path) -> None:
    first, second = (TaskManager(snapshot_db=path) for _ in range(2))
    there, here = (ManagedBackgroundTasks(each.engine) for each in (first, second))

    holder = there.add_task(note, "a", idempotency_key="k")
    again = [here.add_task(note, "b", idempotency_key="k") for _ in range(2)]
    asyncio.run(here())

    assert again == [holder, holder]
    assert not ran
    for manager in (first, second):
        asyncio.run(manager.shutdown())


def test_who_waits_for_a_task_that_is_called_off_takes_its_place(path: Path) -> None:
    async def use() -> None:
        async with TaskManager(snapshot_db=path) as manager:
            with locked(path):
                given_up = asyncio.create_task(enqueue(manager, "a", idempotency_key="k"))
                await asyncio.sleep(0)
                waiting = asyncio.create_task(enqueue(manager, "b", idempotency_key="k"))
                await asyncio.sleep(0)
                given_up.cancel()
                await asyncio.wait({given_up})
            await (await waiting)()

    asyncio.run(use())

    assert ran == ["b"]


def test_without_a_database_enqueue_is_add_task() -> None:
    async def use() -> None:
        async with TaskManager() as manager:
            tasks = await enqueue(manager, "a", idempotency_key="k")
            assert len(tasks.tasks) == 1
            await tasks()

    asyncio.run(use())

    assert ran == ["a"]


def test_what_is_left_to_another_process_does_not_begin_after_the_shutdown(path: Path) -> None:
    manager = TaskManager(snapshot_db=path, shutdown_timeout=0)
    manager.task(persist=True)(note)
    started = asyncio.Event()

    async def first() -> None:
        started.set()
        await asyncio.Event().wait()

    async def main() -> None:
        async with manager:
            tasks = ManagedBackgroundTasks(manager.engine)
            tasks.add_task(first)
            tasks.add_task(note, "second")
            request = asyncio.create_task(tasks())
            await started.wait()
        await request

    asyncio.run(main())

    assert ran == []
    assert sorted(rows(path)) == ["interrupted", "pending"]
    assert not manager.engine.is_open
