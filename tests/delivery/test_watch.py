"""``watch()``: every event once and in order, to any number, and nobody waits for one of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from fastapi import BackgroundTasks

from fastapi_taskflow import (
    LifecycleEvent,
    LogEvent,
    ManagedBackgroundTasks,
    ProgressEvent,
    TaskManager,
    TaskNotFoundError,
    TaskStatus,
    bind_task_context,
    engine,
    task_log,
)
from fastapi_taskflow.errors import WatchOverflowError
from fastapi_taskflow.loggers import watch as watching
from fastapi_taskflow.loggers import watchers as hub
from fastapi_taskflow.loggers.base import HandlerObserver
from fastapi_taskflow.loggers.observed import ObservedHandler
from fastapi_taskflow.loggers.watch import Bell, Watch

Event = LogEvent | LifecycleEvent

PATIENCE = 30.0


@pytest.fixture
def manager() -> TaskManager:
    return TaskManager()


def _texts(events: list[Event]) -> list[str]:
    return [e.message if isinstance(e, LogEvent) else f"-- {e.status.name}" for e in events]


async def _all(watch: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in watch]


def _in_time(call: Any) -> Any:
    """Run to the end; one that hangs fails."""
    return asyncio.run(asyncio.wait_for(call, PATIENCE))


def three_lines() -> None:
    for number in range(3):
        task_log(f"line {number}")


async def three_lines_in_loop() -> None:
    for number in range(3):
        task_log(f"line {number}")
        await asyncio.sleep(0)


def three_lines_in_threads() -> None:
    log = bind_task_context(task_log)
    for number in range(3):
        thread = threading.Thread(target=log, args=[f"line {number}"])
        thread.start()
        thread.join()


THREE = ["-- RUNNING", "line 0", "line 1", "line 2", "-- SUCCESS"]
BODIES = [three_lines, three_lines_in_loop, three_lines_in_threads]


@pytest.mark.parametrize("body", BODIES, ids=["sync", "async", "own-threads"])
def test_a_task_is_watched_from_the_call_to_its_end(
    manager: TaskManager, body: Callable[[], Any]
) -> None:
    async def main() -> list[Event]:
        tasks = ManagedBackgroundTasks(manager.engine, BackgroundTasks())
        task_id = tasks.add_task(body)
        watch = manager.watch(task_id)  # nobody iterates yet
        await tasks()
        await manager.execute(body)  # another one, not to be seen
        return await _all(watch)

    events = _in_time(main())

    assert _texts(events) == THREE
    assert [event.seq for event in events] == [0, 1, 2, 3, 4]


@contextlib.contextmanager
def _running(threads: list[threading.Thread]) -> Iterator[None]:
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(PATIENCE)


def _seqs_by_task(events: list[Event]) -> list[list[int]]:
    seqs: dict[str, list[int]] = {}
    for event in events:
        seqs.setdefault(event.task_id, []).append(event.seq)
    return list(seqs.values())


def test_watchers_on_any_loops_and_threads_get_every_event_once(manager: TaskManager) -> None:
    seen: list[list[Event]] = []
    watches = [manager.watch() for _ in range(4)]

    def read(watch: Watch[Event]) -> None:
        seen.append(_in_time(_all(watch)))

    readers = [threading.Thread(target=read, args=[watch]) for watch in watches]

    def log_much() -> None:
        for number in range(500):
            task_log(number)

    async def main() -> None:
        async with manager:
            here = asyncio.create_task(_all(manager.watch()))
            await asyncio.gather(*(manager.execute(log_much) for _ in range(4)))
        seen.append(await here)

    with _running(readers):
        _in_time(main())

    assert [_seqs_by_task(events) for events in seen] == [[list(range(502))] * 4] * 5


def test_all_watchers_get_the_very_same_event(manager: TaskManager) -> None:
    first, second = manager.watch(), manager.watch()
    manager.run(task_log, "once")

    async def main() -> None:
        for _ in range(3):
            assert await anext(first) is await anext(second)

    _in_time(main())


def test_a_task_that_has_ended_is_over_at_once(manager: TaskManager) -> None:
    record = manager.run(task_log, "x")

    assert _in_time(_all(manager.watch(record.task_id))) == []
    assert len(manager.watchers) == 0


def test_an_unknown_id_is_an_error_at_the_call(manager: TaskManager) -> None:
    with pytest.raises(TaskNotFoundError, match="'nobody'") as caught:
        manager.watch("nobody")

    assert caught.tb is not None  # it keeps what was there
    assert len(manager.watchers) == 0


def test_a_task_that_never_starts_ends_its_watch(manager: TaskManager) -> None:
    tasks = ManagedBackgroundTasks(manager.engine, BackgroundTasks())
    watch = manager.watch(tasks.add_task(three_lines))
    tasks.discard_unstarted("no")

    assert _texts(_in_time(_all(watch))) == ["-- CANCELLED"]


def test_a_level_hides_the_last_event_but_not_the_end(manager: TaskManager) -> None:
    logging.getLogger("fastapi_taskflow.lifecycle").setLevel("ERROR")
    tasks = ManagedBackgroundTasks(manager.engine, BackgroundTasks())
    watch = manager.watch(tasks.add_task(three_lines))

    async def main() -> list[Event]:
        watched = asyncio.create_task(_all(watch))
        await asyncio.sleep(0)
        await tasks()
        return await watched

    assert _texts(_in_time(main())) == THREE[1:-1]


class _WatchesAndLogs(ObservedHandler):
    """Has somebody watch when it gets an entry, and logs itself."""

    def __init__(self) -> None:
        super().__init__()
        self.manager: TaskManager | None = None
        self.watches: list[Watch[Event]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if self.manager is not None and record.getMessage() == "x":
            self.watches.append(self.manager.watch())
            task_log("by a sink")


def test_what_a_sink_logs_amid_an_event_is_seen_by_who_has_just_begun_to_watch() -> None:
    handler = _WatchesAndLogs()
    manager = TaskManager(loggers=[HandlerObserver(handler)])
    handler.manager = manager

    def body() -> None:
        task_log("x")

    manager.run(body)

    async def main() -> list[Event]:
        return [await anext(handler.watches[0]) for _ in range(3)]

    assert _texts(_in_time(main())) == ["x", "by a sink", "-- SUCCESS"]


# A slow watcher


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "BUFFER", 10)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("one_task", [False, True], ids=["all", "one-task"])
def test_a_slow_watcher_is_told_how_many_it_missed(manager: TaskManager, one_task: bool) -> None:
    def log_much() -> None:
        for number in range(30):
            task_log(number)

    async def main() -> tuple[list[Event], list[Event]]:
        tasks = ManagedBackgroundTasks(manager.engine, BackgroundTasks())
        task_id = tasks.add_task(log_much)
        slow = manager.watch(task_id if one_task else None)
        late = manager.watch()
        await asyncio.wait_for(tasks(), PATIENCE)
        assert manager.get_task(task_id).status is TaskStatus.SUCCESS
        got = [await anext(slow) for _ in range(10)]
        with pytest.raises(WatchOverflowError, match="22 events") as caught:
            await anext(slow)
        assert caught.value.missed == 22
        assert await _all(slow) == []
        await late.aclose()
        return got, await _all(late)

    got, late = _in_time(main())

    assert [event.seq for event in got] == list(range(10))
    assert late == []
    assert len(manager.watchers) == 0


@pytest.mark.usefixtures("small")
def test_after_a_miss_there_is_no_event_that_hides_it(manager: TaskManager) -> None:
    watch = manager.watch()
    for number in range(4):
        manager.run(task_log, number)  # 12 events, 2 of them missed

    async def main() -> list[Event]:
        got = [await anext(watch) for _ in range(5)]
        await manager.execute(task_log, "room for these, but not after a gap")
        got += [await anext(watch) for _ in range(5)]
        with pytest.raises(WatchOverflowError, match="5 events"):
            await anext(watch)
        return got

    assert len(_in_time(main())) == 10


@pytest.mark.usefixtures("small")
def test_one_tasks_watcher_has_room_whatever_others_do(manager: TaskManager) -> None:
    async def main() -> list[Event]:
        tasks = ManagedBackgroundTasks(manager.engine, BackgroundTasks())
        watch = manager.watch(tasks.add_task(three_lines))
        for _ in range(10):
            await manager.execute(three_lines)
        await tasks()
        return await _all(watch)

    assert _texts(_in_time(main())) == THREE


def test_the_buffer_is_as_large_as_documented(manager: TaskManager) -> None:
    watch = manager.watch()

    def log_much() -> None:
        for number in range(10_000):
            task_log(number)

    manager.run(log_much)

    async def main() -> None:
        for _ in range(10_000):
            await anext(watch)
        with pytest.raises(WatchOverflowError, match="2 events"):
            await anext(watch)

    _in_time(main())


# Leaving


async def _break_off(manager: TaskManager) -> None:
    running = asyncio.create_task(manager.execute(task_log, "x"))
    async for _ in manager.watch():
        break
    await running


async def _aclose(manager: TaskManager) -> None:
    watch = manager.watch()
    async with contextlib.aclosing(watch):
        await manager.execute(task_log, "x")
        async for event in watch:
            assert event.seq == 0
            break


async def _cancel(manager: TaskManager) -> None:
    reader = asyncio.create_task(_all(manager.watch()))
    await manager.execute(task_log, "x")
    reader.cancel()
    await asyncio.wait({reader})
    assert reader.cancelled()


async def _drop(manager: TaskManager) -> None:
    watch = manager.watch()
    assert len(manager.watchers) == 1
    del watch


@pytest.mark.parametrize("leave", [_break_off, _aclose, _cancel, _drop])
def test_leaving_frees_everything(
    manager: TaskManager, leave: Callable[[TaskManager], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> int:
        await leave(manager)
        gc.collect()
        return len(manager.watchers)

    assert _in_time(main()) == 0
    assert _built(manager, monkeypatch) == 0


def _built(manager: TaskManager, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many events one task has the watchers' side build."""
    built = 0

    def count(record: logging.LogRecord) -> None:
        nonlocal built
        built += 1

    monkeypatch.setattr(hub, "event_from", count)
    manager.run(three_lines)
    return built


