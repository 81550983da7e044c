"""What memory has forgotten and the database does not have yet is found all the same."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from fastapi_taskflow import LogEntry, TaskRecord, TaskStatus
from fastapi_taskflow.store import MemoryStore
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.snapshot import SnapshotStore
from fastapi_taskflow.store.sql import Database

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PENDING, RUNNING, SUCCESS = TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.SUCCESS
LOG = logging.getLogger("fastapi_taskflow.store")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@contextmanager
def _opened(database: Database, memory: MemoryStore | None = None) -> Iterator[SnapshotStore]:
    store = SnapshotStore(memory or MemoryStore(max_finished_tasks=1), database, LOG)
    store.open()
    try:
        yield store
    finally:
        store.close(30.0)


def _entry(seq: int | None, attempt: int = 0) -> LogEntry:
    time = NOON + timedelta(microseconds=seq or 0)
    return LogEntry(seq, time, "info", f"line {seq}", attempt, {"n": seq})


def _start(store: SnapshotStore, task_id: str = "id") -> None:
    """A task with one entry."""
    store.add(TaskRecord(task_id, "send", PENDING, NOON))
    store.append(task_id, _entry(1))


def _end(store: SnapshotStore, task_id: str = "id") -> None:
    """Two entries more, the task's end, and another task's, which takes its place in memory."""
    store.append(task_id, _entry(None, attempt=1))
    store.append(task_id, _entry(2, attempt=1))
    store.update(task_id, (PENDING,), status=SUCCESS)
    store.add(TaskRecord("other", "send", PENDING, NOON))
    store.update("other", (PENDING,), status=SUCCESS)


def _known(store: SnapshotStore, task_id: str = "id") -> tuple[object, int, list[LogEntry] | None]:
    """A task's status, how many lines its log has, and its entries."""
    record = store.get(task_id)
    assert record is not None
    return record.status, len(record.logs), store.entries(task_id)


ENTRIES = [_entry(1), _entry(None, attempt=1), _entry(2, attempt=1)]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Another process writes, and does not come to an end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def _gone(path: Path) -> Iterator[None]:
    """The tables are not there."""
    tables = ("taskflow_tasks", "taskflow_entries")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for table in tables:
            other.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
        yield
        for table in tables:
            other.execute(f"ALTER TABLE {table}_away RENAME TO {table}")


@pytest.mark.parametrize("trouble", [_locked, _gone], ids=["locked", "gone"])
def test_a_task_that_was_never_written_is_found(
    path: Path, trouble: Callable[[Path], AbstractContextManager[None]]
) -> None:
    with _opened(Database(Connections(str(path)))) as store:
        with trouble(path):
            _start(store)
            _end(store)
            meanwhile = _known(store)
        assert store.flush(30.0)
        afterwards = _known(store)

    assert meanwhile == afterwards == (SUCCESS, 3, ENTRIES)


def test_a_task_whose_start_is_written_is_found_as_it_ended(path: Path) -> None:
    with _opened(Database(Connections(str(path)))) as store:
        _start(store)
        assert store.flush(30.0)
        with _locked(path):
            _end(store)
            meanwhile = _known(store)
        assert store.flush(30.0)
        afterwards = _known(store)

    assert meanwhile == afterwards == (SUCCESS, 3, ENTRIES)


def test_where_the_database_cant_be_read_the_part_that_waits_is_found(path: Path) -> None:
    with _opened(Database(Connections(str(path)))) as store:
        _start(store)
        assert store.flush(30.0)
        with _gone(path):
            _end(store)
            meanwhile = _known(store)
        assert store.flush(30.0)
        afterwards = _known(store)

    assert meanwhile == (SUCCESS, 2, ENTRIES[1:])
    assert afterwards == (SUCCESS, 3, ENTRIES)


def test_a_late_entry_of_a_forgotten_task_is_found(path: Path) -> None:
    with _opened(Database(Connections(str(path)))) as store:
        _start(store)
        _end(store)
        assert store.flush(30.0)
        with _locked(path):
            store.append("id", _entry(3))
            meanwhile = _known(store)

    assert meanwhile == (SUCCESS, 4, [*ENTRIES, _entry(3)])


def test_entries_of_no_task_are_nobodys(path: Path) -> None:
    with _opened(Database(Connections(str(path)))) as store:
        store.append("nobody", _entry(1))
        assert store.flush(30.0)

        assert store.entries("nobody") is None
        assert store.get("nobody") is None


