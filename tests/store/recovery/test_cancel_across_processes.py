"""Cancel, where the task is another process's: of one that lives, and of one that is dead."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.schema import tasks
from fastapi_taskflow.store.sql import Database

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX")

Start = Callable[..., Any]  # what starts a Worker

on_all_databases = pytest.mark.parametrize(
    "where", ["sqlite", "postgresql", "mariadb"], indirect=True
)


def ran(folder: Path) -> list[str]:
    path = folder / "ran"
    return path.read_text().split() if path.exists() else []


@on_all_databases
def test_the_process_that_runs_a_task_cancels_it(start: Start, tmp_path: Path) -> None:
    first, second = start(), start()
    running = first.run("plain", "a", 60)
    first.wait_for("running", "a")
    waiting = first.enqueue("plain", "b")

    second.say("cancel", running)
    second.say("cancel", waiting)

    error = "it was cancelled by a request to another process"
    assert second.wait_for("cancelled", running) == ["cancelled", running, "cancelled", error]
    assert second.wait_for("cancelled", waiting) == ["cancelled", waiting, "cancelled", error]
    first.wait_for("event", "plain", "cancelled", running)
    first.wait_for("event", "plain", "cancelled", waiting)
    first.stop()
    second.stop()
    assert [answer for answer in second.told() if answer[0] == "event"] == []
    assert ran(tmp_path) == ["a"]


@on_all_databases
@pytest.mark.parametrize("function", ["plain", "again"])
@pytest.mark.parametrize("begun", [False, True], ids=["pending", "running"])
def test_what_a_dead_process_has_left_is_cancelled_at_once_and_runs_no_more(
    start: Start, tmp_path: Path, function: str, begun: bool
) -> None:
    first = start(requeue_pending=True)
    task_id = first.run(function, "a", 60) if begun else first.enqueue(function, "a")
    if begun:
        first.wait_for("running", "a")
    second = start(requeue_pending=True, beats_when_rung=True)
    looks = max((answer[1] for answer in second.told() if answer[0] == "looked"), default=0)
    second.wait_for("looked", looks + 2)  # since then it has not been rung
    first.kill()

    second.say("cancel", task_id)

    assert second.wait_for("cancelled", task_id)[2] == "cancelled"
    second.wait_for("event", function, "cancelled", task_id)
    second.stop()
    assert ran(tmp_path) == ["a"] * begun


@pytest.mark.parametrize("function", ["plain", "again"])
def test_a_request_that_its_process_did_not_live_to_see_is_done_by_the_next(
    start: Start, tmp_path: Path, function: str, where: str
) -> None:
    first = start()
    task_id = first.run(function, "a", 60)
    first.wait_for("running", "a")
    with closing(Database(Connections(where))) as database:
        with database.transaction() as connection:  # so it isn't stopped in one of its own
            first.process.send_signal(signal.SIGSTOP)
            connection.execute(tasks.update().values(cancel_requested=True))
        first.kill()

    second = start()

    second.wait_for("event", function, "cancelled", task_id)
    second.stop()
    assert ran(tmp_path) == ["a"]


def test_a_request_that_a_shutdown_came_before_is_done_by_the_next(
    start: Start, tmp_path: Path, where: str
) -> None:
    first = start(shutdown_timeout=0)
    task_id = first.run("again", "a", 60)
    first.wait_for("running", "a")
    with closing(Database(Connections(where))) as database:
        first.stop()
        with database.transaction() as connection:
            connection.execute(tasks.update().values(cancel_requested=True))

    second = start()

    second.wait_for("event", "again", "cancelled", task_id)
    second.stop()
    assert ran(tmp_path) == ["a"]


def test_what_has_ended_in_another_process_cant_be_cancelled(start: Start) -> None:
    first, second = start(), start()
    task_id = first.run("plain", "a")
    first.wait_for("event", "plain", "success", task_id)

    second.say("cancel", task_id)
    second.say("cancel", "nobody")

    assert second.wait_for("refused", task_id)[2].endswith("it has ended as success")
    assert second.wait_for("refused", "nobody")[2] == "no task with id 'nobody'"