def test_an_event_is_built_once_for_all_and_not_for_nobody(
    manager: TaskManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _built(manager, monkeypatch)
    watches = [manager.watch() for _ in range(3)]

    assert (before, _built(manager, monkeypatch), len(watches)) == (0, 5, 3)


def test_closing_wakes_whoever_waits_elsewhere(manager: TaskManager) -> None:
    watch = manager.watch()
    seen: list[list[Event]] = []
    reader = threading.Thread(target=lambda: seen.append(_in_time(_all(watch))))
    reader.start()
    while watch._buffer.bell is None:  # noqa: SLF001  # nothing else tells that it waits
        pass

    asyncio.run(watch.aclose())
    reader.join(PATIENCE)

    assert seen == [[]]


def test_a_wait_that_is_cut_short_loses_nothing(manager: TaskManager) -> None:
    async def main() -> list[Event]:
        watch = manager.watch()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(watch), 0.001)
        await manager.execute(three_lines)
        return [await anext(watch) for _ in range(5)]

    assert _texts(_in_time(main())) == THREE


def test_one_watch_is_not_waited_for_twice(manager: TaskManager) -> None:
    async def main() -> None:
        watch = manager.watch()
        first = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="once for each task"):
            await anext(watch)
        await manager.execute(task_log, "x")
        assert (await first).seq == 0

    _in_time(main())


