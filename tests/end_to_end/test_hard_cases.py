"""What only happens under stress: locks, loops and threads that meet, values that fight back."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fastapi_taskflow import (
    FileLogger,
    InMemoryLogger,
    LogEvent,
    LogFileError,
    TaskAdmin,
    TaskArgumentError,
    TaskManager,
    TaskObserver,
    TaskStatus,
    task_log,
)

REPORT_MEETS_HANDLER = """
import contextvars, logging, threading
from fastapi_taskflow import TaskManager, task_log
from fastapi_taskflow.loggers.memory import InMemoryLogger

in_handler, reporting = threading.Event(), threading.Event()

class Echo(logging.Handler):
    # A handler of the user's that logs to the task while it has its own lock.
    def emit(self, record):
        if record.name == "app":
            in_handler.set()
            reporting.wait(5)
            task_log("echo")

class Failing(InMemoryLogger):
    pass

failing = Failing()
def emit(record):
    in_handler.wait(5)
    reporting.set()
    raise OSError("reported on root, whose handler is busy")
failing.handler.emit = emit

logging.root.addHandler(Echo())
manager = TaskManager(loggers=[failing])
logging.getLogger("fastapi_taskflow.lifecycle").setLevel("CRITICAL")

def body():
    other = threading.Thread(
        target=contextvars.copy_context().run,
        args=(logging.getLogger("app").warning, "x"),
    )
    other.start()
    task_log("one")
    other.join()

