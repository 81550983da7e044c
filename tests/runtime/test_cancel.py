"""Cancel: what has not begun never does, what runs ends, and says so once."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastapi_taskflow import (
    ConfigurationTypeError,
    InMemoryLogger,
    ManagedBackgroundTasks,
    TaskContext,
    TaskManager,
    TaskNotFoundError,
    TaskStatus,
    bind_task_context,
    get_task_context,
    task_log,
)
from fastapi_taskflow.context import tell_cancelled
from fastapi_taskflow.errors import TaskEndedError
from fastapi_taskflow.store import Query

REASON = "it was cancelled by task_manager.cancel()"
PATIENCE = 20.0


@pytest.fixture(params=["memory", "sqlite"])
def manager(
    request: pytest.FixtureRequest, memory: InMemoryLogger, diary: Any, tmp_path: Path
) -> TaskManager:
    database = tmp_path / "tasks.db" if request.param == "sqlite" else None
    return TaskManager(
        loggers=[memory, diary], snapshot_db=database, max_sync_threads=4, shutdown_timeout=5
    )


async def _begun(manager: TaskManager, function: Any, *args: Any) -> str:
    """Begin a task, and wait until it runs. Returns its id."""
    tasks = ManagedBackgroundTasks(manager.engine)
    task_id = tasks.add_task(function, *args)
    running = asyncio.ensure_future(tasks())
    _KEPT.add(running)
    running.add_done_callback(_KEPT.discard)
    await _until(lambda: manager.get_task(task_id).status is not TaskStatus.PENDING)
    return task_id


_KEPT: set[asyncio.Future[None]] = set()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # threads make it true, and have no event
            await asyncio.sleep(0.001)


def test_a_task_that_has_not_begun_never_does(
    manager: TaskManager, statuses: Callable[[], list[str]], diary: Any
) -> None:
    ran: list[int] = []

    async def main() -> Any:
        async with manager:
            tasks = ManagedBackgroundTasks(manager.engine)
            first = tasks.add_task(ran.append, 1)
            tasks.add_task(ran.append, 2)
            record = await manager.cancel(first)
            await tasks()
        return record

    record = asyncio.run(main())

    assert ran == [2]
    assert (record.status, record.error) == (TaskStatus.CANCELLED, REASON)
    assert (record.start_time, record.duration) == (None, None)
    assert statuses() == ["cancelled", "running", "success"]
    assert diary.pages == ["startup", *statuses(), "close"]


def test_a_task_that_waits_for_a_slot_never_begins(
    memory: InMemoryLogger, statuses: Callable[[], list[str]]
) -> None:
    manager = TaskManager(loggers=[memory], max_concurrent_tasks=1)
    ran: list[int] = []

    async def main() -> None:
        release = asyncio.Event()
        async with manager:
            first = asyncio.create_task(manager.execute(release.wait))
            waiting = asyncio.create_task(manager.execute(ran.append, 1))
            await _until(lambda: bool(statuses()))
            (pending,) = manager.store.query(Query(status=TaskStatus.PENDING))
            await manager.cancel(pending.task_id)
            record = await waiting
            assert record.status is TaskStatus.CANCELLED
            release.set()
            await first

    asyncio.run(asyncio.wait_for(main(), PATIENCE))

    assert ran == []
    assert statuses() == ["running", "cancelled", "success"]


def test_what_was_cancelled_before_its_turn_waits_for_no_slot_and_is_forgotten(
    memory: InMemoryLogger,
) -> None:
    manager = TaskManager(loggers=[memory], max_concurrent_tasks=1)

    async def main() -> None:
        release = asyncio.Event()
        async with manager:
            first = await _begun(manager, release.wait)
            tasks = ManagedBackgroundTasks(manager.engine)
            task_id = tasks.add_task(task_log, "x")
            await manager.cancel(task_id)
            assert manager.engine._active.find(task_id) is None  # noqa: SLF001  # nothing of it is kept
            await tasks()
            assert manager.get_task(first).status is TaskStatus.RUNNING
            release.set()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_an_async_body_is_cancelled_and_has_its_finally(
    manager: TaskManager, statuses: Callable[[], list[str]], diary: Any
) -> None:
    seen: list[bool] = []

    @manager.task(retries=3)
    async def body() -> None:
        context = get_task_context()
        assert context is not None
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(context.cancelled)

    async def main() -> Any:
        async with manager:
            task_id = await _begun(manager, body)
            return await manager.cancel(task_id, reason="too slow")

    record = asyncio.run(main())

    assert (record.status, record.error) == (TaskStatus.CANCELLED, "too slow")
    assert record.duration is not None
    assert seen == [True]
    assert statuses() == ["running", "cancelled"]
    assert diary.pages == ["startup", *statuses(), "close"]
    assert manager.get_task(record.task_id).status is TaskStatus.CANCELLED


@pytest.mark.parametrize("late", ["return", "raise"])
def test_a_body_in_a_thread_is_told_and_its_late_end_changes_nothing(
    manager: TaskManager, statuses: Callable[[], list[str]], late: str
) -> None:
    begun, told, ended = threading.Event(), threading.Event(), threading.Event()

    @manager.task(retries=3)
    def body() -> str:
        begun.set()
        context = get_task_context()
        assert context is not None
        while not context.cancelled:
            assert not told.wait(0.005)
        told.set()
        try:
            if late == "raise":
                raise ValueError("late")
            return "late"
        finally:
            ended.set()

    async def main() -> Any:
        async with manager:
            task_id = await _begun(manager, body)
            await asyncio.to_thread(begun.wait, PATIENCE)
            await manager.cancel(task_id)
            await asyncio.to_thread(ended.wait, PATIENCE)
        return manager.get_task(task_id)

    record = asyncio.run(main())

    assert told.is_set()
    assert (record.status, record.error) == (TaskStatus.CANCELLED, REASON)
    assert (record.result, record.stacktrace) == (None, None)
    assert statuses() == ["running", "cancelled"]


def test_a_body_that_hides_its_cancellation_changes_nothing(
    manager: TaskManager, statuses: Callable[[], list[str]]
) -> None:
    @manager.task(retries=3)
    async def body() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
        return "went on"

    async def main() -> Any:
        async with manager:
            task_id = await _begun(manager, body)
            await manager.cancel(task_id)
        return manager.get_task(task_id)

    record = asyncio.run(main())

    assert (record.status, record.result) == (TaskStatus.CANCELLED, None)
    assert statuses() == ["running", "cancelled"]


def test_between_two_attempts_there_is_no_other_one(
    manager: TaskManager, statuses: Callable[[], list[str]]
) -> None:
    attempts: list[int] = []

    @manager.task(retries=3, delay=60)
    async def body() -> None:
        attempts.append(1)
        raise ValueError("boom")

    async def main() -> Any:
        async with manager:
            task_id = await _begun(manager, body)
            return await manager.cancel(task_id)

    record = asyncio.run(asyncio.wait_for(main(), PATIENCE))

    assert record.status is TaskStatus.CANCELLED
    assert attempts == [1]
    assert statuses() == ["running", "cancelled"]


def test_a_worker_process_is_ended(memory: InMemoryLogger, tmp_path: Path) -> None:
    manager = TaskManager(loggers=[memory], max_processes=1)
    manager.task(executor="process", retries=3)(time.sleep)

    async def main() -> Any:
        async with manager:
            task_id = await _begun(manager, time.sleep, 60.0)
            record = await manager.cancel(task_id)
            after = await manager.execute(time.sleep, 0.0)  # its slot is free again
        return record, after

    record, after = asyncio.run(asyncio.wait_for(main(), 3 * PATIENCE))

    assert record.status is TaskStatus.CANCELLED
    assert after.status is TaskStatus.SUCCESS
    told = [event.status.value for event in memory.lifecycle_events]
    assert told == ["running", "cancelled", "running", "success"]


def test_a_task_may_cancel_itself(manager: TaskManager, statuses: Callable[[], list[str]]) -> None:
    @manager.task()
    async def body() -> None:
        context = get_task_context()
        assert context is not None
        await manager.cancel(context.task_id, reason="no use")
        await asyncio.Event().wait()

    async def main() -> Any:
        async with manager:
            return await manager.execute(body)

    record = asyncio.run(asyncio.wait_for(main(), PATIENCE))

    assert (record.status, record.error) == (TaskStatus.CANCELLED, "no use")
    assert statuses() == ["running", "cancelled"]


def test_all_that_belongs_to_the_task_is_told(manager: TaskManager) -> None:
    told: dict[str, bool] = {}
    release = threading.Event()
    threads: list[threading.Thread] = []

    def look(name: str) -> None:
        context = get_task_context()
        assert context is not None
        while not context.cancelled:
            assert not release.wait(0.005)
        told[name] = context.cancelled

    async def child() -> None:
        context = get_task_context()
        try:
            await asyncio.Event().wait()
        finally:
            assert context is not None
            told["child"] = context.cancelled

    @manager.task()
    async def body() -> None:
        threads.append(threading.Thread(target=bind_task_context(look), args=("bound",)))
        threads[0].start()
        await asyncio.gather(child(), asyncio.to_thread(look, "to_thread"))

    async def main() -> None:
        async with manager:
            task_id = await _begun(manager, body)
            await manager.cancel(task_id)
            await asyncio.to_thread(threads[0].join, PATIENCE)

    asyncio.run(main())
    release.set()

    assert told == {"child": True, "bound": True, "to_thread": True}


def test_a_thread_that_an_earlier_attempt_left_behind_is_told_too(manager: TaskManager) -> None:
    told = threading.Event()

    def look() -> None:
        context = get_task_context()
        assert context is not None
        while not context.cancelled:
            threading.Event().wait(0.005)
        told.set()

    attempts: list[int] = []

    @manager.task(retries=1)
    async def body() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            threading.Thread(target=bind_task_context(look), daemon=True).start()
            raise ValueError("boom")
        await asyncio.Event().wait()

    async def main() -> None:
        async with manager:
            task_id = await _begun(manager, body)
            await _until(lambda: len(attempts) == 2)
            await manager.cancel(task_id)

    asyncio.run(asyncio.wait_for(main(), PATIENCE))

    assert told.wait(PATIENCE)


@pytest.mark.parametrize("status", ["success", "failed", "cancelled"])
def test_what_has_ended_cant_be_cancelled(manager: TaskManager, status: str) -> None:
    def body() -> None:
        if status == "failed":
            raise ValueError("boom")

    async def main() -> None:
        async with manager:
            tasks = ManagedBackgroundTasks(manager.engine)
            task_id = tasks.add_task(body)
            if status == "cancelled":
                await manager.cancel(task_id)
            await tasks()
            with pytest.raises(TaskEndedError, match=f"ended as {status}") as caught:
                await manager.cancel(task_id)
            assert (caught.value.task_id, caught.value.status) == (task_id, status)

    asyncio.run(main())


def test_an_unknown_task_and_a_reason_that_is_no_text_are_refused(manager: TaskManager) -> None:
    async def main() -> None:
        async with manager:
            with pytest.raises(TaskNotFoundError):
                await manager.cancel("x")
            with pytest.raises(ConfigurationTypeError, match="reason="):
                await manager.cancel("x", reason=1)  # type: ignore[arg-type]  # what is refused

    asyncio.run(main())


def test_secrets_are_taken_out_of_the_reason(memory: InMemoryLogger) -> None:
    manager = TaskManager(loggers=[memory], redact=["password"])

    async def main() -> Any:
        async with manager:
            task_id = ManagedBackgroundTasks(manager.engine).add_task(task_log, "x")
            return await manager.cancel(task_id, reason="password=hunter2")

    record = asyncio.run(main())

    assert "hunter2" not in str(record.error)
    assert "hunter2" not in str(memory.lifecycle_events)


def test_a_key_is_free_again(manager: TaskManager) -> None:
    async def main() -> Any:
        async with manager:
            tasks = ManagedBackgroundTasks(manager.engine)
            await manager.cancel(tasks.add_task(task_log, "x", idempotency_key="key"))
            return await manager.execute(task_log, "x", idempotency_key="key")

    assert asyncio.run(main()).status is TaskStatus.SUCCESS


def test_a_context_is_equal_to_its_like_and_to_copies_whatever_they_are_told() -> None:
    context, other = TaskContext("id", "send", 0), TaskContext("id", "send", 0)

    tell_cancelled(context)
    copies = [copy.deepcopy(context), pickle.loads(pickle.dumps(context))]

    assert context.cancelled
    assert not any(each.cancelled for each in (other, *copies))
    assert [other, *copies] == [context] * 3
    assert repr(context) == repr(other)
