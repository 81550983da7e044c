"""Async observers beside each other: own queues and consumers, few wake-ups, loops that change."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from freezegun import freeze_time

from fastapi_taskflow import (
    LifecycleEvent,
    LogEvent,
    ManagedBackgroundTasks,
    ObserverHandler,
    TaskManager,
    TaskObserver,
    bind_task_context,
    task_log,
)
from fastapi_taskflow.loggers import consumer, turns
from fastapi_taskflow.loggers.consumer import LINGER

PATIENCE = 30.0
"""Seconds after which a test gives up on what should happen at once."""

RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


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


def numbers(upto: int) -> list[str]:
    return [str(number) for number in range(upto)]


def count_in_thread(upto: int) -> None:
    for number in range(upto):
        task_log(str(number))


async def count(upto: int) -> None:
    count_in_thread(upto)


def burst(threads: int, entries: int) -> None:
    """Log from several threads at once, and wait for them."""
    workers = [
        threading.Thread(target=bind_task_context(count_in_thread), args=(entries,))
        for _ in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


WHERE = pytest.mark.parametrize("function", [count, count_in_thread])


async def within(patience: float, main: Any) -> Any:
    async with asyncio.timeout(patience):
        return await main


# Beside each other


@WHERE
def test_observers_that_wait_for_each_other_at_every_event_get_them_all(
    function: Callable[..., Any],
) -> None:
    meeting = asyncio.Barrier(3)

    class Meeting(Recorder):
        async def on_log(self, event: LogEvent) -> None:
            await meeting.wait()
            await super().on_log(event)

        async def on_lifecycle(self, event: LifecycleEvent) -> None:
            await meeting.wait()
            await super().on_lifecycle(event)

        async def startup(self) -> None:
            await meeting.wait()
            await super().startup()

        async def close(self) -> None:
            await meeting.wait()
            await super().close()

    observers = [Meeting() for _ in range(3)]

    async def main() -> None:
        async with TaskManager(loggers=observers) as manager:
            await manager.execute(function, 20)

    asyncio.run(within(PATIENCE, main()))

    whole = ["startup", "running", *numbers(20), "success", "close"]
    assert [observer.told for observer in observers] == [whole] * 3


def test_one_event_after_the_other_reaches_an_observer_whichever_tasks_they_are_of() -> None:
    inside = 0
    most = 0

    class Alone(Recorder):
        async def on_log(self, event: LogEvent) -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1
            await super().on_log(event)

    observer = Alone()

    async def main() -> None:
        async with TaskManager(loggers=[observer]) as manager, asyncio.TaskGroup() as group:
            for function in (count, count_in_thread) * 4:
                group.create_task(manager.execute(function, 25))

    asyncio.run(within(PATIENCE, main()))

    assert most == 1
    assert sorted(observer.told.count(number) for number in numbers(25)) == [8] * 25


def test_one_whose_queue_is_full_costs_the_next_one_nothing() -> None:
    small, large = Recorder(), Recorder()
    manager = TaskManager(loggers=[ObserverHandler(small, queue_size=4), large])

    manager.run(count, 500)

    stats = manager.observer_stats()
    assert large.told == ["startup", "running", *numbers(500), "success"]
    assert dict(stats["Recorder-2"].dropped) == {}
    assert stats["Recorder-2"].delivered == 502
    assert stats["Recorder"].dropped["overflow"] == 500 - (len(small.told) - 3)
    assert [told for told in small.told if not told.isdigit()] == ["startup", "running", "success"]


def test_one_that_hangs_at_each_event_is_cut_off_while_the_next_one_has_them_all() -> None:
    class Hanging(Recorder):
        async def on_log(self, event: LogEvent) -> None:
            await asyncio.Event().wait()

        async def on_lifecycle(self, event: LifecycleEvent) -> None:
            await asyncio.Event().wait()

    hanging, sound = Hanging(), Recorder()
    manager = TaskManager(
        loggers=[ObserverHandler(hanging, timeout=0.01), sound], drain_timeout=PATIENCE
    )

    manager.run(count, 5)

    stats = manager.observer_stats()
    assert sound.told == ["startup", "running", *numbers(5), "success"]
    assert (stats["Hanging"].errors, stats["Hanging"].delivered) == (7, 0)
    assert stats["Recorder"].errors == 0


# The loop is woken rarely


class CountingLoop(asyncio.SelectorEventLoop):
    """A real loop that counts how often it is woken from other threads, and by timers of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.woken = 0
        self.looks = 0

    def call_later(  # type: ignore[override]  # it only passes on what it gets
        self, delay: float, *args: Any, **kwargs: Any
    ) -> asyncio.TimerHandle:
        self.looks += delay == LINGER
        return super().call_later(delay, *args, **kwargs)

    def call_soon_threadsafe(  # type: ignore[override]  # it only passes on what it gets
        self, *args: Any, **kwargs: Any
    ) -> asyncio.Handle:
        self.woken += 1
        return super().call_soon_threadsafe(*args, **kwargs)