print(manager.run(body).status.value)
"""


def test_a_report_waits_for_no_handler_with_our_locks_in_hand(run_python: Any) -> None:
    done = run_python(REPORT_MEETS_HANDLER, timeout=30.0)

    assert done.stdout == "success\n", done.stderr


class Unreadable(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        raise OSError("gone")

    def __len__(self) -> int:
        return 1


def _released() -> memoryview:
    view = memoryview(b"x")
    view.release()
    return view


@pytest.mark.parametrize("value", [Unreadable(), _released()], ids=["mapping", "memoryview"])
def test_a_value_that_cant_be_read_costs_neither_the_database_nor_an_answer(
    value: object, tmp_path: Path
) -> None:
    manager = TaskManager(snapshot_db=tmp_path / "tasks.db")
    app = FastAPI()
    TaskAdmin(app, manager)

    with TestClient(app) as client:
        first = manager.run(lambda: task_log("odd", value=value))
        manager.run(task_log, "plain")
        listed = client.get("/tasks").json()
        entries = client.get(f"/tasks/{first.task_id}/logs").json()

    assert [task["status"] for task in listed] == ["success", "success"]
    assert entries[0]["extra"] == {"value": f"<unreadable {type(value).__name__}>"}
    stored = TaskManager(snapshot_db=tmp_path / "tasks.db").get_task(first.task_id)
    assert len(stored.logs) == 1


def test_two_loops_that_share_an_observer_lose_and_hold_nothing() -> None:
    class Slow(TaskObserver):
        def __init__(self) -> None:
            self.told: set[tuple[str, int]] = set()

        async def on_log(self, event: LogEvent) -> None:
            await asyncio.sleep(0.001)
            self.told.add((event.task_id, event.seq))

    slow = Slow()
    manager = TaskManager(loggers=[slow])

    def log(count: int) -> None:
        for number in range(count):
            task_log(number)

    threads = [threading.Thread(target=manager.run, args=(log, n)) for n in (5, 40, 80)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    stats = manager.observer_stats()["Slow"]
    assert len(slow.told) == 125
    assert (dict(stats.dropped), stats.errors, stats.queued) == ({}, 0, 0)


def test_events_are_delivered_while_a_task_runs_without_a_lifespan() -> None:
    memory = InMemoryLogger()

    class Counter(TaskObserver):
        async def on_log(self, event: LogEvent) -> None:
            await memory.on_log(event)

    async def body() -> int:
        task_log("x")
        async with asyncio.timeout(30):
            while not memory.log_events:  # noqa: ASYNC110  # what is told is what is tested
                await asyncio.sleep(0)
        return len(memory.log_events)

    assert TaskManager(loggers=[Counter()]).run(body).result == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit])
def test_a_sync_body_that_raises_what_ends_loops_only_fails_its_task(
    error: type[BaseException],
) -> None:
    def body() -> None:
        raise error

    record = TaskManager().run(body)

    assert record.status is TaskStatus.FAILED


def test_a_system_without_threads_fails_the_task_and_keeps_the_slot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manager = TaskManager(max_sync_threads=1)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        refused = manager.run(task_log, "x")
    after = manager.run(task_log, "x")

    assert (refused.status, refused.error) == (TaskStatus.FAILED, "can't start new thread")
    assert after.status is TaskStatus.SUCCESS


def test_a_body_that_hides_its_timeout_has_failed_all_the_same() -> None:
    manager = TaskManager()

    @manager.task(timeout=0.01)
    async def body() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "hidden"
        return "never"

    assert manager.run(body).status is TaskStatus.FAILED


def test_what_a_failing_start_opened_is_closed(tmp_path: Path) -> None:
    good = FileLogger(tmp_path / "good.log")
    manager = TaskManager(loggers=[good, FileLogger(tmp_path)], snapshot_db=tmp_path / "t.db")

    with pytest.raises(LogFileError):
        asyncio.run(manager.startup())

    assert good.handler.stream is None


def test_starts_at_once_are_one_start() -> None:
    started: list[str] = []

    class Slow(TaskObserver):
        async def startup(self) -> None:
            await asyncio.sleep(0)
            started.append("up")

        async def close(self) -> None:
            started.append("down")

    manager = TaskManager(loggers=[Slow()])

    async def main() -> None:
        await asyncio.gather(manager.startup(), manager.startup())
        await manager.shutdown()
        assert started == ["up"]
        await manager.shutdown()

    asyncio.run(main())
    assert started == ["up", "down"]


def _generator() -> Iterator[int]:
    yield 1


async def _async_generator() -> Any:
    yield 1


@pytest.mark.parametrize("call", [_generator, _async_generator])
def test_a_generator_function_is_refused_since_its_call_runs_nothing(
    call: Callable[..., Any],
) -> None:
    with pytest.raises(TaskArgumentError, match="generator function"):
        TaskManager().run(call)


def test_a_built_in_observers_subclass_is_heard() -> None:
    class Loud(InMemoryLogger):
        async def on_log(self, event: LogEvent) -> None:
            if event.extra.get("keep"):
                await super().on_log(event)

    loud = Loud()

    def body() -> None:
        task_log("dropped")
        task_log("kept", keep=True)

    TaskManager(loggers=[loud]).run(body)

    assert [event.message for event in loud.log_events] == ["kept"]


def test_what_the_users_filters_turn_away_is_no_delivery() -> None:
    handler = logging.NullHandler()
    picky = logging.StreamHandler()
    picky.addFilter(lambda record: False)
    logging.root.handlers[:] = [handler, picky]
    logging.root.setLevel("INFO")
    manager = TaskManager()

    manager.run(task_log, "x")

    stats = manager.observer_stats()["pipeline"]
    assert (stats.delivered, stats.filtered) == (0, 3)


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
def test_odd_questions_to_the_list_are_answered(backend: str, tmp_path: Path) -> None:
    database = tmp_path / "tasks.db" if backend == "sqlite" else None
    manager = TaskManager(snapshot_db=database)
    app = FastAPI()
    TaskAdmin(app, manager)

    with TestClient(app) as client:
        manager.run(task_log, "x", tags={'a"b': "c"})
        quoted = client.get("/tasks", params={"tag": 'a"b:c'})
        ancient = client.get("/tasks", params={"since": "0001-01-01T00:00:00+14:00"})
        full = client.get("/tasks", params={"limit": 1})
        twice = client.get("/tasks", params={"tag": ["k:1", "k:2"]})

    assert len(quoted.json()) == len(ancient.json()) == 1
    assert "Link" not in full.headers
    assert twice.status_code == 400
    assert "a task has one" in twice.json()["detail"]


def test_an_error_that_no_coroutine_can_raise_is_tried_again_like_others() -> None:
    manager = TaskManager()

    @manager.task(retries=2, retry_on=StopIteration)
    def body() -> None:
        raise StopIteration("no more")

    record = manager.run(body)

    assert (record.retries_used, record.error) == (2, "no more")


def test_a_class_is_called_even_where_its_instances_are_async() -> None:
    class Job:
        async def __call__(self) -> None:
            """Be called later, by somebody else."""

    assert isinstance(TaskManager().run(Job).result, Job)


def test_a_body_that_makes_an_error_of_its_interruption_is_not_tried_again() -> None:
    manager = TaskManager(shutdown_timeout=0.0)
    calls: list[asyncio.Event] = []

    @manager.task(retries=3)
    async def body() -> None:
        calls.append(asyncio.Event())
        try:
            await calls[-1].wait()
        except asyncio.CancelledError as error:
            raise ConnectionError("closed under me") from error

    async def main() -> TaskStatus:
        async with manager:
            task = asyncio.create_task(manager.execute(body))
            async with asyncio.timeout(30):
                while not calls:  # noqa: ASYNC110  # the body has only just begun
                    await asyncio.sleep(0)
        return (await task).status

    assert asyncio.run(main()) is TaskStatus.INTERRUPTED
    assert len(calls) == 1