class HeldDatabase(Database):
    """Holds the writer where its rows are in, or have failed to be, and it doesn't know yet."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self.is_in, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self.error: Exception | None = None

    def write(
        self,
        added: Collection[TaskRecord],
        changed: Collection[TaskRecord],
        logged: Collection[tuple[str, LogEntry]],
    ) -> dict[str, str]:
        error, self.error = self.error, None
        taken = {} if error is not None else super().write(added, changed, logged)
        self.is_in.set()
        assert self.go_on.wait(30)
        if error is not None:
            raise error
        return taken


@pytest.mark.parametrize("is_known", [False, True], ids=["new", "known"])
def test_what_is_written_while_one_looks_is_not_there_twice(path: Path, is_known: bool) -> None:
    database = HeldDatabase(Connections(str(path)))
    with _opened(database) as store:
        _start(store)
        if is_known:
            assert store.flush(30.0)
        database.is_in.clear()
        database.go_on.clear()
        store.append("id", _entry(None, attempt=1))
        assert database.is_in.wait(30)

        store.append("id", _entry(2, attempt=1))
        store.update("id", (PENDING,), status=SUCCESS)
        store.add(TaskRecord("other", "send", PENDING, NOON))
        store.update("other", (PENDING,), status=SUCCESS)
        found = _known(store)
        database.go_on.set()

    assert found == (SUCCESS, 3, ENTRIES)


def test_what_came_while_a_batch_failed_is_written_behind_it(path: Path) -> None:
    database = HeldDatabase(Connections(str(path)))
    database.error = OperationalError("", {}, Exception("database is locked"))
    database.go_on.clear()
    with _opened(database) as store:
        store.add(TaskRecord("id", "send", PENDING, NOON))
        store.append("id", _entry(1))
        assert database.is_in.wait(30)
        _end(store)
        database.go_on.set()
        assert store.flush(30.0)
    with _opened(Database(Connections(str(path)))) as store:
        stored = _known(store)

    assert stored == (SUCCESS, 3, ENTRIES)


class UnreadableDatabase(HeldDatabase):
    """Has readers wait for ever."""

    def get(self, task_id: str) -> TaskRecord | None:
        raise AssertionError(f"{task_id} was looked for in the database")

    def entries(self, task_id: str) -> list[LogEntry]:
        raise AssertionError(f"entries of {task_id} were looked for in the database")


def test_who_asks_for_a_task_that_waits_as_a_whole_does_not_wait(path: Path) -> None:
    database = UnreadableDatabase(Connections(str(path)))
    database.go_on.clear()
    with _opened(database) as store:
        _start(store)
        assert database.is_in.wait(30)
        _end(store)
        found = _known(store)
        database.go_on.set()

    assert found == (SUCCESS, 3, ENTRIES)


class BusyMemory(MemoryStore):
    """Lets another thread try to change a record while it is changing one itself."""

    def __init__(self) -> None:
        super().__init__()
        self.other: threading.Thread | None = None

    def update(
        self, task_id: str, expected: Collection[TaskStatus], **changes: Any
    ) -> TaskRecord | None:
        record = super().update(task_id, expected, **changes)
        other, self.other = self.other, None
        if other is not None:
            other.start()
            other.join(0.2)  # it is done by now, or waits for its turn
        return record


def test_changes_reach_the_database_in_the_order_in_which_they_were_made(path: Path) -> None:
    memory = BusyMemory()
    with _opened(Database(Connections(str(path))), memory) as store:
        _start(store)
        change = {"task_id": "id", "expected": (RUNNING,), "status": SUCCESS}
        memory.other = other = threading.Thread(target=store.update, kwargs=change)

        store.update("id", (PENDING,), status=RUNNING)
        other.join(30)
        live = _known(store)
    with _opened(Database(Connections(str(path)))) as store:
        stored = _known(store)

    assert live == stored == (SUCCESS, 1, ENTRIES[:1])


def test_what_could_not_be_written_at_the_end_is_counted_with_what_was_just_tried(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = HeldDatabase(Connections(str(path)))
    store = SnapshotStore(MemoryStore(), database, LOG)
    store.open()
    database.go_on.clear()
    _start(store)
    assert database.is_in.wait(30)
    store.append("id", _entry(2))

    with caplog.at_level("ERROR", LOG.name):
        store.close(0.0)
    database.go_on.set()
    assert store.flush(30.0)
    store.close(1.0)

    assert "1 task changes and 2 log entries could not be written" in caplog.text