def run_counted(body: Callable[[], Any], observers: Sequence[Any]) -> None:
    """Run a body, which raises nothing, as a task on such a loop."""

    async def main() -> None:
        async with TaskManager(loggers=observers) as manager:
            record = await manager.execute(body)
            assert record.error is None

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        runner.run(within(PATIENCE, main()))


class Idle(Recorder):
    """Says when it was told that a task runs."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = asyncio.Event()

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        await super().on_lifecycle(event)
        self.runs.set()


@pytest.mark.parametrize("observed_by", [1, 3])
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("bursts", [1, 5])
@pytest.mark.parametrize("queue_size", [10_000, 900], ids=["roomy", "soon half full"])
def test_a_burst_of_a_thread_wakes_the_loop_at_most_once_for_each_observer(
    queue_size: int, bursts: int, threads: int, observed_by: int
) -> None:
    observers = [Idle() for _ in range(observed_by)]
    handlers = [ObserverHandler(observer, queue_size=queue_size) for observer in observers]
    woken: list[int] = []

    async def body() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        for observer in observers:
            await observer.runs.wait()
        for _ in range(bursts):
            for _ in range(50):  # until the consumers have nothing to do
                await asyncio.sleep(0)
            before = loop.woken
            burst(threads, 600 // threads)  # meanwhile the loop stands still
            woken.append(loop.woken - before)
            while any(len(o.told) < 2 + len(woken) * 600 for o in observers):  # noqa: ASYNC110  # a state, and no event of it
                await asyncio.sleep(0)

    run_counted(body, handlers)

    assert woken[0] == observed_by  # it was asleep; then it has an eye on the thread for a while
    assert max(woken) == observed_by
    assert queue_size > 600 * 2 or woken == [observed_by] * bursts


def test_a_thread_that_goes_on_does_not_wake_the_loop_for_each_of_its_bursts() -> None:
    observer = Idle()
    woken: list[int] = []

    async def body() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        await observer.runs.wait()
        before = loop.woken
        for number in range(200):
            burst(1, 1)
            while len(observer.told) < 3 + number:  # noqa: ASYNC110  # a state, and no event of it
                await asyncio.sleep(0)
        woken.append(loop.woken - before)

    run_counted(body, [observer])

    assert woken[0] < 150


def test_one_that_was_woken_looks_once_more_and_sleeps_then() -> None:
    observer = Idle()
    timers: list[int] = []

    async def body() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        await observer.runs.wait()
        before = loop.looks
        burst(1, 10)
        while len(observer.told) < 12:  # noqa: ASYNC110  # a state, and no event of it
            await asyncio.sleep(0)
        await asyncio.sleep(LINGER * 20)
        timers.append(loop.looks - before)

    run_counted(body, [observer])

    assert timers == [1]


def test_a_burst_on_the_loop_itself_does_not_wake_it() -> None:
    observer = Idle()
    woken: list[int] = []

    async def body() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        await observer.runs.wait()
        before = loop.woken
        for number in range(1000):
            task_log(str(number))
            if number % 10 == 0:
                await asyncio.sleep(0)
        woken.append(loop.woken - before)

    run_counted(body, [observer])

    assert woken == [0]
    assert observer.told == ["startup", "running", *numbers(1000), "success", "close"]


# Bounded, and counted


def test_what_is_held_until_startup_is_bounded_and_loses_no_status() -> None:
    go_on = asyncio.Event()

    class SlowToStart(Recorder):
        async def startup(self) -> None:
            await go_on.wait()
            await super().startup()

    observer = SlowToStart()
    manager = TaskManager(loggers=[ObserverHandler(observer, queue_size=10)], drain_timeout=0.0)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            starting = group.create_task(manager.startup())
            for _ in range(5):
                await manager.execute(count, 8)
            assert observer.told == []
            before = manager.observer_stats()["SlowToStart"]
            assert before.queued == 10 + 8  # eight statuses more than fit
            assert before.delivered == 0
            go_on.set()
            await starting
        await manager.shutdown()

    asyncio.run(within(PATIENCE, main()))

    stats = manager.observer_stats()["SlowToStart"]
    assert observer.told == [
        *["startup", "running", *numbers(8), "success"],
        *["running", "success"] * 4,
        "close",
    ]
    assert dict(stats.dropped) == {"overflow": 4 * 8}
    assert (stats.delivered, stats.queued, stats.errors) == (18, 0, 0)


def test_every_event_of_many_threads_is_delivered_or_counted_and_no_status_is_lost() -> None:
    observer = Recorder()
    manager = TaskManager(
        loggers=[ObserverHandler(observer, queue_size=50)], drain_timeout=PATIENCE
    )

    def body() -> None:
        burst(3, 200)

    async def main() -> None:
        async with manager, asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(manager.execute(body))

    asyncio.run(within(PATIENCE, main()))

    stats = manager.observer_stats()["Recorder"]
    assert [observer.told.count(status) for status in ("running", "success")] == [4, 4]
    assert stats.delivered == len(observer.told) - len(["startup", "close"])
    assert stats.delivered + stats.dropped.get("overflow", 0) == 4 * (2 + 3 * 200)
    assert (stats.queued, stats.errors) == (0, 0)
    assert (observer.told[0], observer.told[-1]) == ("startup", "close")


def test_what_a_shutdown_has_no_time_for_is_counted_and_close_comes_last() -> None:
    release = asyncio.Event()

    class Stuck(Recorder):
        async def on_log(self, event: LogEvent) -> None:
            await release.wait()
            await super().on_log(event)

    observer = Stuck()

    async def main() -> TaskManager:
        manager = TaskManager(loggers=[observer], drain_timeout=0.0)
        async with manager:
            await manager.execute(count, 10)
        return manager

    stats = asyncio.run(within(PATIENCE, main())).observer_stats()["Stuck"]

    assert observer.told == ["startup", *observer.told[1:-1], "close"]
    assert stats.delivered + stats.dropped["shutdown"] == 12
    assert (stats.queued, stats.errors) == (0, 0)


# Wherever there is a loop


def app_of(manager: TaskManager, function: Callable[..., Any]) -> FastAPI:
    app = FastAPI()

    @app.post("/")
    def enqueue(
        tasks: ManagedBackgroundTasks = Depends(manager.get_tasks),  # noqa: B008,FAST002
    ) -> None:
        for upto in (3, 2):
            tasks.add_task(function, upto)

    return app


TWO_TASKS = ["running", "0", "1", "2", "success", "running", "0", "1", "success"]


@WHERE
@pytest.mark.parametrize("with_lifespan", [True, False])
def test_a_client_used_as_a_context_manager_or_not_has_everything(
    function: Callable[..., Any], with_lifespan: bool
) -> None:
    observers = [Recorder(), Recorder()]
    manager = TaskManager(loggers=observers)
    app = app_of(manager, function)
    if with_lifespan:
        manager.init_app(app)

    with TestClient(app) as client:
        for _ in range(3):
            client.post("/")
        before_the_end = [observer.told[:] for observer in observers]
    asyncio.run(manager.shutdown())

    whole = ["startup", *TWO_TASKS * 3, "close"]
    assert [observer.told for observer in observers] == [whole] * 2
    if not with_lifespan:
        assert before_the_end == [whole[:-1]] * 2


@WHERE
def test_a_client_that_is_never_entered_has_everything_at_each_answer(
    function: Callable[..., Any],
) -> None:
    observer = Recorder()
    manager = TaskManager(loggers=[observer])
    app = app_of(manager, function)
    manager.init_app(app)
    client = TestClient(app)

    for requests in (1, 2, 3):
        client.post("/")
        assert observer.told == ["startup", *TWO_TASKS * requests]

    asyncio.run(manager.shutdown())
    assert observer.told[-1] == "close"


@WHERE
def test_loops_that_replace_each_other_lose_and_repeat_nothing(
    function: Callable[..., Any],
) -> None:
    loops: set[int] = set()

    class Counting(Recorder):
        async def on_log(self, event: LogEvent) -> None:
            await asyncio.sleep(0)
            loops.add(id(asyncio.get_running_loop()))
            await super().on_log(event)

    observer = Counting()
    manager = TaskManager(loggers=[observer])
    kept = []
    for _ in range(5):
        loop = asyncio.new_event_loop()
        kept.append(loop)  # so that no two have one id
        loop.run_until_complete(within(PATIENCE, manager.execute(function, 70)))
        loop.close()

    assert observer.told == ["startup", *["running", *numbers(70), "success"] * 5]
    assert loops == {id(loop) for loop in kept}


def test_what_waited_when_a_loop_was_closed_is_delivered_on_the_next_one_in_order() -> None:
    stuck = asyncio.Event()

    class StuckAtFirst(Recorder):
        async def on_log(self, event: LogEvent) -> None:
            if not stuck.is_set():
                stuck.set()
                await asyncio.Event().wait()
            await super().on_log(event)

    observer = StuckAtFirst()
    manager = TaskManager(loggers=[observer], drain_timeout=0.0)

    async def first() -> None:
        await manager.execute(count, 5)
        await stuck.wait()

    async def second() -> None:
        await manager.execute(count, 1)
        handler = observer.handler
        assert isinstance(handler, ObserverHandler)
        await handler.drain()

    for main in (first, second):
        asyncio.run(within(PATIENCE, main()))

    assert observer.told == [
        *["startup", "running", *numbers(5), "success"],
        *["running", "0", "success"],
    ]
    assert manager.observer_stats()["StuckAtFirst"].errors == 0


SCRIPT = """
import asyncio, sys, threading
from fastapi_taskflow import TaskManager, TaskObserver, task_log

