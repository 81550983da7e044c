"""A worker that is lost, or ended, is the end of one attempt and of nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastapi_taskflow import InMemoryLogger, TaskManager, TaskStatus
from fastapi_taskflow.execution.processes import process
from fastapi_taskflow.store import Query
from fastapi_taskflow.store.base import Fate
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.leases import Lease
from fastapi_taskflow.store.sql import Database

Exists = Callable[[int], bool]
WaitUntil = Callable[..., None]


@pytest.fixture
def memory() -> InMemoryLogger:
    return InMemoryLogger()


@pytest.fixture
def manager(memory: InMemoryLogger) -> TaskManager:
    return TaskManager(loggers=[memory], max_processes=2, shutdown_timeout=0)


def _pid_in(path: Path) -> int:
    return int(path.read_text())


def _is_written(path: Path) -> bool:
    return path.exists() and path.read_text().isdigit()


LOST = {
    "SIGKILL": "the worker process of is_lost was killed by SIGKILL",
    "exit": "the worker process of is_lost ended with exit code 0",
    "crash": "the worker process of is_lost was killed by SIGSEGV",
}


@pytest.mark.parametrize("how", LOST)
def test_a_lost_worker_interrupts_its_task_and_no_other(
    manager: TaskManager, memory: InMemoryLogger, bodies: Any, tmp_path: Path, how: str
) -> None:
    for body in (bodies.is_lost, bodies.logs_and_waits, bodies.give):
        manager.task(executor="process")(body)

    async def main() -> list[Any]:
        async with manager:
            answer = tmp_path / "answer"
            other = asyncio.create_task(manager.execute(bodies.logs_and_waits, str(answer)))
            lost = await manager.execute(bodies.is_lost, how)
            after = await manager.execute(bodies.give, 1)
            answer.touch()
            return [lost, await other, after]

    lost, other, after = asyncio.run(main())

    assert (lost.status, lost.error) == (TaskStatus.INTERRUPTED, LOST[how])
    assert [line.split(" ", 1)[1] for line in lost.logs] == ["before"]
    assert [other.result, after.result] == ["seen", 1]
    last = [event for event in memory.lifecycle_events if event.func_name == "is_lost"][-1]
    assert (last.status, last.error) == (TaskStatus.INTERRUPTED, LOST[how])


@pytest.mark.parametrize("name", ["leaves_a_child", "leaves_a_program"])
def test_a_lost_worker_is_missed_though_its_child_lives_on(
    manager: TaskManager,
    memory: InMemoryLogger,
    bodies: Any,
    exists: Exists,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    body = getattr(bodies, name)
    manager.task(executor="process")(body)

    async def main() -> Any:
        async with asyncio.timeout(20):  # the child would live for a minute
            return await manager.execute(body, "SIGKILL")

    record = asyncio.run(main())

    child = memory.log_events[0].extra["pid"]
    assert exists(child)
    os.kill(child, signal.SIGKILL)
    assert record.status is TaskStatus.INTERRUPTED


def test_a_worker_can_have_workers(manager: TaskManager, bodies: Any) -> None:
    manager.task(executor="process")(bodies.runs_another)

    async def main() -> Any:
        async with manager:
            return await manager.execute(bodies.runs_another, 7)

    assert asyncio.run(main()).result[0] == 7


def test_a_worker_that_cannot_be_started_fails_the_task(
    manager: TaskManager, bodies: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.task(executor="process")(bodies.pid)
    monkeypatch.setattr("sys.executable", "/no such interpreter")

    record = manager.run(bodies.pid)

    assert record.status is TaskStatus.FAILED
    assert record.error is not None
    assert record.error.startswith("pid has no worker process: FileNotFoundError")


@pytest.mark.parametrize(
    ("retry_on", "status"),
    [(Exception, "success"), (RuntimeError, "success"), (ValueError, "interrupted")],
)
def test_a_lost_worker_is_retried_as_an_error_is(
    manager: TaskManager, bodies: Any, tmp_path: Path, retry_on: Any, status: str
) -> None:
    manager.task(executor="process", retries=1, retry_on=retry_on)(bodies.is_lost)

    async def main() -> Any:
        async with manager:
            return await manager.execute(bodies.is_lost, "SIGKILL", str(tmp_path / "marker"))

    assert asyncio.run(main()).status.value == status


def test_a_task_that_kills_its_worker_is_not_taken_up_by_another_process(
    bodies: Any, tmp_path: Path
) -> None:
    path = str(tmp_path / "tasks.db")
    manager = TaskManager(snapshot_db=path, max_processes=1)
    manager.task(executor="process", requeue_on_interrupt=True)(bodies.is_lost)

    async def main() -> Any:
        async with manager:
            return await manager.execute(bodies.is_lost, "SIGKILL")

    record = asyncio.run(main())

    assert record.status is TaskStatus.INTERRUPTED
    with contextlib.closing(Database(Connections(path))) as database:
        assert not list(Lease(database).claim(lambda record: Fate.AGAIN))


@pytest.mark.parametrize("name", ["is_stuck", "is_stuck_on_a_loop", "is_stubborn"])
def test_a_timeout_ends_the_worker_and_fails_the_task(
    manager: TaskManager, bodies: Any, tmp_path: Path, exists: Exists, name: str
) -> None:
    body, path = getattr(bodies, name), tmp_path / "pid"
    manager.task(executor="process", timeout=0.2)(body)

    async def main() -> Any:
        async with manager:
            record = await manager.execute(body, str(path))
            assert not exists(_pid_in(path))
            return record

    record = asyncio.run(main())

    assert record.status is TaskStatus.FAILED
    assert record.error == f"{name} exceeded its timeout of 0.2 s"
    messages = [line.split(" ", 1)[1] for line in record.logs]
    assert messages == ([] if name == "is_stubborn" else ["stuck", "cleaned up"])


def test_a_body_that_floods_the_log_is_ended_and_no_line_of_it_is_torn(
    manager: TaskManager,
    bodies: Any,
    tmp_path: Path,
    wait_until: WaitUntil,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(process, "END_SECONDS", 30.0)
    body, path = bodies.floods_until_it_is_ended, tmp_path / "pid"
    manager.task(executor="process")(body)

    async def main() -> Any:
        async with manager:
            call = asyncio.create_task(manager.execute(body, str(path)))
            await asyncio.to_thread(wait_until, lambda: _is_written(path))
            (task,) = manager.store.query(Query())
            await manager.cancel(task.task_id)
            await call
            task_id = task.task_id
            await asyncio.to_thread(
                wait_until, lambda: "cleaned up" in manager.get_task(task_id).logs[-1]
            )

    asyncio.run(main())

    assert [record for record in caplog.records if record.levelname != "INFO"] == []


def test_starting_a_worker_counts_towards_no_timeout(manager: TaskManager, bodies: Any) -> None:
    manager.task(executor="process", timeout=0.1)(bodies.pid)

    async def main() -> Any:
        async with manager:
            return await manager.execute(bodies.pid)

    assert asyncio.run(main()).status is TaskStatus.SUCCESS


@pytest.mark.parametrize("name", ["is_stuck", "is_stuck_on_a_loop", "is_stubborn"])
def test_shutdown_ends_the_worker_and_interrupts_the_task(
    manager: TaskManager,
    bodies: Any,
    tmp_path: Path,
    exists: Exists,
    wait_until: WaitUntil,
    name: str,
) -> None:
    body, path = getattr(bodies, name), tmp_path / "pid"
    manager.task(executor="process")(body)

    async def main() -> Any:
        async with manager:
            call = asyncio.create_task(manager.execute(body, str(path)))
            await asyncio.to_thread(wait_until, lambda: _is_written(path))
        assert not exists(_pid_in(path))
        return await call

    record = asyncio.run(main())

    assert record.status is TaskStatus.INTERRUPTED


def test_no_more_processes_than_allowed_and_each_used_again(
    manager: TaskManager, bodies: Any, exists: Exists
) -> None:
    manager.task(executor="process")(bodies.pid)

    async def main() -> list[int]:
        async with manager:
            calls = [manager.execute(bodies.pid) for _ in range(20)]
            return [record.result for record in await asyncio.gather(*calls)]

    pids = set(asyncio.run(main()))

    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 2
    assert not any(exists(pid) for pid in pids)


def test_an_idle_worker_ends_after_a_while(
    manager: TaskManager,
    bodies: Any,
    exists: Exists,
    wait_until: WaitUntil,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "IDLE_SECONDS", 0.05)
    manager.task(executor="process")(bodies.pid)

    async def main() -> None:
        async with manager:
            pid = (await manager.execute(bodies.pid)).result
            await asyncio.to_thread(wait_until, lambda: not exists(pid))
            assert (await manager.execute(bodies.pid)).result != pid

    asyncio.run(main())


def test_a_worker_killed_while_idle_costs_no_task(
    manager: TaskManager, bodies: Any, exists: Exists
) -> None:
    manager.task(executor="process")(bodies.pid)

    async def main() -> None:
        async with manager:
            for _ in range(5):
                pid = (await manager.execute(bodies.pid)).result
                os.kill(pid, signal.SIGKILL)
                assert (await manager.execute(bodies.pid)).status is TaskStatus.SUCCESS

    asyncio.run(main())


def test_a_forgotten_managers_workers_end(
    bodies: Any, exists: Exists, wait_until: WaitUntil
) -> None:
    manager = TaskManager()
    manager.task(executor="process")(bodies.pid)
    pid = manager.run(bodies.pid).result

    del manager
    gc.collect()

    wait_until(lambda: not exists(pid))


def test_what_a_body_starts_does_not_ignore_signals(manager: TaskManager, bodies: Any) -> None:
    manager.task(executor="process")(bodies.tells_signals)

    assert manager.run(bodies.tells_signals).result == [False, False]
