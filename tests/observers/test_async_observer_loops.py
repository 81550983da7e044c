"""A custom async observer without a lifespan, on loops that come and go; and what it is told."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from fastapi_taskflow import (
    FileLogger,
    InMemoryLogger,
    LifecycleEvent,
    LogEvent,
    ManagedBackgroundTasks,
    ObserverHandler,
    TaskManager,
    TaskObserver,
    task_log,
)


class Recorder(TaskObserver):
    """Writes down what it is told, in the order in which it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def on_log(self, event: LogEvent) -> None:
        self.told.append(event.message)

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        self.told.append(event.status.value)

    async def startup(self) -> None:
        self.told.append("startup")

    async def close(self) -> None:
        self.told.append("close")


async def greet(text: str = "hello", level: str = "info") -> None:
    task_log(text, level=level)


async def greet_and_fail() -> None:
    task_log("hello")
    raise ValueError("no")


def app_of(manager: TaskManager) -> FastAPI:
    app = FastAPI()

    @app.post("/")
    def enqueue(
        text: str,
        tasks: ManagedBackgroundTasks = Depends(manager.get_tasks),  # noqa: B008,FAST002
    ) -> str:
        return tasks.add_task(greet, text)

    return app


def test_in_a_script_all_events_are_delivered_before_run_returns() -> None:
    observer = Recorder()
    manager = TaskManager(loggers=[observer])

    manager.run(greet)

    assert observer.told == ["startup", "running", "hello", "success"]


def test_each_run_has_a_new_loop_and_startup_is_not_repeated() -> None:
    observer = Recorder()
    manager = TaskManager(loggers=[observer])

    for text in ("one", "two"):
        manager.run(greet, text)
    asyncio.run(manager.shutdown())

    one, two = (["running", text, "success"] for text in ("one", "two"))
    assert observer.told == ["startup", *one, *two, "close"]


def test_after_a_shutdown_it_starts_up_again() -> None:
    observer = Recorder()
    manager = TaskManager(loggers=[observer])

    for _ in range(2):
        manager.run(greet)
        asyncio.run(manager.shutdown())

    assert observer.told == ["startup", "running", "hello", "success", "close"] * 2


def test_a_client_without_a_lifespan_delivers_before_the_request_returns() -> None:
    observer = Recorder()
    client = TestClient(app_of(TaskManager(loggers=[observer])))

    client.post("/", params={"text": "one"})
    after_one = observer.told[:]
    client.post("/", params={"text": "two"})

    assert after_one == ["startup", "running", "one", "success"]
    assert observer.told == [*after_one, "running", "two", "success"]


def test_an_app_with_a_lifespan_starts_it_up_and_closes_it_each_time() -> None:
    observer = Recorder()
    manager = TaskManager(loggers=[observer])
    app = app_of(manager)
    manager.init_app(app)

    for _ in range(2):
        with TestClient(app) as client:
            client.post("/", params={"text": "hello"})

    assert observer.told == ["startup", "running", "hello", "success", "close"] * 2


def test_a_manager_whose_loop_is_not_running_delivers_on_another_one() -> None:
    observer = Recorder()
    manager = TaskManager(loggers=[observer])

    with asyncio.Runner() as runner:
        runner.run(manager.startup())
        manager.run(greet)
        delivered = observer.told[:]
        runner.run(manager.shutdown())

    assert delivered == ["startup", "running", "hello", "success"]
    assert observer.told == [*delivered, "close"]


def test_a_manager_whose_loop_was_closed_delivers_on_another_one() -> None:
    observer = Recorder()
    manager = TaskManager(loggers=[observer])

    asyncio.run(manager.startup())
    manager.run(greet)
    asyncio.run(manager.shutdown())

    assert observer.told == ["startup", "running", "hello", "success", "close"]


def test_a_sync_body_that_runs_a_loop_of_its_own_is_observed_on_the_managers() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    class Locating(Recorder):
        async def on_log(self, event: LogEvent) -> None:
            await super().on_log(event)
            loops.append(asyncio.get_running_loop())

    observer = Locating()

    def body() -> None:
        asyncio.run(greet())

    async def main() -> asyncio.AbstractEventLoop:
        async with TaskManager(loggers=[observer]) as manager:
            await manager.execute(body)
        return asyncio.get_running_loop()

    loop = asyncio.run(main())

    assert loops == [loop]
    assert observer.told == ["startup", "running", "hello", "success", "close"]


