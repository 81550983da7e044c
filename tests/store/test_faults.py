"""A database that is locked, full, read-only, deleted or gone: tasks go on, nothing is lost."""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from fastapi_taskflow import LogEntry, StoreError, TaskManager, TaskRecord, TaskStatus, task_log
from fastapi_taskflow.store import MemoryStore, Query, beats, writer
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.snapshot import SnapshotStore
from fastapi_taskflow.store.sql import Database

PATIENCE = 60.0
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LOG = logging.getLogger("fastapi_taskflow.store")
PENDING, SUCCESS = TaskStatus.PENDING, TaskStatus.SUCCESS


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "db").mkdir()
    return tmp_path / "db" / "tasks.db"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield


def _written(path: Path) -> tuple[int, int]:
    """How many tasks have succeeded, and entries are there, in the file."""
    with closing(sqlite3.connect(path)) as connection:
        ended = "SELECT count(*) FROM taskflow_tasks WHERE status = 'success'"
        entries = "SELECT count(*) FROM taskflow_entries"
        return tuple(connection.execute(each).fetchone()[0] for each in (ended, entries))


def _reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for text in caplog.messages if "can't be written now" in text]


def test_while_a_file_is_locked_tasks_go_on(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manager = TaskManager(snapshot_db=f"sqlite:///{path}?timeout=0.05", store_timeout=0.05)

    async def main() -> list[TaskRecord]:
        async with manager:
            await manager.execute(task_log, "before")
            with _locked(path):
                records = [await manager.execute(task_log, number) for number in range(30)]
                await asyncio.to_thread(until, lambda: _reports(caplog))
                assert _written(path) == (1, 1)
            await asyncio.to_thread(until, lambda: _written(path) == (31, 31))
            return records

    records = asyncio.run(main())

    assert {record.status for record in records} == {SUCCESS}
    assert len(_reports(caplog)) == 1
    assert "0 rows dropped" in _reports(caplog)[0]


FULL = """
import asyncio, logging, os, resource, sys, time
from fastapi_taskflow import TaskManager, task_log

path = sys.argv[1]
reports = []
log = logging.getLogger("fastapi_taskflow.store")
log.addFilter(lambda record: reports.append(record.getMessage()))
manager = TaskManager(snapshot_db=path, store_timeout=0.05)
unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

async def main():
    async with manager:
        await manager.execute(task_log, "before")
        size = os.path.getsize(path + "-wal")
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        for number in range(100):
            record = await manager.execute(task_log, "x" * 1000)
            assert record.status.value == "success"
        while not any("can't be written" in text for text in reports):
            await asyncio.sleep(0.01)
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

asyncio.run(main())
assert sum("can't be written" in text for text in reports) == 1, reports
"""


def test_when_a_disk_is_full_it_is_written_once_there_is_room(path: Path, run_python: Any) -> None:
    done = run_python(FULL, str(path))

    assert done.returncode == 0, done.stderr
    assert _written(path) == (101, 101)


READ_ONLY = """
import logging, os, tempfile
from datetime import UTC, datetime
from pathlib import Path
from fastapi_taskflow import TaskRecord, TaskStatus
from fastapi_taskflow.store import MemoryStore
from fastapi_taskflow.store.snapshot import SnapshotStore
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.sql import Database

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "tasks.db"
database = Database(Connections(str(path)))
store = SnapshotStore(MemoryStore(), database, logging.getLogger("fastapi_taskflow.store"))
store.open()
store.add(TaskRecord("before", "send", TaskStatus.PENDING, datetime.now(UTC)))
assert store.flush(60.0)  # what is imported late is there by now, where another user can't read it
database.close()
if os.geteuid() == 0:  # root may write anything
    for each in (path.parent, *path.parent.iterdir()):
        os.chown(each, 65534, 65534)
    os.setuid(65534)
path.chmod(0o444)
path.parent.chmod(0o555)
store.add(TaskRecord("id", "send", TaskStatus.PENDING, datetime.now(UTC)))
store.update("id", (TaskStatus.PENDING,), status=TaskStatus.SUCCESS)
assert not store.flush(1.0)
assert store.get("id").status is TaskStatus.SUCCESS
path.parent.chmod(0o755)
path.chmod(0o644)
assert store.flush(60.0)
assert database.get("id").status is TaskStatus.SUCCESS
store.close(60.0)
for each in path.parent.iterdir():
    each.unlink()
os._exit(0)  # its folder is in one that is not this user's
"""


def test_a_file_that_is_read_only_is_written_when_it_no_longer_is(
    tmp_path: Path, run_python: Any
) -> None:
    done = run_python(READ_ONLY)

    assert done.returncode == 0, done.stderr


def take_away(path: Path, what: str) -> None:
    """Delete a database's files, and the "folder" too, or have one "replaced", as others would."""
    for each in path.parent.iterdir():
        each.unlink()
    if what == "folder":
        path.parent.rmdir()
    elif what == "replaced":
        path.write_bytes(b"")


@pytest.mark.parametrize("what", ["file", "folder", "replaced"])
def test_what_follows_after_a_file_was_deleted_is_in_a_new_one(
    path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    manager = TaskManager(snapshot_db=path)

    async def main() -> None:
        async with manager:
            await manager.execute(task_log, "before")
            take_away(path, what)
            for number in range(20):
                record = await manager.execute(task_log, number)
                assert record.status is SUCCESS

    asyncio.run(main())

    assert _written(path) == (20, 20)
    assert len([text for text in caplog.messages if "deleted or replaced" in text]) == 1


@pytest.mark.parametrize("what", ["deleted", "replaced"])
def test_a_file_that_was_deleted_while_nothing_happens_is_made_anew_and_that_is_said(
    path: Path, what: str, monkeypatch: pytest.MonkeyPatch, said: Callable[[], list[str]]
) -> None:
    monkeypatch.setattr(beats, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(beats, "LOOK_SECONDS", 0.01)
    manager = TaskManager(snapshot_db=path)

    async def main() -> None:
        async with manager:
            await manager.execute(task_log, "before")
            take_away(path, what)
            await asyncio.to_thread(until, said)
            assert manager.store.query(Query()) == []
            assert manager.store.totals().by_status[SUCCESS] == 0
            assert await manager.execute(task_log, "after") is not None

    asyncio.run(main())

    assert _written(path) == (1, 1)
    (report,) = said()
    assert "deleted or replaced" in report


def test_what_fails_as_a_file_is_replaced_is_said_to_be_that(path: Path) -> None:
    def read() -> None:
        with database.reading() as connection:
            take_away(path, "replaced")
            connection.execute(text("SELECT * FROM nowhere"))

    with closing(Database(Connections(str(path)))) as database:
        database.open()

        with pytest.raises(OSError, match="deleted or replaced"):
            read()


class Overtaken(Database):
    """Its file is deleted at the end of a transaction, and made anew for another thread."""

    @contextmanager
    def batch(self, file: int) -> Iterator[Any]:
        with super().batch(file) as connection:
            yield connection
        for each in Path(self.url.database or "").parent.iterdir():
            each.unlink()
        with pytest.raises(StoreError, match="deleted or replaced"):
            self.totals()
        self.totals()


def test_what_another_thread_notices_is_gone_is_not_taken_for_written(path: Path) -> None:
    with (
        closing(Overtaken(Connections(str(path)))) as database,
        pytest.raises(OSError, match="deleted or replaced"),
    ):
        database.write([TaskRecord("id", "send", PENDING, NOON)], (), ())


def test_while_a_server_is_gone_tasks_go_on(server: Any, caplog: pytest.LogCaptureFixture) -> None:
    manager = TaskManager(snapshot_db=server.new_database(), store_timeout=0.05)

    async def main() -> None:
        async with manager:
            await manager.execute(task_log, "before")
            server.kill()
            try:
                for number in range(30):
                    record = await manager.execute(task_log, number)
                    assert record.status is SUCCESS
                await asyncio.to_thread(until, lambda: _reports(caplog))
            finally:
                await asyncio.to_thread(server.start)
            await asyncio.to_thread(until, lambda: manager.store.flush(1.0))
            found = manager.store.query(Query(limit=100))
            assert [record.status for record in found] == [SUCCESS] * 31
            assert all(manager.store.entries(record.task_id) for record in found)

    asyncio.run(main())

    assert len(_reports(caplog)) == 1


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_QUEUED_TASKS", 100)


@pytest.mark.usefixtures("few")
def test_so_many_tasks_wait_and_the_oldest_are_dropped_and_counted(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(Connections(f"sqlite:///{path}?timeout=0.01"))
    store = SnapshotStore(MemoryStore(max_finished_tasks=1), database, LOG)
    store.open()
    store.add(TaskRecord("begun", "send", PENDING, NOON))
    assert store.flush(PATIENCE)

    with _locked(path):
        store.add(TaskRecord("waits", "send", PENDING, NOON))
        store.update("begun", (PENDING,), status=SUCCESS)
        for number in range(1000):
            task_id = f"id-{number:04}"
            store.add(TaskRecord(task_id, "send", PENDING, NOON, args=(object(),)))
            store.append(task_id, LogEntry(1, NOON, "info", "line", 0))
            store.update(task_id, (PENDING,), status=SUCCESS, result=object())
        until(lambda: _reports(caplog))
    assert store.flush(PATIENCE)
    ids = sorted(record.task_id for record in store.query(Query(limit=2000)))
    until(lambda: "it is written again" in caplog.text)
    store.close(PATIENCE)

    ended, entries = _written(path)
    kept = len(ids) - 2
    assert 90 <= kept <= 125
    assert ids == ["begun", *(f"id-{number:04}" for number in range(1000 - kept, 1000)), "waits"]
    assert (ended, entries) == (kept + 1, kept)
    told = re.search(r"(\d+) rows of tasks and log entries were dropped", caplog.text)
    assert told is not None
    assert int(told[1]) == 2 * (1000 - kept)
