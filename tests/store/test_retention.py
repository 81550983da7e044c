"""Ended tasks are deleted once they are old, and nothing else is."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from fastapi_taskflow import (
    ConfigurationError,
    LogEntry,
    TaskManager,
    TaskRecord,
    TaskStatus,
    task_log,
)
from fastapi_taskflow.store import retention
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.retention import Retention, delete_some
from fastapi_taskflow.store.schema import entries, keys, tags, tasks
from fastapi_taskflow.store.sql import Database

PATIENCE = 60.0
NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=31)
LOG = logging.getLogger("fastapi_taskflow.store")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def database(location: str) -> Iterator[Database]:
    database = Database(Connections(location))
    database.open()
    yield database
    database.close()


def _record(task_id: str, ended: datetime | None, **fields: Any) -> TaskRecord:
    status = TaskStatus.RUNNING if ended is None else TaskStatus.SUCCESS
    values = {"status": status, "created_at": LONG_AGO, "end_time": ended, **fields}
    return TaskRecord(task_id=task_id, func_name="send", **values)


def _write(database: Database, records: list[TaskRecord], lines: int = 0) -> None:
    logged = [
        (record.task_id, LogEntry(seq, LONG_AGO, "info", "line", 0))
        for record in records
        for seq in range(lines)
    ]
    database.write(records, [], logged)


def _count(database: Database) -> list[int]:
    with database.reading() as connection:
        return [
            connection.scalar(select(func.count()).select_from(table)) or 0
            for table in (tasks, entries, tags, keys)
        ]


def _ids(database: Database) -> list[str]:
    with database.reading() as connection:
        return sorted(connection.scalars(select(tasks.c.task_id)))


def _delete_all(database: Database) -> list[str]:
    gone, has_more = delete_some(database, NOW - timedelta(days=30))
    while has_more:
        more, has_more = delete_some(database, NOW - timedelta(days=30))
        gone += more
    return gone


def test_only_what_has_ended_long_ago_is_deleted(database: Database) -> None:
    again = {"status": TaskStatus.INTERRUPTED, "requeue_on_interrupt": True}
    _write(
        database,
        [
            _record("old", LONG_AGO),
            *(
                _record(f"old-{status.value}", LONG_AGO, status=status)
                for status in TaskStatus
                if status.is_final
            ),
            _record("ended-lately", NOW),
            _record("running", None),
            _record("pending", None, status=TaskStatus.PENDING),
            _record("to-run-again", LONG_AGO, start_time=LONG_AGO, **again),
        ],
    )

    gone = _delete_all(database)

    assert sorted(gone) == ["old", "old-cancelled", "old-failed", "old-interrupted", "old-success"]
    assert _ids(database) == ["ended-lately", "pending", "running", "to-run-again"]


def test_all_there_is_of_a_task_goes_with_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_TASKS", 3)
    monkeypatch.setattr(retention, "BATCH_ENTRIES", 7)
    options: dict[str, Any] = {"tags": {"a": "b", "c": "d"}}
    old = [
        _record(f"old-{n}", LONG_AGO, idempotency_key=f"old {n}" * 60, **options) for n in range(8)
    ]
    new = [_record(f"new-{n}", NOW, idempotency_key=f"new {n}", **options) for n in range(2)]
    _write(database, [*old, *new], lines=5)

    _delete_all(database)

    assert _ids(database) == ["new-0", "new-1"]
    assert _count(database) == [2, 10, 4, 2]


def test_a_key_that_another_task_has_now_is_kept(database: Database) -> None:
    old = _record("old", LONG_AGO, idempotency_key="key", status=TaskStatus.FAILED)
    _write(database, [old])
    _write(database, [_record("new", NOW, idempotency_key="key")])

    _delete_all(database)

    assert _count(database) == [1, 0, 0, 1]


def test_several_processes_may_delete_at_once(
    location: str,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    said: Callable[[], list[str]],
) -> None:
    monkeypatch.setattr(retention, "BATCH_TASKS", 10)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0.0)
    _write(database, [_record(f"old-{n:03}", LONG_AGO) for n in range(300)], lines=3)
    gone: list[str] = []
    databases = [Database(Connections(location)) for _ in range(3)]
    sweepers = [Retention(each, timedelta(days=30), gone.extend, LOG) for each in databases]

    for sweeper in sweepers:
        sweeper.start()
    until(lambda: _count(database) == [0, 0, 0, 0])
    for sweeper, each in zip(sweepers, databases, strict=True):
        sweeper.close()
        each.close()

    assert said() == []
    assert sorted(gone) == [f"old-{n:03}" for n in range(300)]


def test_a_manager_deletes_at_its_start_and_forgets(location: str) -> None:
    manager = TaskManager(snapshot_db=location, retention_days=30)
    other = Database(Connections(location))

    async def main() -> list[str]:
        async with manager:
            record = await manager.execute(task_log, "hello", tags={"a": "b"})
            kept = await manager.execute(task_log, "later")
        with other.transaction() as connection:
            old = tasks.update().where(tasks.c.task_id == record.task_id)
            connection.execute(old.values(created_at=LONG_AGO, end_time=LONG_AGO))
        assert manager.store.get(record.task_id) is not None
        async with manager:
            await asyncio.to_thread(until, lambda: manager.store.get(record.task_id) is None)
            return [kept.task_id]

    kept = asyncio.run(main())

    assert _ids(other) == kept
    other.close()


def test_without_a_number_of_days_nothing_is_deleted(location: str, database: Database) -> None:
    _write(database, [_record("old", LONG_AGO)])
    manager = TaskManager(snapshot_db=location)

    async def main() -> None:
        async with manager:
            await manager.execute(task_log, "hello")
            assert "fastapi_taskflow-retention" not in [t.name for t in threading.enumerate()]

    asyncio.run(main())

    assert "old" in _ids(database)


def test_a_locked_database_is_reported_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tasks.db"
    database = Database(Connections(f"sqlite:///{path}?timeout=0.1"))
    database.open()
    _write(database, [_record("old", LONG_AGO)])
    monkeypatch.setattr(retention, "FAILED_SECONDS", 0.01)
    sweeper = Retention(database, timedelta(days=30), lambda ids: None, LOG)

    with closing(sqlite3.connect(path)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        sweeper.start()
        until(lambda: "can't be deleted now" in caplog.text)
        assert _ids(database) == ["old"]

    until(lambda: _ids(database) == [])
    sweeper.close()
    database.close()


def test_tasks_go_on_while_much_is_deleted(location: str, database: Database) -> None:
    _write(database, [_record(f"old-{n:04}", LONG_AGO) for n in range(1000)], lines=20)
    manager = TaskManager(snapshot_db=location, retention_days=1)

    async def main() -> None:
        async with manager:
            for number in range(50):
                await manager.execute(task_log, number)
            await asyncio.to_thread(until, lambda: _count(database)[0] == 50)

    asyncio.run(main())

    assert manager.store.totals().by_status[TaskStatus.SUCCESS] == 50


@pytest.mark.parametrize(
    "days", [0, -1, float("nan"), float("inf"), 1e9, True, "30", timedelta(days=1)], ids=str
)
def test_a_wrong_number_of_days_is_an_error(days: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"retention_days.*a number of days above 0"):
        TaskManager(snapshot_db=tmp_path / "tasks.db", retention_days=days)
