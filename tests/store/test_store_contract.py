"""What every store must do, over all of them; and what lasts beyond a process."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from fastapi_taskflow import (
    ConfigurationError,
    StoreError,
    TaskManager,
    TaskProgress,
    TaskStatus,
    task_log,
)
from fastapi_taskflow.loggers.ledger import Diagnostics
from fastapi_taskflow.store import LogEntry, MemoryStore, Query, TaskRecord, TaskStore
from fastapi_taskflow.store.base import Position
from fastapi_taskflow.store.chosen import SqlStore, with_snapshots
from fastapi_taskflow.store.dialects import parse
from fastapi_taskflow.store.record import changed

NOON = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


def _record(number: int, **fields: Any) -> TaskRecord:
    values: dict[str, Any] = {
        "task_id": f"id-{number:03}",
        "func_name": "send",
        "status": TaskStatus.PENDING,
        "created_at": NOON + timedelta(seconds=number),
    }
    return TaskRecord(**{**values, **fields})


ENGINES = {"postgresql-engine": {}, "mariadb-engine": {"connect_args": {"charset": "utf8mb4"}}}


@pytest.fixture(params=["memory", "sqlite", "postgresql", "mariadb", *ENGINES])
def store(request: pytest.FixtureRequest, database_of: Callable[[str], str]) -> Iterator[TaskStore]:
    with ExitStack() as stack:
        behind = None
        if request.param in ENGINES:
            url = parse(database_of(request.param.removesuffix("-engine")))
            engine = create_engine(url, **ENGINES[request.param])
            stack.callback(engine.dispose)
            behind = SqlStore(engine)
        elif request.param != "memory":
            behind = SqlStore(database_of(request.param))
        store = with_snapshots(MemoryStore(), behind, Diagnostics("fastapi_taskflow.store"))
        store.open()
        yield store
        store.close(10.0)


def test_a_record_comes_back_as_it_was_added(store: TaskStore) -> None:
    record = _record(1, tags={"a": "b"}, idempotency_key="key")

    added = store.add(record)

    assert replace(added, owner=None) == record
    assert store.get("id-001") == added
    assert store.get("id-002") is None
    assert store.entries("id-002") is None


def test_progress_is_that_of_the_attempt_that_runs(store: TaskStore) -> None:
    store.add(_record(1))
    running = (TaskStatus.PENDING, TaskStatus.RUNNING)
    progress = TaskProgress(1, 2.5, "half \0 \ud800")

    too_soon = store.set_progress("id-001", 0, progress)
    store.update("id-001", running, status=TaskStatus.RUNNING)
    was_set = store.set_progress("id-001", 0, progress)
    other = store.set_progress("id-001", 1, TaskProgress(9))
    unknown = store.set_progress("id-009", 0, TaskProgress(9))
    store.save_progress("id-001")

    assert (too_soon, was_set, other, unknown) == (False, True, False, False)
    found = store.get("id-001")
    assert found is not None
    assert found.progress == store.query(Query())[0].progress == progress

    store.update("id-001", running, status=TaskStatus.SUCCESS, end_time=NOON)

    assert not store.set_progress("id-001", 0, TaskProgress(9))
    [ended] = store.query(Query())
    assert ended.progress is not None
    assert (ended.progress.done, ended.progress.total) == (1, 2.5)


def test_an_update_is_compare_and_set(store: TaskStore) -> None:
    store.add(_record(1))

    taken = store.update(
        "id-001", (TaskStatus.PENDING,), status=TaskStatus.RUNNING, start_time=NOON
    )
    refused = store.update("id-001", (TaskStatus.PENDING,), status=TaskStatus.CANCELLED)
    unknown = store.update("id-009", (TaskStatus.PENDING,), status=TaskStatus.RUNNING)

    assert taken is not None
    assert (taken.status, taken.start_time) == (TaskStatus.RUNNING, NOON)
    assert (refused, unknown) == (None, None)
    assert [r.status for r in store.query(Query())] == [TaskStatus.RUNNING]


def test_entries_are_kept_in_order_with_their_separators(store: TaskStore) -> None:
    store.add(_record(1))
    entry = LogEntry(1, NOON, "info", "hello", 0, {"n": 1})
    separator = LogEntry(None, NOON, "info", "--- Retry 1 ---", 1)

    store.append("id-001", entry)
    store.append("id-001", separator)
    store.append("id-404", entry)

    assert store.entries("id-001") == [entry, separator]
    record = store.get("id-001")
    assert record is not None
    assert record.logs == ["2026-01-01T12:00:00Z hello", "--- Retry 1 ---"]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        (Query(), ["id-003", "id-002", "id-001"]),
        (Query(status=TaskStatus.FAILED), ["id-002"]),
        (Query(func_name="other"), ["id-003"]),
        (Query(tags={"a": "1"}), ["id-002", "id-001"]),
        (Query(tags={"a": "1", "b.c": "2"}), ["id-002"]),
        (Query(tags={"a": "2"}), []),
        (Query(text="BOOM"), ["id-002"]),
        (Query(text="100%"), []),
        (Query(since=NOON + timedelta(seconds=2)), ["id-003", "id-002"]),
        (Query(until=NOON + timedelta(seconds=2)), ["id-001"]),
        (Query(limit=1), ["id-003"]),
        (Query(after=Position(NOON + timedelta(seconds=2), "id-002")), ["id-001"]),
    ],
    ids=str,
)
def test_a_query_finds_newest_first(store: TaskStore, query: Query, ids: list[str]) -> None:
    store.add(_record(1, tags={"a": "1"}))
    failed = {"status": TaskStatus.FAILED, "error": "boom 100"}
    store.add(_record(2, tags={"a": "1", "b.c": "2"}, **failed))
    store.add(_record(3, func_name="other"))

    assert [record.task_id for record in store.query(query)] == ids


def test_pages_meet_every_record_once_even_where_times_are_equal(store: TaskStore) -> None:
    for number in range(25):
        store.add(_record(number, created_at=NOON + timedelta(seconds=number // 10)))
    met: list[str] = []
    after = None

    while page := store.query(Query(limit=4, after=after)):
        met += [record.task_id for record in page]
        after = Position(page[-1].created_at, page[-1].task_id)

    assert len(met) == len(set(met)) == 25


def test_totals_count_by_status_and_time_what_ended(store: TaskStore) -> None:
    store.add(_record(1, status=TaskStatus.SUCCESS, duration=1.0))
    store.add(_record(2, status=TaskStatus.FAILED, duration=2.0))
    store.add(_record(3, status=TaskStatus.INTERRUPTED, duration=9.0))
    store.add(_record(4))

    totals = store.totals()

    assert {status.value: n for status, n in totals.by_status.items()} == {
        "pending": 1,
        "running": 0,
        "success": 1,
        "failed": 1,
        "interrupted": 1,
        "cancelled": 0,
    }
    assert totals.avg_duration == 1.5


def test_history_lasts_beyond_a_manager(tmp_path: Path) -> None:
    database = tmp_path / "deep" / "tasks.db"

    async def run(manager: TaskManager) -> str:
        async with manager:
            record = await manager.execute(lambda: task_log("odd \ud800"))
        return record.task_id

    task_id = asyncio.run(run(TaskManager(snapshot_db=database)))
    again = TaskManager(snapshot_db=f"sqlite:///{database}")
    record = again.get_task(task_id)

    assert record.status is TaskStatus.SUCCESS
    assert record.created_at.tzinfo is not None
    assert len(record.logs) == 1
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_while_the_database_is_locked_tasks_go_on_and_rows_follow(tmp_path: Path) -> None:
    database = tmp_path / "tasks.db"
    manager = TaskManager(snapshot_db=database, store_timeout=0.5)
    manager.run(task_log, "first")
    assert manager.store.flush(10.0)
    lock = sqlite3.connect(database, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")

    record = manager.run(task_log, "second")
    waiting = manager.store.flush(0.0)
    lock.execute("ROLLBACK")
    lock.close()

    assert record.status is TaskStatus.SUCCESS
    assert not waiting
    assert manager.store.flush(30.0)
    assert manager.store.totals().by_status[TaskStatus.SUCCESS] == 2


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    database = tmp_path / "tasks.db"
    manager = TaskManager(snapshot_db=database)
    manager.store.open()
    manager.store.close(1.0)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("UPDATE taskflow_schema SET version = 99")

    with pytest.raises(StoreError, match="version 99, this library knows 3"):
        TaskManager(snapshot_db=database).run(task_log, "x")


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("oracle://scott:tiger@host/db", "oracle is not supported"),
        ("nonsense://", "sqlite"),
        ("sqlite://", "leave snapshot_db out"),
    ],
)
def test_another_database_is_refused_when_the_manager_is_made(location: str, says: str) -> None:
    with pytest.raises(StoreError) as caught:
        TaskManager(snapshot_db=location)

    assert says in str(caught.value)
    assert "tiger" not in str(caught.value)


@pytest.mark.parametrize("location", [1, "", b""])
def test_what_is_no_location_is_refused(location: Any) -> None:
    with pytest.raises(ConfigurationError, match="snapshot_db="):
        TaskManager(snapshot_db=location)


def test_a_file_that_cant_be_a_database_is_refused_at_the_first_task(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, and long enough to be sure of it" * 99)

    with pytest.raises(StoreError, match="not a database"):
        TaskManager(snapshot_db=tmp_path / "text.db").run(task_log, "x")


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("gROßer äRGER", True),
        ("GROSSER", True),
        ("", True),
        ("ärger\0", True),
        ("\0END", True),
        ("\ud800", True),
        ("\\UD800", True),
        ("\0nd", False),
        ("zz\0", False),
        ("\ud801", False),
        ("_", False),
        ("%", False),
        ("/", False),
        ("r" * 100_000, False),
    ],
    ids=[
        "any case",
        "sharp s",
        "empty",
        "up to nul",
        "from nul",
        "surrogate",
        "surrogate as it is written",
        "after nul",
        "nul",
        "other surrogate",
        "underscore",
        "percent",
        "slash",
        "long",
    ],
)
def test_a_text_is_found_as_it_is_in_any_case(store: TaskStore, text: str, is_found: bool) -> None:
    store.add(_record(1, status=TaskStatus.FAILED, error="Großer Ärger\0end \ud800"))

    assert bool(store.query(Query(text=text))) is is_found


@pytest.mark.parametrize(
    "key", ['a"b', "a.b", "$", "[0]", "a'b", "\\", "ä", " ", "a\0b", "\0", "\ud800"], ids=repr
)
def test_a_tag_is_found_whatever_its_key_and_value_are(store: TaskStore, key: str) -> None:
    store.add(_record(1, tags={key: key, "other": "1"}))
    store.add(_record(2, tags={"other": key}))

    found = [record.task_id for record in store.query(Query(tags={key: key}))]

    assert found == ["id-001"]


@pytest.mark.parametrize("case", ["ä", "a\0b", "\0", "\ud800", ""], ids=ascii)
def test_odd_ids_and_names_are_looked_for_like_any_other(store: TaskStore, case: str) -> None:
    store.add(_record(1, func_name=f"send {case}"))
    store.add(_record(2, func_name=f"send {case}x"))
    after = Position(NOON + timedelta(seconds=1.5), case)

    assert store.get(case) is None
    assert store.entries(case) is None
    assert [r.task_id for r in store.query(Query(func_name=f"send {case}"))] == ["id-001"]
    assert [r.task_id for r in store.query(Query(after=after))] == ["id-001"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"limit": -1}, "limit=-1"),
        ({"limit": 1.5}, "limit=1.5"),
        ({"since": datetime(2026, 1, 1)}, "since="),  # noqa: DTZ001  # what is refused
        ({"until": datetime(2026, 1, 1)}, "until="),  # noqa: DTZ001  # what is refused
    ],
    ids=["negative", "no whole number", "since", "until"],
)
def test_a_query_that_cant_be_answered_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Query(**fields)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_paging_goes_on_exactly_where_it_was_while_tasks_are_added(
    store: TaskStore, size: int
) -> None:
    for number in range(20):
        store.add(_record(number, created_at=NOON + timedelta(microseconds=number // 4)))
    newest = sorted((f"id-{n:03}" for n in range(20)), reverse=True)
    met: list[str] = []
    after = None

    while page := store.query(Query(limit=size, after=after)):
        met += [record.task_id for record in page]
        after = Position(page[-1].created_at, page[-1].task_id)
        store.add(_record(100 + len(met), created_at=NOON + timedelta(hours=1)))

    assert met == newest


def test_a_changed_record_is_the_record_but_for_the_change() -> None:
    record = _record(3, tags={"a": "b"}, logs=["x"])

    assert changed(record, status=TaskStatus.FAILED, attempt=2) == replace(
        record, status=TaskStatus.FAILED, attempt=2
    )
    assert record == _record(3, tags={"a": "b"}, logs=["x"])
    with pytest.raises(KeyError, match="colour"):
        changed(record, colour="red")
