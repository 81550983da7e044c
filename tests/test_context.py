"""Where a task is known: in what it awaits, gathers and runs in threads, and nowhere else."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from subprocess import CompletedProcess

import pytest

from fastapi_taskflow import (
    InMemoryLogger,
    TaskContext,
    TaskManager,
    TaskStatus,
    get_task_context,
    task_log,
)


@pytest.fixture
def memory() -> InMemoryLogger:
    return InMemoryLogger()


@pytest.fixture
def manager(memory: InMemoryLogger) -> TaskManager:
    return TaskManager(loggers=[memory])


def test_outside_a_task_there_is_none() -> None:
    assert get_task_context() is None


def test_it_has_the_tasks_id_name_attempt_and_tags(manager: TaskManager) -> None:
    @manager.task(name="mailer")
    def body() -> TaskContext | None:
        return get_task_context()

    record = manager.run(body, tags={"kind": "mail"})

    assert record.result == TaskContext(record.task_id, "mailer", 0, {"kind": "mail"})


def test_it_is_frozen() -> None:
    context = TaskContext("id", "send", 0)

    with pytest.raises(dataclasses.FrozenInstanceError):
        context.attempt = 1  # type: ignore[misc]  # it must not be possible
    assert context.tags == {}


def test_it_is_gone_when_the_task_has_ended(manager: TaskManager) -> None:
    async def main() -> TaskContext | None:
        await manager.execute(get_task_context)
        return get_task_context()

    assert asyncio.run(main()) is None


def test_tags_are_those_of_the_moment_of_enqueueing(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    tags = {"kind": "mail"}

    def body() -> None:
        tags["kind"] = "changed"
        task_log("x")

    manager.run(body, tags=tags)

    assert memory.log_events[0].tags == {"kind": "mail"}


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_it_counts_the_attempts_from_zero(manager: TaskManager, kind: str) -> None:
    seen: list[int] = []

    def sync_body() -> None:
        context = get_task_context()
        assert context is not None
        seen.append(context.attempt)
        if len(seen) < 3:
            raise ValueError("not yet")

    async def async_body() -> None:
        sync_body()

    body = manager.task(retries=2)(sync_body if kind == "sync" else async_body)
    manager.run(body)

    assert seen == [0, 1, 2]


def test_what_is_late_of_an_attempt_keeps_that_attempt(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    retried = asyncio.Event()
    late: list[asyncio.Task[None]] = []

    async def straggler() -> None:
        await retried.wait()
        task_log("late")

    @manager.task(retries=1)
    async def body() -> None:
        if not late:
            late.append(asyncio.create_task(straggler()))
            raise ValueError("not yet")
        retried.set()
        await late[0]
        task_log("in time")

    manager.run(body)

    assert [(event.message, event.attempt) for event in memory.log_events] == [
        ("late", 0),
        ("in time", 1),
    ]


def test_tasks_that_run_side_by_side_know_themselves_only(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    async def body(name: str) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            task_log(name)

    async def main() -> dict[str, str]:
        records = await asyncio.gather(*(manager.execute(body, name) for name in "abc"))
        return {record.task_id: name for record, name in zip(records, "abc", strict=True)}

    names = asyncio.run(main())

    assert len(memory.log_events) == 9
    assert all(names[event.task_id] == event.message for event in memory.log_events)


def test_a_task_run_within_a_task_has_its_own_and_gives_the_outer_back(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    async def inner() -> None:
        task_log("inner")

    async def outer() -> None:
        await manager.execute(inner)
        task_log("outer")

    record = manager.run(outer)

    first, second = memory.log_events
    assert (first.func_name, second.func_name) == ("inner", "outer")
    assert second.task_id == record.task_id != first.task_id


def test_it_follows_into_a_loop_that_a_sync_body_runs(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    async def inside() -> None:
        await asyncio.gather(*(asyncio.to_thread(task_log, "thread") for _ in range(2)))
        asyncio.get_running_loop().call_soon(task_log, "callback")
        await asyncio.sleep(0)

    record = manager.run(lambda: asyncio.run(inside()))

    assert [event.message for event in memory.log_events] == ["thread", "thread", "callback"]
    assert {event.task_id for event in memory.log_events} == {record.task_id}


def in_raw_thread(call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def in_executor(call: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(call).result()


@pytest.mark.parametrize("start", [in_raw_thread, in_executor])
def test_a_thread_of_ones_own_starts_without_it(
    manager: TaskManager, start: Callable[[Callable[[], object]], None]
) -> None:
    seen: list[TaskContext | None] = []

    record = manager.run(lambda: start(lambda: seen.append(get_task_context())))

    assert record.status is TaskStatus.SUCCESS
    assert seen == [None]


def test_worker_threads_forget_the_task_before(manager: TaskManager) -> None:
    seen = [manager.run(get_task_context) for _ in range(3)]

    assert [record.result.task_id for record in seen] == [record.task_id for record in seen]
    assert get_task_context() is None


def test_task_log_at_the_end_of_the_stack_raises_nothing_of_its_own(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    leaked: list[RecursionError] = []
    gc.collect()  # others' leavings must not be collected where there is no room for it

    def log() -> None:
        try:
            task_log("deep")
        except RecursionError as error:
            # Without a frame of its own, task_log could not even be called.
            if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
                leaked.append(error)

    def dive() -> None:
        try:
            dive()
            log()
        except RecursionError:
            log()

    def body() -> None:
        dive()
        task_log("after")

    record = manager.run(body)

    assert leaked == []
    assert record.status is TaskStatus.SUCCESS
    assert memory.log_events[-1].message == "after"


def test_a_call_without_a_calling_frame_is_a_line_all_the_same(
    run_python: Callable[..., CompletedProcess[str]],
) -> None:
    program = """
import atexit, logging
from fastapi_taskflow import task_log
logging.basicConfig(level="INFO", format="%(name)s: %(message)s")
atexit.register(task_log, "bye")
"""

    done = run_python(program)

    assert done.stderr == "fastapi_taskflow.task: bye\n"


def test_a_record_factory_gets_the_arguments_that_logging_gives_it(
    manager: TaskManager, caplog: pytest.LogCaptureFixture
) -> None:
    def factory(*fields: object) -> logging.LogRecord:
        name, level, path, line, message, args, exc_info, func, sinfo = fields
        record = logging.LogRecord(name, level, path, line, message, args, exc_info, func, sinfo)  # type: ignore[arg-type]  # as logging passes them
        record.request_id = "r1"
        return record

    logging.setLogRecordFactory(factory)  # noqa: TID251  # a user's
    caplog.set_level("INFO", logger="fastapi_taskflow.task")

    manager.run(lambda: task_log("x"))

    (record,) = [record for record in caplog.records if record.getMessage() == "x"]
    assert vars(record)["request_id"] == "r1"
