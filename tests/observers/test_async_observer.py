"""A custom async observer: in order, between its hooks, bounded in room and time, and harmless."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from fastapi_taskflow import (
    LifecycleEvent,
    LogEvent,
    ObserverHandler,
    TaskManager,
    TaskObserver,
    task_log,
)

RunSkipping = Callable[[Coroutine[Any, Any, Any]], Any]


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


async def count(upto: int = 3) -> None:
    for number in range(upto):
        task_log(str(number))


def count_in_thread(upto: int = 3) -> None:
    for number in range(upto):
        task_log(str(number))


@pytest.mark.parametrize("function", [count, count_in_thread])
def test_events_come_in_order_between_startup_and_close(function: Callable[..., Any]) -> None:
    observer = Recorder()

    async def main() -> None:
        async with TaskManager(loggers=[observer]) as manager:
            await manager.execute(function, 200)

    asyncio.run(main())

    numbers = [str(number) for number in range(200)]
    assert observer.told == ["startup", "running", *numbers, "success", "close"]


def test_events_before_startup_has_ended_are_held() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    class SlowToStart(Recorder):
        async def startup(self) -> None:
            begun.set()
            await go_on.wait()
            await super().startup()

    async def main() -> list[str]:
        observer = SlowToStart()
        manager = TaskManager(loggers=[observer], drain_timeout=0.0)
        async with asyncio.TaskGroup() as group:
            starting = group.create_task(manager.startup())
            await begun.wait()
            await manager.execute(count, 1)
            assert observer.told == []
            go_on.set()
            await starting
        await manager.shutdown()
        return observer.told

    assert asyncio.run(main()) == ["startup", "running", "0", "success", "close"]


def test_a_hanging_observer_holds_up_neither_the_task_nor_the_next_observer() -> None:
    go_on = asyncio.Event()

    class Hanging(Recorder):
        async def on_log(self, event: LogEvent) -> None:
            await go_on.wait()
            await super().on_log(event)

    class Releasing(Recorder):
        async def on_lifecycle(self, event: LifecycleEvent) -> None:
            await super().on_lifecycle(event)
            if event.status == "success":
                go_on.set()

    hanging, releasing = Hanging(), Releasing()

    async def main() -> None:
        async with TaskManager(loggers=[hanging, releasing]) as manager:
            await manager.execute(count)

    asyncio.run(main())

    assert hanging.told == releasing.told


def test_a_full_queue_drops_log_entries_but_never_a_status_and_counts_them(
    reports: list[logging.LogRecord],
) -> None:
    observer = Recorder()
    handler = ObserverHandler(observer, queue_size=4)

    async def main() -> TaskManager:
        async with TaskManager(loggers=[handler]) as manager:
            await manager.execute(count, 100)  # never gives the loop a turn
        return manager

    stats = asyncio.run(main()).observer_stats()["Recorder"]

    assert observer.told[:2] == ["startup", "running"]
    assert observer.told[-2:] == ["success", "close"]
    kept = observer.told[2:-2]
    assert kept == [str(number) for number in range(len(kept))]
    assert dict(stats.dropped) == {"overflow": 100 - len(kept)}
    assert (stats.delivered, stats.errors, stats.queued) == (2 + len(kept), 0, 0)
    assert 4 <= stats.high_water <= 5
    first, last = (report.getMessage() for report in reports)
    assert "lost events: overflow (1 since the last report" in first
    lost = stats.dropped["overflow"]
    assert f"in all {lost} events lost: overflow ({lost - 1} since the last report" in last


def test_a_whole_burst_fits_by_default() -> None:
    observer = Recorder()
    manager = TaskManager(loggers=[observer])

    manager.run(count, 9_000)

    assert len(observer.told) == 9_003
    assert dict(manager.observer_stats()["Recorder"].dropped) == {}


@pytest.mark.parametrize("timeout", [30.0, 0.5])
def test_an_event_is_cut_off_at_the_timeout_and_the_next_one_comes(
    run_skipping: RunSkipping, reports: list[logging.LogRecord], timeout: float
) -> None:
    waited: list[float] = []

    class Hanging(Recorder):
        async def on_log(self, event: LogEvent) -> None:
            start = asyncio.get_running_loop().time()
            try:
                await asyncio.Event().wait()
            finally:
                waited.append(asyncio.get_running_loop().time() - start)

    observer = Hanging()
    handler = (
        ObserverHandler(observer) if timeout == 30.0 else ObserverHandler(observer, timeout=timeout)
    )

    async def main() -> TaskManager:
        async with TaskManager(loggers=[handler], drain_timeout=600) as manager:
            await manager.execute(count, 2)
        return manager

    stats = run_skipping(main()).observer_stats()["Hanging"]

    assert waited == [pytest.approx(timeout)] * 2
    assert observer.told == ["startup", "running", "success", "close"]
    assert (stats.errors, stats.delivered) == (2, 2)
    assert "TimeoutError" in str(stats.last_error)
    assert ["in all 2 errors" in report.getMessage() for report in reports] == [False, True]


def test_an_event_that_was_cut_off_is_an_error_even_if_the_observer_hides_it(
    run_skipping: RunSkipping,
) -> None:
    class Hiding(Recorder):
        async def on_log(self, event: LogEvent) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    observer = Hiding()

    async def main() -> TaskManager:
        async with TaskManager(loggers=[ObserverHandler(observer, timeout=1)]) as manager:
            await manager.execute(count, 1)
        return manager

    stats = run_skipping(main()).observer_stats()["Hiding"]

    assert observer.told == ["startup", "running", "success", "close"]
    assert (stats.errors, stats.delivered) == (1, 2)


@pytest.mark.parametrize("method", ["startup", "on_log", "on_lifecycle", "close"])
def test_what_cannot_be_cancelled_holds_up_neither_start_nor_stop(
    run_skipping: RunSkipping, reports: list[logging.LogRecord], method: str
) -> None:
    let_go = asyncio.Event()

    async def hold_on(*event: object) -> None:
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()

    observer = Recorder()
    setattr(observer, method, hold_on)

    async def main() -> TaskManager:
        try:
            async with TaskManager(loggers=[ObserverHandler(observer, timeout=1)]) as manager:
                record = await manager.execute(count)
                assert record.status == "success"
            return manager
        finally:
            let_go.set()

    stats = run_skipping(main()).observer_stats()["Recorder"]

    assert stats.errors + sum(stats.dropped.values()) >= 1
    assert len(reports) >= 1


class _Outside(BaseException):
    """No Exception, such as what ``pytest.fail()`` raises."""


@pytest.mark.parametrize("method", ["startup", "on_log", "on_lifecycle", "close"])
@pytest.mark.parametrize(
    "error",
    [ValueError("no"), asyncio.CancelledError(), SystemExit(3), RecursionError(), _Outside()],
    ids=lambda error: type(error).__name__,
)
def test_what_a_method_raises_is_counted_and_reported_and_the_rest_goes_on(
    run_skipping: RunSkipping, reports: list[logging.LogRecord], error: BaseException, method: str
) -> None:
    async def fail(*event: object) -> None:
        raise error

    observer, other = Recorder(), Recorder()
    setattr(observer, method, fail)

    async def main() -> TaskManager:
        async with TaskManager(loggers=[observer, other]) as manager:
            record = await manager.execute(count, 1)
            assert (record.status, record.error) == ("success", None)
        return manager

    stats = run_skipping(main()).observer_stats()

    whole = ["startup", "running", "0", "success", "close"]
    missing = {"on_log": ["0"], "on_lifecycle": ["running", "success"]}.get(method, [method])
    assert other.told == whole
    assert observer.told == [told for told in whole if told not in missing]
    assert stats["Recorder"].errors == len(missing)
    assert type(error).__name__ in str(stats["Recorder"].last_error)
    assert stats["Recorder-2"].errors == 0
    said = [report.getMessage() for report in reports]
    assert ["Observer Recorder failed" in text for text in said] == [True, False][: len(missing)]
    assert "is closed; in all 2 errors" in said[-1] or len(missing) == 1


@pytest.mark.parametrize("method", ["startup", "close"])
def test_a_hook_gets_ten_seconds(
    run_skipping: RunSkipping, reports: list[logging.LogRecord], method: str
) -> None:
    waited: list[float] = []

    async def hang() -> None:
        start = asyncio.get_running_loop().time()
        try:
            await asyncio.Event().wait()
        finally:
            waited.append(asyncio.get_running_loop().time() - start)

    observer = Recorder()
    setattr(observer, method, hang)

    async def main() -> None:
        async with TaskManager(loggers=[observer]) as manager:
            await manager.execute(count, 1)

    run_skipping(main())

    assert waited == [pytest.approx(10.0)]
    assert observer.told[-4:] in (
        ["running", "0", "success", "close"],
        ["startup", *observer.told[1:]],
    )
    assert len(reports) == 1


def test_what_hangs_in_a_thread_of_the_observers_is_no_matter_for_the_task() -> None:
    release = threading.Event()

    class Blocking(Recorder):
        async def on_log(self, event: LogEvent) -> None:
            await asyncio.to_thread(release.wait)
            await super().on_log(event)

    observer = Blocking()

    async def main() -> None:
        async with TaskManager(loggers=[observer], drain_timeout=0.0) as manager:
            record = await manager.execute(count, 1)
            assert record.status == "success"
            release.set()
            handler = observer.handler
            assert isinstance(handler, ObserverHandler)
            await handler.drain()

    asyncio.run(main())

    assert observer.told == ["startup", "running", "0", "success", "close"]
