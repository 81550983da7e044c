"""Beside pytest's caplog: task records are there, with their attributes."""

from __future__ import annotations

import logging

import pytest

from fastapi_taskflow import TaskManager, task_log


def work() -> None:
    task_log("detail", level="debug")
    task_log("working", amount=9)


def fail() -> None:
    raise LookupError("nothing there")


def seen(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What it has of ours; the event loop logs too, where root's level lets it."""
    return [record for record in caplog.records if record.name.startswith("fastapi_taskflow.")]


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in seen(caplog)]


@pytest.mark.parametrize("propagate", [True, False], ids=["propagates", "keeps-to-itself"])
def test_it_sees_what_propagates(caplog: pytest.LogCaptureFixture, propagate: bool) -> None:
    caplog.set_level("INFO", logger="fastapi_taskflow")

    TaskManager(propagate=propagate).run(work)

    expected = ["-- RUNNING", "working", "-- SUCCESS"] if propagate else []
    assert messages(caplog) == expected


def test_records_have_their_attributes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="fastapi_taskflow")

    task = TaskManager().run(work, tags={"kind": "sale"})

    attributes = [vars(record) for record in seen(caplog)]
    assert {record["task_id"] for record in attributes} == {task.task_id}
    assert {record["func_name"] for record in attributes} == {"work"}
    assert [record["tags"] for record in attributes] == [{"kind": "sale"}] * 3
    assert attributes[1]["amount"] == 9
    assert attributes[2]["status"] == "success"


def test_its_level_decides_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    manager = TaskManager()

    with caplog.at_level("DEBUG", logger="fastapi_taskflow"):
        manager.run(work)
    manager.run(work)

    assert messages(caplog) == ["-- RUNNING", "detail", "working", "-- SUCCESS"]


def test_roots_level_counts_where_ours_is_unset(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        TaskManager().run(work)

    assert messages(caplog) == ["-- RUNNING", "working", "-- SUCCESS"]


def test_a_failure_has_its_exception(caplog: pytest.LogCaptureFixture) -> None:
    TaskManager().run(fail)

    attempt, failed = seen(caplog)
    assert (attempt.levelname, attempt.name) == ("WARNING", "fastapi_taskflow.execution")
    assert (failed.levelname, failed.getMessage()) == ("ERROR", "-- FAILED")
    assert failed.exc_info is not None
    assert isinstance(failed.exc_info[1], LookupError)
    assert "LookupError: nothing there" in caplog.text


def test_it_can_be_cleared_between_tasks(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="fastapi_taskflow.lifecycle")
    manager = TaskManager()
    manager.run(fail)
    caplog.clear()

    manager.run(work)

    assert messages(caplog) == ["-- RUNNING", "-- SUCCESS"]
