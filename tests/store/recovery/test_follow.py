"""Other processes' tasks, watched here: each event once, in each task's order, to its end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from fastapi_taskflow import LifecycleEvent, LogEvent, TaskManager, task_log
from fastapi_taskflow.events import ProgressEvent, TaskStatus
from fastapi_taskflow.store import beats

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX")

Start = Callable[..., Any]  # what starts a Worker
PATIENCE = 20.0

on_all_databases = pytest.mark.parametrize(
    "where", ["sqlite", "postgresql", "mariadb"], indirect=True
)


def told(events: list[Any]) -> list[Any]:
    """What events say, but for what differs from run to run."""
    return [
        (event.status.value if isinstance(event, LifecycleEvent) else event.message, event.seq)
        for event in events
    ]


async def until_end(events: AsyncIterator[Any], count: int = 1) -> list[Any]:
    """Events until so many tasks have ended."""
    seen = []
    async with asyncio.timeout(PATIENCE):
        async for event in events:
            seen.append(event)
            if isinstance(event, LifecycleEvent) and event.status.is_final:
                count -= 1
                if not count:
                    break
    return seen


CHAT = [
    ("running", 0),
    *((f"chat {number}", number + 1) for number in range(3)),
    ("success", 4),
]


@on_all_databases
def test_all_that_others_do_is_told_in_order(start: Start, where: str) -> None:
    async def main() -> list[Any]:
        async with TaskManager(snapshot_db=where) as manager, aclosing(manager.watch()) as events:
            await asyncio.to_thread(worker.run, "chat", "chat", 3, tags={"of": "another"})
            return await until_end(events)

    worker = start()

    events = asyncio.run(main())

    assert told(events) == CHAT
    assert {(event.func_name, tuple(event.tags.items())) for event in events} == {
        ("chat", (("of", "another"),))
    }
    assert [event.extra for event in events if isinstance(event, LogEvent)] == [
        {"number": number} for number in range(3)
    ]
    assert events[-1].duration is not None


def test_one_task_is_watched_to_its_end(start: Start, where: str) -> None:
    async def main() -> tuple[list[Any], list[Any]]:
        async with TaskManager(snapshot_db=where) as manager:
            task_id = await asyncio.to_thread(worker.run, "plain", "one", 0.3)
            await asyncio.to_thread(worker.run, "chat", "other", 3)
            async with asyncio.timeout(PATIENCE):
                events = [event async for event in manager.watch(task_id)]
                return events, [event async for event in manager.watch(task_id)]

    worker = start()

    events, later = asyncio.run(main())

    assert told(events)[-1] == ("success", 2)
    assert {event.func_name for event in events} == {"plain"}
    assert later == []


def test_what_failed_says_how(start: Start, where: str) -> None:
    async def main() -> Any:
        async with (
            TaskManager(snapshot_db=where) as manager,
            aclosing(manager.watch(progress=True)) as events,
        ):
            await asyncio.to_thread(worker.run, "chat", "fails", 2)
            return await until_end(events)

    worker = start()

    events = asyncio.run(main())

    assert (events[-1].status, events[-1].error) == (TaskStatus.FAILED, "fails")
    assert "ValueError: fails" in events[-1].stacktrace
    progress = [event.progress.done for event in events if isinstance(event, ProgressEvent)]
    assert progress[-1:] == [2]


@on_all_databases
def test_nothing_is_missed_or_doubled_of_many(start: Start, where: str) -> None:
    async def main() -> list[Any]:
        async with TaskManager(snapshot_db=where) as manager, aclosing(manager.watch()) as events:
            for number in range(tasks):
                for worker in workers:
                    worker.say("run", "chat", [f"{number}", 50], {})
            return await until_end(events, tasks * len(workers))

    workers = [start(), start()]
    tasks = 20

    events = asyncio.run(main())

    by_task: dict[str, list[Any]] = {}
    for event in events:
        by_task.setdefault(event.task_id, []).append(event)
    assert len(by_task) == tasks * len(workers)
    for of_task in by_task.values():
        assert [event.seq for event in of_task] == list(range(52))
        assert of_task[0].status is TaskStatus.RUNNING


def test_own_tasks_come_once_among_those_of_others(start: Start, where: str) -> None:
    def work() -> None:
        task_log("own")

    async def main() -> list[Any]:
        async with TaskManager(snapshot_db=where) as manager, aclosing(manager.watch()) as events:
            await manager.execute(work)
            await asyncio.to_thread(worker.run, "chat", "chat", 3)
            await manager.execute(work)
            return await until_end(events, 3)

    worker = start()

    events = asyncio.run(main())

    own = [("running", 0), ("own", 1), ("success", 2)]
    assert told([event for event in events if event.func_name == "work"]) == [*own, *own]
    assert told([event for event in events if event.func_name == "chat"]) == CHAT


@pytest.fixture
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(beats, "LOOK_SECONDS", 0.1)


def orphan(worker: Any, function: str) -> None:
    """Have a worker die in the midst of a task of that name, of which all is stored so far."""
    worker.run(function, "orphan", 3600)
    worker.wait_for("running", "orphan")
    worker.flush()
    worker.kill()


@on_all_databases
@pytest.mark.usefixtures("quick_beats")
def test_an_orphan_is_told_to_its_end_by_who_takes_it_over(start: Start, where: str) -> None:
    async def main() -> list[Any]:
        async with TaskManager(snapshot_db=where) as manager, aclosing(manager.watch()) as events:
            await asyncio.to_thread(orphan, worker, "plain")
            return await until_end(events)

    worker = start()

    events = asyncio.run(main())

    assert told(events) == [("running", 0), ("working on orphan", 1), ("interrupted", 2)]


@pytest.mark.usefixtures("quick_beats")
def test_an_orphan_that_runs_again_here_is_told_once(start: Start, where: str) -> None:
    async def main() -> list[Any]:
        manager = TaskManager(snapshot_db=where)

        @manager.task(requeue_on_interrupt=True)
        def again(name: str, seconds: float) -> None:
            task_log(f"once more {name}")

        async with manager, aclosing(manager.watch()) as events:
            await asyncio.to_thread(orphan, worker, "again")
            return await until_end(events)

    worker = start()

    events = asyncio.run(main())

    assert told(events) == [
        ("running", 0),
        ("working on orphan", 1),
        ("running", 2),
        ("once more orphan", 3),
        ("success", 4),
    ]


def test_an_orphan_that_runs_again_elsewhere_is_told_to_begin_again(
    start: Start, where: str
) -> None:
    async def main() -> list[Any]:
        seen: list[Any] = []
        async with TaskManager(snapshot_db=where) as manager, aclosing(manager.watch()) as events:
            await asyncio.to_thread(worker.run, "again", "orphan", 3600)
            async with asyncio.timeout(PATIENCE):
                seen += [await anext(events), await anext(events)]
                await asyncio.to_thread(worker.kill)
                await asyncio.to_thread(start)
                seen += [await anext(events), await anext(events)]
        return seen

    worker = start()

    events = asyncio.run(main())

    assert told(events) == [
        *(("running", 0), ("working on orphan", 1)),
        *(("running", 2), ("working on orphan", 3)),
    ]
