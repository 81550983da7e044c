"""Which task has an idempotency key, as tasks end: on every database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from fastapi_taskflow import TaskRecord, TaskStatus
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.sql import Database

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def database(location: str) -> Iterator[Database]:
    database = Database(Connections(location))
    yield database
    database.close()


@pytest.mark.parametrize(
    ("ended", "is_kept"),
    [
        ({"status": TaskStatus.INTERRUPTED, "requeue_on_interrupt": True}, True),
        ({"status": TaskStatus.INTERRUPTED}, False),
        (
            {
                "status": TaskStatus.INTERRUPTED,
                "requeue_on_interrupt": True,
                "start_time": None,
            },
            False,
        ),
        ({"status": TaskStatus.FAILED, "requeue_on_interrupt": True}, False),
    ],
    ids=["to run again", "interrupted", "never begun", "failed"],
)
def test_a_task_that_is_to_run_again_keeps_its_key(
    database: Database, ended: dict[str, Any], is_kept: bool
) -> None:
    first = TaskRecord("first", "f", TaskStatus.PENDING, NOON, idempotency_key="k", start_time=NOON)
    database.write([replace(first, **ended)], (), ())

    second = TaskRecord("second", "f", TaskStatus.PENDING, NOON, idempotency_key="k")
    taken = database.write([second], (), ())

    assert taken == ({"second": "first"} if is_kept else {})
