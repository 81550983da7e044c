"""Tasks whose process is dead: none forgotten, none run twice unless it may be."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fastapi_taskflow.execution.execution import STOPPED
from fastapi_taskflow.rescue import PROCESS_GONE
from fastapi_taskflow.store import Query
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.sql import Database

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX")

PATIENCE = 20.0
"""Seconds after which what should have happened has not."""

Start = Callable[..., Any]  # what starts a Worker


on_all_databases = pytest.mark.parametrize(
    "where", ["sqlite", "postgresql", "mariadb"], indirect=True
)


def statuses(where: str) -> dict[str, str]:
    with closing(Database(Connections(where))) as database:
        return {record.task_id: record.status.value for record in database.query(Query(limit=9999))}


def errors(where: str) -> set[str | None]:
    with closing(Database(Connections(where))) as database:
        return {record.error for record in database.query(Query(limit=9999))}


def started(where: str) -> datetime | None:
    """When the one task that there is first started."""
    with closing(Database(Connections(where))) as database:
        (record,) = database.query(Query())
        return record.start_time


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ran(folder: Path) -> list[str]:
    path = folder / "ran"
    return path.read_text().split() if path.exists() else []


def test_what_ran_is_interrupted_and_what_waited_too(
    start: Start, tmp_path: Path, where: str
) -> None:
    first = start()
    running = first.run("plain", "a", 60)
    first.wait_for("running", "a")
    waiting = first.enqueue("plain", "b")
    first.kill()

    second = start()

    assert second.wait_for("event", "plain", "interrupted", running)
    assert second.wait_for("event", "plain", "interrupted", waiting)
    second.stop()
    assert statuses(where) == {running: "interrupted", waiting: "interrupted"}
    assert errors(where) == {PROCESS_GONE}
    assert ran(tmp_path) == ["a"]


def test_what_may_run_again_does_with_its_attempt_and_tags(
    start: Start, tmp_path: Path, where: str
) -> None:
    first = start()
    task_id = first.run("again", "a", 60, tags={"kind": "test"})
    assert first.wait_for("running", "a") == ["running", "a", 0, {"kind": "test"}]
    start_time = started(where)
    first.kill()

    second = start()
    assert second.wait_for("running", "a") == ["running", "a", 0, {"kind": "test"}]
    second.kill()  # in the middle once more
    third = start()
    third.wait_for("running", "a")
    assert statuses(where)[task_id] == "running"
    assert started(where) == start_time  # its first one
    events = [answer for answer in third.told() if answer[0] == "event"]

    assert [event[2] for event in events] == ["running"]
    assert events[0][4] >= 1  # numbered on
    assert ran(tmp_path) == ["a", "a", "a"]


@pytest.mark.parametrize(
    ("function", "options", "runs"),
    [
        ("plain", {}, False),
        ("plain", {"requeue_pending": True}, True),
        ("persistent", {}, True),
        ("again", {}, True),
    ],
    ids=["plain", "requeue_pending", "persist", "both"],
)
@pytest.mark.parametrize("killed", [True, False], ids=["killed", "stopped"])
def test_a_task_that_had_not_begun(
    start: Start, tmp_path: Path, where: str, function: str, options: Any, runs: bool, killed: bool
) -> None:
    first = start(**options)
    task_id = first.enqueue(function, "a")
    (first.kill if killed else first.stop)()

    second = start(**options)

    if runs:
        second.wait_for("event", function, "success", task_id)
    elif killed:
        second.wait_for("event", function, "interrupted", task_id)
    second.stop()
    assert statuses(where) == {task_id: "success" if runs else "interrupted"}
    assert ran(tmp_path) == ["a"] * runs


def test_a_task_that_a_shutdown_interrupts_runs_again(
    start: Start, tmp_path: Path, where: str
) -> None:
    first = start(shutdown_timeout=0)
    task_id = first.run("again", "a", 60)
    first.wait_for("running", "a")
    first.stop()
    assert statuses(where) == {task_id: "interrupted"}
    assert errors(where) == {STOPPED}

    second = start()

    second.wait_for("running", "a")
    wait_until(lambda: errors(where) == {None})
    assert ran(tmp_path) == ["a", "a"]


@on_all_databases
def test_four_processes_run_each_task_of_a_dead_one_once(
    start: Start, tmp_path: Path, where: str
) -> None:
    first = start()
    ids = [first.enqueue("again", f"t{number}") for number in range(40)]
    first.kill()

    workers = [start() for _ in range(4)]

    wait_until(lambda: set(statuses(where).values()) == {"success"})
    for worker in workers:
        worker.stop()
    told = [answer for worker in workers for answer in worker.told()]
    succeeded = Counter(each[3] for each in told if each[0] == "event" and each[2] == "success")
    assert succeeded == dict.fromkeys(ids, 1)
    assert Counter(ran(tmp_path)) == {f"t{number}": 1 for number in range(40)}


def test_a_living_processes_tasks_are_its_own(start: Start, tmp_path: Path, where: str) -> None:
    first = start()
    task_id = first.run("again", "a", 60)
    first.wait_for("running", "a")

    second = start()
    second.run("plain", "b")
    second.wait_for("event", "plain", "success")
    second.stop()

    assert statuses(where)[task_id] == "running"
    assert ran(tmp_path) == ["a", "b"]


@on_all_databases
@pytest.mark.parametrize("seed", range(2))
def test_a_process_that_is_killed_at_any_moment_forgets_nothing(
    start: Start, tmp_path: Path, where: str, seed: int
) -> None:
    chance = random.Random(seed)
    enqueued: dict[str, str] = {}
    for life in range(4):
        worker = start()
        for number in range(chance.randrange(5, 40)):
            name = f"{life}-{number}"
            function = chance.choice(["plain", "persistent", "again"])
            worker.say("run", function, [name, chance.choice([0, 0, 0.01])], {})
            enqueued[name] = function
        last = chance.randrange(5)
        worker.wait_for("enqueued", f"{life}-{last}")
        worker.kill()
        committed = {answer[1] for answer in worker.told() if answer[0] == "enqueued"}
        for name in list(enqueued):
            if name.startswith(f"{life}-") and name not in committed:
                del enqueued[name]
    final = start()
    wait_until(lambda: not set(statuses(where).values()) & {"pending", "running"})
    final.stop()

    times = Counter(ran(tmp_path))
    assert len(statuses(where)) >= len(enqueued)
    for name, function in enqueued.items():
        if function == "persistent" or function == "plain":
            assert times[name] <= 1
        else:
            assert times[name] >= 1


@on_all_databases
def test_a_key_is_one_tasks_in_all_processes(start: Start, tmp_path: Path, where: str) -> None:
    workers = [start() for _ in range(4)]
    for number in range(10):
        for worker in workers:
            name, key = f"{id(worker)}-{number}", {"idempotency_key": f"{number}"}
            worker.say("run", "plain", [name, 0.0], key)
    ids = [
        {worker.wait_for("enqueued", f"{id(worker)}-{number}")[2] for worker in workers}
        for number in range(10)
    ]
    for worker in workers:
        worker.stop()

    assert [len(each) for each in ids] == [1] * 10
    assert len(ran(tmp_path)) == 10
