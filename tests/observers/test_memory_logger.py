"""InMemoryLogger: what was logged, as lists to assert on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from freezegun import freeze_time

from fastapi_taskflow import (
    InMemoryLogger,
    LifecycleEvent,
    LogEvent,
    TaskManager,
    TaskStatus,
    task_log,
)


async def count(upto: int) -> None:
    for number in range(upto):
        task_log(str(number))


async def all_levels() -> None:
    for level in ("debug", "info", "warning", "error", "critical"):
        task_log(level, level=level)


async def order(basket: list[str]) -> None:
    task_log("ordered", level="warning", basket=basket, name="bob", args=1, msg=2, message=3)
    basket.append("later")


def test_a_log_entry_is_captured_with_all_its_fields() -> None:
    memory = InMemoryLogger()

    with freeze_time("2026-01-01 12:00:00.123456", real_asyncio=True):
        record = TaskManager(loggers=[memory]).run(order, ["tea"], tags={"shop": "north"})

    assert memory.log_events == [
        LogEvent(
            task_id=record.task_id,
            func_name="order",
            message="ordered",
            level="warning",
            timestamp=datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC),
            attempt=0,
            tags={"shop": "north"},
            extra={"basket": ["tea"], "name": "bob", "args": 1, "msg": 2, "message": 3},
            seq=1,
        )
    ]


def test_status_changes_are_captured_with_all_their_fields() -> None:
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[memory])

    @manager.task(retries=1)
    async def fail() -> None:
        raise ValueError("no such address")

    with freeze_time("2026-01-01 12:00:00", real_asyncio=True):
        record = manager.run(fail, tags={"shop": "north"})

    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    fields: dict[str, Any] = {"task_id": record.task_id, "func_name": "fail", "timestamp": noon}
    fields["tags"] = {"shop": "north"}
    assert memory.lifecycle_events == [
        LifecycleEvent(status=TaskStatus.RUNNING, attempt=0, retries_used=0, seq=0, **fields),
        LifecycleEvent(
            status=TaskStatus.FAILED,
            attempt=1,
            retries_used=1,
            duration=record.duration,
            error="no such address",
            stacktrace=record.stacktrace,
            seq=1,
            **fields,
        ),
    ]
    assert isinstance(record.duration, float)
    assert str(record.stacktrace).rstrip().endswith("ValueError: no such address")


@pytest.mark.parametrize(
    ("options", "captured"),
    [
        pytest.param({}, ["debug", "info", "warning", "error", "critical"], id="default"),
        pytest.param({"min_level": "warning"}, ["warning", "error", "critical"], id="warning"),
        pytest.param({"min_level": "ERROR"}, ["error", "critical"], id="any case"),
        pytest.param({"min_level": 50}, ["critical"], id="number"),
    ],
)
def test_min_level_filters_entries_but_never_a_status(
    options: dict[str, Any], captured: list[str]
) -> None:
    memory = InMemoryLogger(**options)

    TaskManager(loggers=[memory]).run(all_levels)

    assert [event.level for event in memory.log_events] == captured
    assert [event.status.value for event in memory.lifecycle_events] == ["running", "success"]


def test_capacity_keeps_the_newest_of_each_list() -> None:
    memory = InMemoryLogger(capacity=3)
    manager = TaskManager(loggers=[memory])

    for _ in range(2):
        manager.run(count, 5)

    assert [event.message for event in memory.log_events] == ["2", "3", "4"]
    assert [event.status.value for event in memory.lifecycle_events] == [
        "success",
        "running",
        "success",
    ]


def test_without_a_capacity_everything_is_kept() -> None:
    memory = InMemoryLogger()

    TaskManager(loggers=[memory]).run(count, 12_000)

    assert len(memory.log_events) == 12_000


def test_clear_forgets_what_was_captured_and_captures_on() -> None:
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[memory])
    manager.run(count, 1)
    captured = memory.log_events

    memory.clear()
    cleared = (memory.log_events, memory.lifecycle_events)
    manager.run(count, 2)

    assert cleared == ([], [])
    assert [event.message for event in memory.log_events] == ["0", "1"]
    assert [event.message for event in captured] == ["0"]


def test_the_lists_are_lists_that_a_test_may_change() -> None:
    memory = InMemoryLogger()
    TaskManager(loggers=[memory]).run(count, 1)

    memory.log_events.pop()
    memory.lifecycle_events.clear()

    assert [event.message for event in memory.log_events] == ["0"]
    assert len(memory.lifecycle_events) == 2


def test_what_was_captured_outlasts_the_shutdown() -> None:
    memory = InMemoryLogger()

    async def main() -> None:
        async with TaskManager(loggers=[memory]) as manager:
            await manager.execute(count, 1)

    asyncio.run(main())

    assert [event.message for event in memory.log_events] == ["0"]


def test_an_event_that_is_changed_by_one_observer_stays_as_it_was_for_the_next() -> None:
    first, second = InMemoryLogger(), InMemoryLogger()
    manager = TaskManager(loggers=[first, second])
    manager.run(order, ["tea"], tags={"shop": "north"})

    first.log_events[0].tags["shop"] = "south"
    first.log_events[0].extra["name"] = "eve"

    assert second.log_events[0].tags == {"shop": "north"}
    assert second.log_events[0].extra["name"] == "bob"


def test_an_event_is_made_once_however_often_it_is_read() -> None:
    memory = InMemoryLogger()

    TaskManager(loggers=[memory]).run(count, 2)

    first, again = memory.log_events, memory.log_events
    assert first is not again
    assert [id(event) for event in first] == [id(event) for event in again]


def test_the_newest_are_kept_whether_or_not_they_were_read_meanwhile() -> None:
    memory = InMemoryLogger(capacity=3)
    manager = TaskManager(loggers=[memory])

    async def body() -> list[list[str]]:
        seen = []
        for number in range(8):
            task_log(str(number))
            if number % 3 == 1:
                seen.append([event.message for event in memory.log_events])
        return seen

    seen = manager.run(body).result

    assert seen == [["0", "1"], ["2", "3", "4"], ["5", "6", "7"]]
    assert [event.message for event in memory.log_events] == ["5", "6", "7"]