def test_a_watcher_whose_loop_was_closed_is_given_up(manager: TaskManager) -> None:
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(_all(manager.watch()))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    manager.run(task_log, "x")

    assert len(manager.watchers) == 0
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001  # it is, here


# Waking


def test_a_burst_wakes_each_loop_once(
    manager: TaskManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[object] = []

    async def body() -> None:
        for number in range(100):
            task_log(number)

    async def main() -> None:
        readers = [asyncio.create_task(_all(manager.watch())) for _ in range(10)]
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        call = loop.call_soon_threadsafe

        def counting(callback: Any, *args: Any, **options: Any) -> asyncio.Handle:
            if isinstance(getattr(callback, "__self__", None), Bell):
                woken.append(callback)
            return call(callback, *args, **options)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counting)
        async with manager:
            await manager.execute(body)
            during = len(woken)
        got = await asyncio.gather(*readers)
        assert [len(events) for events in got] == [102] * 10
        assert during <= 3  # RUNNING, the burst, SUCCESS at most

    _in_time(main())


def test_a_watcher_gives_others_on_its_loop_a_turn(manager: TaskManager) -> None:
    watch = manager.watch()
    turns = 0

    def log_much() -> None:
        for number in range(1000):
            task_log(number)

    async def main() -> None:
        nonlocal turns

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(turn())
        for _ in range(1002):
            await anext(watch)
        other.cancel()

    manager.run(log_much)
    _in_time(main())

    assert turns >= 10