def test_a_script_that_just_ends_closes_its_observer(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    program = """
from fastapi_taskflow import TaskManager, TaskObserver, task_log

class Printing(TaskObserver):
    async def on_log(self, event): print(event.message)
    async def on_lifecycle(self, event): print(event.status.value)
    async def startup(self): print("startup")
    async def close(self): print("close")

async def greet(): task_log("hello")

manager = TaskManager(loggers=[Printing()])
manager.run(greet)
"""

    outcome = run_python(program)

    assert outcome.stdout.split() == ["startup", "running", "hello", "success", "close"]
    assert (outcome.stderr, outcome.returncode) == ("", 0)


def test_one_observer_of_two_managers_hears_both() -> None:
    observer = Recorder()

    async def main() -> None:
        first, second = TaskManager(loggers=[observer]), TaskManager(loggers=[observer])
        async with second:
            async with first:
                await first.execute(greet, "of the first")
            await second.execute(greet, "of the second")

    asyncio.run(main())

    logged = [told for told in observer.told if told.startswith("of the")]
    assert logged == ["of the first", "of the second"]


def test_an_observer_is_not_fed_what_it_logs_itself() -> None:
    class Echoing(Recorder):
        async def on_log(self, event: LogEvent) -> None:
            await super().on_log(event)
            task_log(f"echo of {event.message}")

        async def on_lifecycle(self, event: LifecycleEvent) -> None:
            await super().on_lifecycle(event)
            task_log(f"echo of {event.status.value}")

    observer, memory = Echoing(), InMemoryLogger()

    TaskManager(loggers=[observer, memory]).run(greet)

    assert observer.told == ["startup", "running", "hello", "success"]
    assert [event.message for event in memory.log_events] == ["hello"]


@pytest.mark.parametrize("where", ["class", "instance", "property"])
@pytest.mark.parametrize(
    ("level", "function", "told"),
    [
        pytest.param(None, greet, ["running", "hello", "success"], id="unset"),
        pytest.param("info", greet, ["running", "hello", "success"], id="info"),
        pytest.param("WARNING", greet, [], id="warning"),
        pytest.param(40, greet_and_fail, ["failed"], id="number of error"),
        pytest.param("critical", greet_and_fail, [], id="critical"),
    ],
)
def test_min_level_filters_entries_and_statuses_by_their_level(
    where: str, level: str | int | None, function: Callable[..., object], told: list[str]
) -> None:
    class Choosy(Recorder):
        min_level = level if where == "class" else None

    class Computed(Recorder):
        @property
        def min_level(self) -> str | int | None:  # type: ignore[override]  # users do this
            return level

    observer = Computed() if where == "property" else Choosy()
    if where == "instance":
        observer.min_level = level  # type: ignore[misc]  # the other class has a property

    TaskManager(loggers=[observer]).run(function)

    assert observer.told == ["startup", *told]


@pytest.mark.parametrize("method", ["on_log", "on_lifecycle", "startup", "close"])
def test_a_method_that_is_not_async_is_refused_at_construction(method: str) -> None:
    observer = type("Plain", (Recorder,), {method: lambda self, *event: None})()

    with pytest.raises(TypeError, match=rf"(?s)observer=.*Plain.*async.*{method}"):
        TaskManager(loggers=[observer])


def test_a_handler_with_its_own_bounds_is_taken_as_it_is() -> None:
    handler = ObserverHandler(Recorder(), queue_size=7, timeout=0.5)

    manager = TaskManager(loggers=[handler, InMemoryLogger()])

    assert (handler.queue_size, handler.timeout) == (7, 0.5)
    assert list(manager.observer_stats()) == ["Recorder", "InMemoryLogger", "pipeline"]


@pytest.mark.parametrize("hook", ["startup", "close"])
def test_a_composite_whose_file_cannot_be_opened_is_reported_and_the_app_goes_on(
    tmp_path: Path, hook: str, run_skipping: Callable[..., TaskManager]
) -> None:
    class Composite(Recorder):
        file = FileLogger(tmp_path)

    async def open_file() -> None:
        await Composite.file.startup()

    observer = Composite()
    setattr(observer, hook, open_file)

    async def main() -> TaskManager:
        async with TaskManager(loggers=[observer]) as manager:
            await manager.execute(greet)
        return manager

    stats = run_skipping(main()).observer_stats()["Composite"]

    assert [told for told in observer.told if told == "hello"] == ["hello"]
    assert stats.errors == 1
    assert "LogFileError" in str(stats.last_error)
