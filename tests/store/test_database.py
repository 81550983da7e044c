"""The store with a database behind it: what lasts, what is refused, and what goes on meanwhile."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from fastapi_taskflow import LogEntry, StoreError, TaskManager, TaskRecord, TaskStatus, task_log
from fastapi_taskflow.store import MemoryStore, Query, TaskStore
from fastapi_taskflow.store.chosen import SqlStore, with_snapshots
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.sql import Database

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LOG = logging.getLogger("fastapi_taskflow.store")


@contextmanager
def _opened(location: str, **bounds: int) -> Iterator[TaskStore]:
    store = with_snapshots(MemoryStore(**bounds), SqlStore(location), LOG)
    store.open()
    try:
        yield store
    finally:
        store.close(10.0)


def _record(task_id: str = "id", **fields: Any) -> TaskRecord:
    given: dict[str, Any] = {"status": TaskStatus.PENDING, "created_at": NOON, **fields}
    return TaskRecord(task_id, "send", **given)


def _fail() -> None:
    task_log("trying", level="warning", left=3)
    raise ValueError("boom")


def test_a_task_and_its_log_are_there_after_a_restart(location: str) -> None:
    async def run() -> TaskRecord:
        manager = TaskManager(snapshot_db=location)
        manager.task(retries=1)(_fail)
        async with manager:
            return await manager.execute(_fail, tags={"a": "b"}, idempotency_key="k")

    before = asyncio.run(run())
    manager = TaskManager(snapshot_db=location)
    after = manager.get_task(before.task_id)

    for name in ("status", "created_at", "start_time", "end_time", "duration", "attempt"):
        assert getattr(after, name) == getattr(before, name), name
    for name in ("retries_used", "error", "stacktrace", "logs", "tags", "idempotency_key"):
        assert getattr(after, name) == getattr(before, name), name
    assert after.result is None
    entries = manager.store.entries(before.task_id)
    assert entries is not None
    assert [(entry.seq, entry.level, entry.attempt) for entry in entries] == [
        (1, "warning", 0),
        (None, "info", 1),
        (2, "warning", 1),
    ]
    assert entries[0].extra == {"left": 3}
    assert [record.task_id for record in manager.store.query(Query())] == [before.task_id]


@pytest.mark.parametrize(
    "time",
    [
        NOON.replace(microsecond=1),
        NOON.replace(microsecond=999_999),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=2))),
        datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=-5, minutes=-30))),
    ],
    ids=str,
)
def test_times_come_back_exact_and_in_utc(location: str, time: datetime) -> None:
    with _opened(location) as store:
        store.add(_record(created_at=time, start_time=time, end_time=time))
        store.append("id", LogEntry(0, time, "info", "x", 0))
    with _opened(location) as store:
        record, entries = store.get("id"), store.entries("id")

    assert record is not None
    assert entries is not None
    times = [record.created_at, record.start_time, record.end_time, entries[0].timestamp]
    assert times == [time] * 4
    assert all(t is not None and t.utcoffset() == timedelta(0) for t in times)


class Colour(Enum):
    RED = "red"


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
DEEP: list[Any] = []
for _ in range(2000):
    DEEP = [DEEP]


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("half \ud800", "half \\ud800"),
        ("nul \x00 \u2028", "nul \x00 \u2028"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (b"\xff\x00", "\\xff\x00"),
        (2**70, 2**70),
        (Colour.RED, "red"),
        (NOON, NOON.isoformat()),
        (UUID(int=1), str(UUID(int=1))),
        ({1: {"\ud800": (1, 2)}}, {"1": {"\\ud800": [1, 2]}}),
        ([None, True, 1, 1.5, "a"], [None, True, 1, 1.5, "a"]),
        (CYCLE, ["<cycle>"]),
        (Unprintable(), "<unprintable Unprintable: RuntimeError>"),
    ],
    ids=[
        "surrogate",
        "nul",
        "nan",
        "inf",
        "bytes",
        "large",
        "enum",
        "time",
        "uuid",
        "keys",
        "plain",
        "cycle",
        "unprintable",
    ],
)
def test_odd_extras_are_stored_as_what_json_knows(
    location: str, value: object, stored: object
) -> None:
    with _opened(location) as store:
        store.add(_record())
        store.append("id", LogEntry(0, NOON, "info", "x", 0, {"value": value}))
    with _opened(location) as store:
        entries = store.entries("id")

    assert entries is not None
    assert entries[0].extra == {"value": stored}


def test_a_database_that_is_closed_keeps_nothing_of_it(location: str) -> None:
    database = Database(Connections(location))

    def engines() -> weakref.WeakSet[Engine]:
        return weakref.WeakSet(each for each in gc.get_objects() if isinstance(each, Engine))

    before = engines()
    for _ in range(3):
        database.open()
        database.close()
    gc.collect()

    assert list(engines() - before) == []


def test_text_that_utf8_has_no_form_for_is_stored(location: str) -> None:
    odd, escaped = "half \ud800", "half \\ud800"
    with _opened(location) as store:
        store.add(_record(error=odd, stacktrace=odd, idempotency_key=odd, tags={odd: odd}))
        store.append("id", LogEntry(0, NOON, "info", odd, 0, {"deep": DEEP}))
        assert store.flush(10.0)
    with _opened(location) as store:
        record, entries = store.get("id"), store.entries("id")

    assert record is not None
    assert entries is not None
    assert (record.error, record.stacktrace) == (escaped, escaped)
    assert entries[0].message == escaped


def test_four_threads_lose_and_mix_nothing(location: str) -> None:
    def work(name: str) -> None:
        for number in range(25):
            task_id = f"{name}-{number}"
            store.add(_record(task_id, tags={"thread": name}))
            store.update(task_id, (TaskStatus.PENDING,), status=TaskStatus.RUNNING)
            for seq in range(4):
                store.append(task_id, LogEntry(seq, NOON, "info", task_id, 0))
            store.update(task_id, (TaskStatus.RUNNING,), status=TaskStatus.SUCCESS)
            store.query(Query(tags={"thread": name}, limit=3))

    with _opened(location) as store:
        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        totals = store.totals()
    with _opened(location) as store:
        records = store.query(Query(limit=1000))
        logs = {record.task_id: store.entries(record.task_id) for record in records}

    assert totals.by_status[TaskStatus.SUCCESS] == len(records) == 100
    for task_id, entries in logs.items():
        assert entries is not None
        assert [(entry.seq, entry.message) for entry in entries] == [
            (seq, task_id) for seq in range(4)
        ]


def test_managers_that_share_a_database_list_each_others_tasks(location: str) -> None:
    managers = [TaskManager(snapshot_db=location) for _ in range(3)]

    ids = [manager.run(task_log, "x").task_id for manager in managers for _ in range(3)]

    for manager in managers:
        assert manager.store.flush(10.0)
    assert {record.task_id for record in managers[0].store.query(Query())} == set(ids)


@pytest.mark.parametrize("kind", ["directory", "below a file"])
def test_a_path_that_is_no_database_is_a_clear_error_at_startup(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path if kind == "directory" else tmp_path / "file" / "x"

    with pytest.raises(StoreError) as caught:
        asyncio.run(TaskManager(snapshot_db=path).startup())

    assert str(path) in str(caught.value)
    assert "the snapshot database" in str(caught.value)
    assert isinstance(caught.value, OSError)