# Shutdown


def test_a_shutdown_ends_every_watch_after_the_last_event(manager: TaskManager) -> None:
    async def main() -> list[list[Event]]:
        rounds = []
        for _ in range(2):  # it may be started again
            async with manager:
                watched = asyncio.create_task(_all(manager.watch()))
                await manager.execute(three_lines)
            rounds.append(await watched)
        return rounds

    assert [_texts(events) for events in _in_time(main())] == [THREE, THREE]
    assert len(manager.watchers) == 0


def test_what_shutdown_interrupts_is_seen() -> None:
    manager = TaskManager(shutdown_timeout=0)
    started = asyncio.Event()

    async def body() -> None:
        started.set()
        await asyncio.Event().wait()

    async def main() -> list[Event]:
        async with manager:
            watched = asyncio.create_task(_all(manager.watch()))
            running = asyncio.create_task(manager.execute(body))
            await started.wait()
        await running
        return await watched

    assert _texts(_in_time(main())) == ["-- RUNNING", "-- INTERRUPTED"]


@pytest.fixture
def server() -> Iterator[None]:
    """A server's signal handler, that does nothing."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)

    yield

    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("server")
def test_a_signal_ends_watches_once_no_task_runs(
    manager: TaskManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CLEANUP_SECONDS", 0.0)

    async def main() -> list[Event]:
        go, started = asyncio.Event(), asyncio.Event()

        async def body() -> None:
            started.set()
            await go.wait()

        async with manager:
            watched = asyncio.create_task(_all(manager.watch()))
            running = asyncio.create_task(manager.execute(body))
            await started.wait()
            signal.raise_signal(signal.SIGTERM)
            for _ in range(10):
                await asyncio.sleep(0)
            assert not watched.done()
            go.set()
            await running
            events = await watched  # while the lifespan still runs
            assert await _all(manager.watch()) == []
        return events

    assert _texts(_in_time(main())) == ["-- RUNNING", "-- SUCCESS"]


@pytest.mark.usefixtures("server")
def test_a_signal_ends_watches_when_the_time_is_up() -> None:
    manager = TaskManager(shutdown_timeout=0)

    async def main() -> list[Event]:
        started = asyncio.Event()

        async def body() -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                for _ in range(10):
                    await asyncio.sleep(0)
                task_log("cleaned up")

        async with manager:
            watched = asyncio.create_task(_all(manager.watch()))
            running = asyncio.create_task(manager.execute(body))
            await started.wait()
            signal.raise_signal(signal.SIGTERM)
            events = await watched
            await running
        return events

    assert _texts(_in_time(main())) == ["-- RUNNING", "-- INTERRUPTED", "cleaned up"]


# Threads, signals, forks


def test_a_signal_handler_that_logs_amid_an_event_deadlocks_nothing(run_python: Any) -> None:
    program = """
import asyncio, signal
from fastapi_taskflow import TaskManager, bind_task_context, task_log

manager = TaskManager()
watch, reader = manager.watch(), manager.watchers.read()
signals, busy = 0, False

def lend():
    global log_for_other
    log_for_other = bind_task_context(task_log)

def handle(*_):
    global signals, busy
    if not busy:  # a line logged while a sink handles one of the same task is not for that sink
        busy = True
        signals += 1
        log_for_other("signal")
        busy = False

async def body():
    # In the main thread, where signals are handled.
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    for number in range(3000):
        task_log(number)
    signal.setitimer(signal.ITIMER_REAL, 0)

