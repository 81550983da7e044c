"""Events: their fields, their order and time, and that each reaches whoever watches once."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import gc
import logging
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from freezegun import freeze_time
from hypothesis import given, settings
from hypothesis import strategies as st

import fastapi_taskflow
from fastapi_taskflow import (
    InMemoryLogger,
    LifecycleEvent,
    LogEvent,
    TaskManager,
    TaskStatus,
    task_log,
)
from fastapi_taskflow.handlers import TaskMemoryHandler
from fastapi_taskflow.loggers import base
from fastapi_taskflow.records import kept_entry, noted_entry

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LOG = LogEvent("id", "send", "hello", "info", NOON, 0)
CHANGE = LifecycleEvent("id", "send", TaskStatus.RUNNING, NOON, 0, 0)
EVENTS = pytest.mark.parametrize("event", [LOG, CHANGE], ids=["log", "lifecycle"])


@pytest.fixture
def memory() -> InMemoryLogger:
    return InMemoryLogger()


@pytest.fixture
def manager(memory: InMemoryLogger) -> TaskManager:
    return TaskManager(loggers=[memory])


def in_order(memory: InMemoryLogger) -> list[LogEvent | LifecycleEvent]:
    """All events by their ``seq``."""
    return sorted([*memory.log_events, *memory.lifecycle_events], key=lambda event: event.seq)


def test_the_fields_are_those_of_the_contract_in_its_order() -> None:
    context = ["task_id", "func_name"]
    outcome = ["attempt", "retries_used", "duration", "error", "stacktrace", "tags", "seq"]

    log = [field.name for field in dataclasses.fields(LogEvent)]
    change = [field.name for field in dataclasses.fields(LifecycleEvent)]

    assert log == [*context, "message", "level", "timestamp", "attempt", "tags", "extra", "seq"]
    assert change == [*context, "status", "timestamp", *outcome]


def test_what_is_not_given_has_the_contracts_default() -> None:
    assert (LOG.tags, LOG.extra, LOG.seq) == ({}, {}, 0)
    assert (CHANGE.duration, CHANGE.error, CHANGE.stacktrace) == (None, None, None)
    assert (CHANGE.tags, CHANGE.seq) == ({}, 0)


@EVENTS
def test_an_event_is_frozen(event: LogEvent | LifecycleEvent) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.seq = 7  # type: ignore[misc]  # it must not be possible


@EVENTS
def test_two_events_share_no_default(event: LogEvent | LifecycleEvent) -> None:
    other = dataclasses.replace(event, tags={})

    other.tags["kind"] = "mail"

    assert event.tags == {}


@EVENTS
@pytest.mark.parametrize("twin", [copy.deepcopy, lambda event: pickle.loads(pickle.dumps(event))])
def test_an_event_can_be_copied_and_pickled(event: LogEvent | LifecycleEvent, twin: Any) -> None:
    assert twin(event) == event


def test_the_names_are_found_where_the_documents_import_them() -> None:
    assert base.LogEvent is LogEvent
    assert base.LifecycleEvent is LifecycleEvent
    assert base.TaskObserver is fastapi_taskflow.TaskObserver


def test_a_status_is_its_text() -> None:
    names = ["pending", "running", "success", "failed", "interrupted", "cancelled"]

    assert [status.value for status in TaskStatus] == names
    assert [status == name for status, name in zip(TaskStatus, names, strict=True)] == [True] * 6


def test_a_task_that_fails_twice_has_one_start_one_end_and_unbroken_numbers(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    @manager.task(retries=2)
    def flaky() -> None:
        task_log("trying")
        if len(memory.log_events) < 3:
            raise ValueError("not yet")

    record = manager.run(flaky, tags={"kind": "mail"})

    events = in_order(memory)
    assert [event.seq for event in events] == list(range(5))
    assert [event.status.value for event in memory.lifecycle_events] == ["running", "success"]
    assert [event.attempt for event in events] == [0, 0, 1, 2, 2]
    assert memory.lifecycle_events[1].retries_used == 2
    assert {event.task_id for event in events} == {record.task_id}
    assert all(event.tags == {"kind": "mail"} for event in events)


def test_only_the_end_has_a_duration_and_only_a_failure_has_an_error(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    def broken() -> None:
        raise ValueError("boom")

    record = manager.run(broken)

    start, end = memory.lifecycle_events
    assert (start.duration, start.error, start.stacktrace) == (None, None, None)
    assert end.duration == record.duration is not None
    assert (end.error, end.status) == (record.error, TaskStatus.FAILED)
    assert "boom" in str(end.error)
    assert "ValueError: boom" in str(end.stacktrace)


def test_a_record_and_its_event_tell_one_time(
    manager: TaskManager, memory: InMemoryLogger, records: list[logging.LogRecord]
) -> None:
    manager.run(lambda: task_log("x"))

    events = in_order(memory)
    assert [datetime.fromtimestamp(record.created, UTC) for record in records] == [
        event.timestamp for event in events
    ]
    assert all(event.timestamp.utcoffset() == timedelta(0) for event in events)


def test_microseconds_of_a_given_clock_are_kept(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    with freeze_time("2026-01-01 12:00:00.123456", real_asyncio=True):
        manager.run(lambda: task_log("x"))

    assert memory.log_events[0].timestamp == NOON.replace(microsecond=123456)


def test_the_pipeline_gets_each_event_numbered_as_the_observers_do(
    manager: TaskManager, memory: InMemoryLogger, records: list[logging.LogRecord]
) -> None:
    manager.run(lambda: task_log("x"))

    assert [vars(record)["seq"] for record in records] == [0, 1, 2]
    assert [event.seq for event in in_order(memory)] == [0, 1, 2]


def test_events_of_gathered_children_reach_each_observer_in_order(memory: InMemoryLogger) -> None:
    second = InMemoryLogger()

    async def child() -> None:
        for _ in range(20):
            task_log("x")
            await asyncio.sleep(0)

    async def body() -> None:
        await asyncio.gather(*(child() for _ in range(5)))

    TaskManager(loggers=[memory, second]).run(body)

    for observer in (memory, second):
        assert [event.seq for event in observer.log_events] == list(range(1, 101))


def test_an_observer_that_is_in_the_pipeline_too_gets_an_event_once(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    library = logging.getLogger("fastapi_taskflow")
    library.addHandler(memory.handler)
    library.setLevel("DEBUG")

    manager.run(lambda: task_log("x"))

    assert [event.seq for event in in_order(memory)] == [0, 1, 2]


def test_changing_an_events_tags_or_extras_changes_no_other_observers(
    memory: InMemoryLogger,
) -> None:
    second = InMemoryLogger()

    TaskManager(loggers=[memory, second]).run(lambda: task_log("x", user="ada"), tags={"a": "b"})
    memory.log_events[0].tags.clear()
    memory.log_events[0].extra.clear()

    assert (second.log_events[0].tags, second.log_events[0].extra) == ({"a": "b"}, {"user": "ada"})


def test_a_record_that_went_over_the_wire_tells_of_the_same_event(
    manager: TaskManager, memory: InMemoryLogger, records: list[logging.LogRecord]
) -> None:
    far = TaskMemoryHandler()

    manager.run(lambda: task_log("x", name="bob", extra_note=1, user="ada"))
    for record in records:
        sent = pickle.loads(pickle.dumps(vars(record)))
        far.handle(logging.makeLogRecord(sent))

    assert list(far.log_events) == memory.log_events
    assert list(far.lifecycle_events) == memory.lifecycle_events


TIMES = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001  # the zone is added
    datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))]),
)
NAMES = st.text(min_size=1)
TAGS = st.dictionaries(st.text(), st.text())


@settings(deadline=None)
@given(
    st.builds(
        LogEvent,
        task_id=NAMES,
        func_name=NAMES,
        message=st.text(),
        level=st.sampled_from(["debug", "info", "warning", "error", "critical"]),
        timestamp=TIMES,
        attempt=st.integers(0),
        tags=TAGS,
        extra=st.dictionaries(st.text(), st.integers()),
        seq=st.integers(0),
    )
)
def test_an_entry_made_by_hand_reaches_an_observer_as_it_is(event: LogEvent) -> None:
    memory = InMemoryLogger()

    asyncio.run(memory.on_log(event))

    assert memory.log_events == [event]


@pytest.mark.parametrize("status", list(TaskStatus))
def test_a_change_made_by_hand_reaches_an_observer_as_it_is(status: TaskStatus) -> None:
    memory = InMemoryLogger()
    event = LifecycleEvent(
        "id", "send", status, NOON, 2, 2, 0.5, "boom", "Traceback", {"kind": "mail"}, 7
    )

    asyncio.run(memory.on_lifecycle(event))

    assert memory.lifecycle_events == [event]


@pytest.mark.parametrize("keep", [noted_entry, kept_entry])
def test_what_is_kept_of_an_entry_is_looked_at_once_by_the_garbage_collector(
    keep: Callable[[logging.LogRecord], Any], records: list[logging.LogRecord]
) -> None:
    """Of many that are looked at each time, all threads would stand still."""
    manager = TaskManager()
    manager.run(lambda: task_log("x", user="ada", tries=3), tags={"kind": "mail"})
    kept = keep(records[1])

    gc.collect()

    assert {"ada", "user", 3, "tries"} <= set(kept)
    assert not gc.is_tracked(kept)
