"""A task's record, or event, is made, and changed, as any frozen dataclass is, only faster."""

from __future__ import annotations

import dataclasses
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from fastapi_taskflow import LogEvent, TaskRecord, TaskStatus
from fastapi_taskflow.events import make_log_event
from fastapi_taskflow.store.record import changed, new_record

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GIVEN = ("id", "send", TaskStatus.PENDING, NOON)


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), (((1, 2), {"a": 1}, {"kind": "x"}, "key"), {"packed": "[]", "persist": True})],
    ids=["the least", "more"],
)
def test_a_new_record_is_what_its_class_makes(values: Any, named: Any) -> None:
    made = new_record(*GIVEN, *values, **named)

    assert type(made) is TaskRecord
    assert made == TaskRecord(*GIVEN, *values, **named)
    assert pickle.loads(pickle.dumps(made)) == made  # made just now


def test_two_new_records_share_no_container() -> None:
    one, other = new_record(*GIVEN), new_record(*GIVEN)

    for name in ("kwargs", "tags", "logs"):
        assert getattr(one, name) is not getattr(other, name)


@pytest.mark.parametrize("count", range(6, len(dataclasses.fields(LogEvent)) + 1))
def test_a_new_event_is_what_its_class_makes(count: int) -> None:
    values = ["id", "send", "hello", "info", NOON, 0, {"kind": "x"}, {"user": "ada"}, 3][:count]

    made = make_log_event(*values)

    assert type(made) is LogEvent
    assert made == LogEvent(*values)  # type: ignore[arg-type]  # they are of several types
    assert pickle.loads(pickle.dumps(made)) == made  # made just now


@pytest.mark.parametrize("field", dataclasses.fields(TaskRecord), ids=lambda field: field.name)
def test_a_changed_field_is_the_only_one_that_changes(field: Any) -> None:
    record = TaskRecord(*GIVEN, (1,), {"a": 1}, error="x", attempt=2)

    made = changed(record, **{field.name: "new"})

    expected: Any = {field.name: "new"}
    assert made == dataclasses.replace(record, **expected)
    assert record == TaskRecord(*GIVEN, (1,), {"a": 1}, error="x", attempt=2)


def test_a_changed_record_is_frozen() -> None:
    made: Any = changed(TaskRecord(*GIVEN), attempt=1)

    with pytest.raises(dataclasses.FrozenInstanceError):
        made.attempt = 2


def test_a_field_that_there_is_not_is_an_error() -> None:
    with pytest.raises(KeyError, match="colour"):
        changed(TaskRecord(*GIVEN), colour="red")