async def read():
    return [await anext(watch) for _ in range(2 + 3002 + signals)]

other = manager.run(lend).task_id
signal.signal(signal.SIGALRM, handle)
manager.run(body)
events = asyncio.run(asyncio.wait_for(read(), 20))
assert signals
assert [e.seq for e in events if e.task_id == other] == list(range(2 + signals))
assert [e.seq for e in events if e.task_id != other] == list(range(3002))
numbers = [item.number for item in iter(reader.take, None)]
assert numbers == list(range(1, len(events) + 1))
print("done")
"""
    done = run_python(program)

    assert done.stdout == "done\n", done.stderr


def test_a_forked_child_has_no_watchers_of_its_parents(run_python: Any) -> None:
    program = """
import asyncio, os
from fastapi_taskflow import TaskManager, task_log

manager = TaskManager()
watch = manager.watch()
reader = manager.watchers.read()
last = manager.watchers.id_of(reader.since)
child = os.fork()
if child == 0:
    manager.run(task_log, "child")
    mine = manager.watchers.read(None, last)
    os._exit(0 if len(manager.watchers) == 1 and mine.is_reset and watch.is_over else 1)
assert os.waitpid(child, 0)[1] == 0
manager.run(task_log, "parent")
async def read():
    return [await anext(watch) for _ in range(3)]
print(asyncio.run(read())[1].message)
"""
    done = run_python(program)

    assert done.stdout == "parent\n", done.stderr


def test_threads_that_come_and_go_lose_no_event_of_those_who_stay(manager: TaskManager) -> None:
    stop = threading.Event()
    stays = manager.watch()

    def come_and_go() -> None:
        while not stop.is_set():
            manager.watch()

    def log_much() -> None:
        for number in range(2000):
            task_log(number)

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    with _running(threads):
        manager.run(log_much)
        stop.set()

    async def main() -> list[int]:
        return [(await anext(stays)).seq for _ in range(2002)]

    assert _in_time(main()) == list(range(2002))
    assert len(manager.watchers) == 1


# Readers that come back


def _seqs(watch: Watch[Any]) -> list[int]:
    events = [item.event for item in iter(watch.take, None)]
    return [event.seq for event in events if not isinstance(event, ProgressEvent)]


def test_a_reader_goes_on_where_it_was(manager: TaskManager) -> None:
    first = manager.watchers.read()
    manager.run(three_lines)
    numbers = [item.number for item in itertools.islice(iter(first.take, None), 2)]
    first.close()
    manager.run(task_log, "while away")

    second = manager.watchers.read(None, manager.watchers.id_of(numbers[-1]))

    assert not second.is_reset
    assert _seqs(second) == [2, 3, 4, 0, 1, 2]


@pytest.mark.parametrize("away", [9, 10, 11, 30], ids=str)
def test_events_are_kept_while_somebody_may_come_back_for_them(
    away: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "HISTORY", 10)
    manager = TaskManager()
    watchers = manager.watchers
    reader = watchers.read()
    last = watchers.id_of(reader.since)
    reader.close()

    def log_much() -> None:
        for number in range(away - 2):
            task_log(number)

    manager.run(log_much)
    again = watchers.read(None, last)

    assert again.is_reset == (away >= 10)
    assert _seqs(again) == ([] if away >= 10 else list(range(away)))
    manager.run(task_log, "live")
    assert _seqs(again) == [0, 1, 2]


def test_what_nobody_can_come_back_for_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HISTORY", 10)
    manager = TaskManager()
    manager.watchers.read().close()

    def log_much() -> None:
        for number in range(10):
            task_log(number)

    manager.run(log_much)

    assert _built(manager, monkeypatch) == 0


def test_a_reader_that_stays_can_come_back_however_much_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "HISTORY", 10)
    manager = TaskManager()
    reader = manager.watchers.read()
    for _ in range(20):
        manager.run(three_lines)
    last = [item.number for item in iter(reader.take, None)][-5]
    reader.close()

    again = manager.watchers.read(None, manager.watchers.id_of(last))

    assert not again.is_reset
    assert _seqs(again) == [1, 2, 3, 4]