class Printing(TaskObserver):
    async def on_log(self, event):
        await asyncio.sleep(0)
        print(event.func_name, event.seq, event.message)
    async def on_lifecycle(self, event): print(event.func_name, event.seq, event.status.value)
    async def startup(self): print("startup")
    async def close(self): print("close", flush=True)

def count():
    for number in range(100):
        task_log(str(number))

async def count_on_the_loop():
    count()

def call(): manager.run(count)

manager = TaskManager(loggers=[Printing()])
manager.run(count)
manager.run(count_on_the_loop)
thread = threading.Thread(target=call)
thread.start()
thread.join()
if sys.argv[1] == "raise":
    raise SystemExit(3)
if sys.argv[1] == "shutdown":
    asyncio.run(manager.shutdown())
"""


@pytest.mark.parametrize(("ending", "code"), [("return", 0), ("raise", 3), ("shutdown", 0)])
def test_a_script_has_every_event_of_every_run_however_it_ends(
    run_python: RunPython, ending: str, code: int
) -> None:
    outcome = run_python(SCRIPT, ending)

    def task(name: str) -> list[str]:
        events = ["running", *numbers(100), "success"]
        return [f"{name} {seq} {event}" for seq, event in enumerate(events)]

    tasks = [*task("count"), *task("count_on_the_loop"), *task("count")]
    assert outcome.stdout.splitlines() == ["startup", *tasks, "close"]
    assert (outcome.stderr, outcome.returncode) == ("", code)


def test_tasks_of_several_threads_each_with_its_loop_are_told_of_in_order() -> None:
    observer = Recorder()
    manager = TaskManager(loggers=[observer], drain_timeout=PATIENCE)

    def run(name: str) -> None:
        def body() -> None:
            for number in range(40):
                task_log(f"{name} {number}")

        for _ in range(3):
            manager.run(body)

    workers = [threading.Thread(target=run, args=(name,)) for name in "abcd"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
        assert not worker.is_alive()

    for name in "abcd":
        told = [text for text in observer.told if text.startswith(f"{name} ")]
        assert told == [f"{name} {number}" for number in range(40)] * 3
    assert [observer.told.count(status) for status in ("startup", "running", "success")] == [
        *(1, 12, 12)
    ]


def test_an_observer_is_told_at_once_though_a_test_has_frozen_the_time() -> None:
    told = threading.Event()

    class Telling(TaskObserver):
        async def on_log(self, event: LogEvent) -> None:
            told.set()

    def body() -> list[bool]:
        seen = []
        for number in range(5):
            told.clear()
            task_log(str(number))
            seen.append(told.wait(PATIENCE))
        return seen

    async def run() -> Any:
        async with TaskManager(loggers=[Telling()]) as manager:
            return (await manager.execute(body)).result

    with freeze_time("2026-01-01"):
        assert asyncio.run(run()) == [True] * 5


def test_a_thread_that_gives_way_holds_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    free: list[bool] = []
    observer = ObserverHandler(Recorder())

    def try_lock() -> None:
        lock: Any = observer.lock
        free.append(lock.acquire(blocking=False))
        if free[-1]:
            lock.release()

    def look_from_another_thread() -> None:
        other = threading.Thread(target=try_lock)
        other.start()
        other.join()

    monkeypatch.setattr(consumer, "give_way", look_from_another_thread)
    monkeypatch.setattr(turns, "PATIENCE", -1.0)  # always due

    async def run() -> None:
        async with TaskManager(loggers=[observer]) as manager:
            await manager.execute(count_in_thread, 10)

    asyncio.run(run())

    assert len(free) >= 10
    assert all(free)


def test_an_observer_of_a_class_that_filters_by_itself_gets_what_it_lets_through() -> None:
    recorder = Recorder()

    class Choosy(ObserverHandler):
        def filter(self, record: logging.LogRecord) -> bool:
            return record.getMessage() != "1"

    TaskManager(loggers=[Choosy(recorder)]).run(count_in_thread, 3)

    assert [text for text in recorder.told if text.isdecimal()] == ["0", "2"]
