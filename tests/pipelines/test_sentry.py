"""Beside the Sentry SDK: a failed task is one event, with its tags, and lines before it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from sentry_sdk.types import Event, Hint

from fastapi_taskflow import TaskManager, task_log
from fastapi_taskflow.integrations.sentry import task_tags

# The SDK patches logging for good, so each test gives it a process of its own.
PROGRAM = """
import json, logging, sys
import sentry_sdk
from sentry_sdk.transport import Transport
from fastapi_taskflow import TaskManager, task_log
from fastapi_taskflow.integrations.sentry import task_tags

events = []

class Recording(Transport):
    def capture_envelope(self, envelope):
        event = envelope.get_event()
        if event is not None:
            events.append(event)

def before(event, hint):
    event.setdefault("tags", {})["kind"] = "from the app"
    return task_tags(event, hint)

way, retries = sys.argv[1], int(sys.argv[2])
sentry_sdk.init(
    dsn="https://key@example.invalid/1",
    transport=Recording(),
    before_send={"none": None, "processor": None, "taken": before}.get(way, task_tags),
)
if way == "processor":
    from sentry_sdk.scope import add_global_event_processor
    add_global_event_processor(task_tags)
logging.getLogger("fastapi_taskflow").setLevel("INFO")
manager = TaskManager(propagate=way != "alone")

@manager.task(retries=retries)
def charge():
    task_log("charging", level="error" if way == "entry" else "info", amount=9)
    raise LookupError("no such card")

record = manager.run(charge, tags={"kind": "payment"})
if way == "elsewhere":
    logging.getLogger("shop").error("lost", extra={"tags": {"kind": "x"}, "task_id": "y"})
print(json.dumps({"task_id": record.task_id, "events": events}, default=str))
"""


def sent(run_python: Any, way: str, retries: int = 0) -> tuple[str, list[dict[str, Any]]]:
    done = run_python(PROGRAM, way, str(retries))
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout)
    return output["task_id"], output["events"]


@pytest.mark.parametrize("retries", [0, 2], ids=["no-retries", "two-retries"])
def test_a_failed_task_is_one_event_with_its_error(run_python: Any, retries: int) -> None:
    _, (event,) = sent(run_python, "before_send", retries)

    (error,) = event["exception"]["values"]
    assert (error["type"], error["value"]) == ("LookupError", "no such card")
    assert error["stacktrace"]["frames"][-1]["function"] == "charge"
    assert (event["level"], event["logger"]) == ("error", "fastapi_taskflow.lifecycle.charge")
    assert event["extra"]["retries_used"] == retries


@pytest.mark.parametrize("way", ["before_send", "processor"])
def test_the_event_has_the_tasks_tags(run_python: Any, way: str) -> None:
    task_id, (event,) = sent(run_python, way)

    expected = {"kind": "payment", "task_id": task_id, "func_name": "charge"}
    assert event["tags"] == expected


def test_tags_that_an_event_has_stay(run_python: Any) -> None:
    task_id, (event,) = sent(run_python, "taken")

    expected = {"kind": "from the app", "task_id": task_id, "func_name": "charge"}
    assert event["tags"] == expected


@pytest.mark.parametrize("retries", [0, 1], ids=["no-retries", "one-retry"])
def test_the_lines_before_it_are_breadcrumbs(run_python: Any, retries: int) -> None:
    _, (event,) = sent(run_python, "before_send", retries)

    crumbs = [crumb["message"] for crumb in event["breadcrumbs"]["values"]]
    assert crumbs[:2] == ["-- RUNNING", "charging"]
    assert crumbs.count("charging") == retries + 1


def test_without_it_the_event_has_no_tags(run_python: Any) -> None:
    _, (event,) = sent(run_python, "none")

    assert "tags" not in event


def test_an_entry_that_is_an_error_is_an_event_too(run_python: Any) -> None:
    task_id, (entry, failure) = sent(run_python, "entry")

    assert (entry["logentry"]["message"], entry["extra"]["amount"]) == ("charging", 9)
    expected = {"kind": "payment", "task_id": task_id, "func_name": "charge"}
    assert [entry["tags"], failure["tags"]] == [expected, expected]


def test_a_manager_that_keeps_to_itself_sends_nothing(run_python: Any) -> None:
    _, events = sent(run_python, "alone")

    assert events == []


def test_events_from_elsewhere_stay_as_they_are(run_python: Any) -> None:
    _, events = sent(run_python, "elsewhere")

    assert [("tags" in event, event["logger"]) for event in events] == [
        (True, "fastapi_taskflow.lifecycle.charge"),
        (False, "shop"),
    ]


def test_sentrys_types_fit() -> None:
    before_send: Callable[[Event, Hint], Event | None] = task_tags

    assert before_send({}, {}) == {}


def test_a_record_of_another_library_tags_nothing() -> None:
    stranger = logging.makeLogRecord({"name": "shop", "tags": {"a": "b"}, "task_id": "x"})

    hints: list[Hint] = [{}, {"log_record": None}, {"log_record": stranger}]
    for hint in hints:
        event: Event = {"message": "lost"}
        assert task_tags(event, hint) is event
        assert event == {"message": "lost"}


def test_an_error_that_a_task_logs_is_tagged_too(caplog: pytest.LogCaptureFixture) -> None:
    def warn() -> None:
        task_log("odd", level="error")

    task = TaskManager().run(warn, tags={"task_id": "mine", "kind": "a"})
    (entry,) = [record for record in caplog.records if record.getMessage() == "odd"]

    pairs: dict[str, Any] = {"tags": [("kind", "b")]}
    event = task_tags(pairs, {"log_record": entry})

    assert event["tags"] == {"task_id": task.task_id, "func_name": "warn", "kind": "b"}
