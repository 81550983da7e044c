"""Tables made anew, by many at once, or by an older release; and those of a newer one."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, select, text

from fastapi_taskflow import LogEntry, StoreError, TaskRecord, TaskStatus
from fastapi_taskflow.store import Query, migrations, preparation
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.schema import SCHEMA_VERSION, metadata, tags, tasks, versions
from fastapi_taskflow.store.sql import Database

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOON_US = 1_767_268_800_000_000

VERSION_1 = """
CREATE TABLE taskflow_entries (
    id INTEGER NOT NULL, task_id VARCHAR(36) NOT NULL, seq INTEGER, timestamp BIGINT NOT NULL,
    level VARCHAR(32) NOT NULL, message TEXT NOT NULL, attempt INTEGER NOT NULL,
    extra JSON NOT NULL, PRIMARY KEY (id)
);
CREATE INDEX ix_taskflow_entries_task ON taskflow_entries (task_id, id);
CREATE TABLE taskflow_schema (version INTEGER NOT NULL, PRIMARY KEY (version));
CREATE TABLE taskflow_tasks (
    task_id VARCHAR(36) NOT NULL, func_name VARCHAR(255) NOT NULL, status VARCHAR(16) NOT NULL,
    tags JSON NOT NULL, idempotency_key VARCHAR(255), created_at BIGINT NOT NULL,
    start_time BIGINT, end_time BIGINT, duration FLOAT, attempt INTEGER NOT NULL,
    retries_used INTEGER NOT NULL, error TEXT, stacktrace TEXT, PRIMARY KEY (task_id)
);
CREATE INDEX ix_taskflow_tasks_listing ON taskflow_tasks (created_at, task_id);
CREATE INDEX ix_taskflow_tasks_status ON taskflow_tasks (status);
"""


def _version_1(path: Path, rows: int = 2, *, is_marked: bool = True) -> str:
    """A file as version 1 left it: failed tasks, each with a tag, an error and an entry."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(VERSION_1)
        if is_marked:
            connection.execute("INSERT INTO taskflow_schema VALUES (1)")
        for number in range(rows):
            tagged = json.dumps({"n": str(number), "ä": "Ä"})
            connection.execute(
                "INSERT INTO taskflow_tasks VALUES (?, 'send', 'failed', ?, 'key', ?, ?, ?, 1.5, "
                "1, 1, 'Großer Ärger', 'trace')",
                (f"id-{number}", tagged, NOON_US + number, NOON_US, NOON_US),
            )
            connection.execute(
                "INSERT INTO taskflow_entries VALUES (?, ?, 1, ?, 'info', 'line', 0, ?)",
                (None, f"id-{number}", NOON_US, '{"a": 1}'),
            )
    return str(path)


@contextlib.contextmanager
def _opened(location: str) -> Any:
    database = Database(Connections(location))
    try:
        database.open()
        yield database
    finally:
        database.close()


def _shape(connection: Connection) -> dict[str, Any]:
    """Each table's columns, with whether they may be null, its key and its indexes."""
    shown = inspect(connection)
    return {
        name: (
            {column["name"]: column["nullable"] for column in shown.get_columns(name)},
            shown.get_pk_constraint(name)["constrained_columns"],
            {index["name"]: index["column_names"] for index in shown.get_indexes(name)},
        )
        for name in metadata.tables
    }


def test_there_is_a_step_to_every_version() -> None:
    assert len(migrations.STEPS) == SCHEMA_VERSION - 1


@pytest.mark.parametrize("is_marked", [True, False], ids=["version 1", "half made"])
def test_a_file_of_version_1_has_the_tables_of_a_new_one(tmp_path: Path, is_marked: bool) -> None:
    old = _version_1(tmp_path / "old.db", is_marked=is_marked)

    with (
        _opened(old) as migrated,
        _opened(str(tmp_path / "new.db")) as new,
        migrated.reading() as here,
        new.reading() as there,
    ):
        assert _shape(here) == _shape(there)
        assert list(here.scalars(select(versions.c.version))) == [SCHEMA_VERSION]


def test_what_a_file_of_version_1_has_is_read_and_found(tmp_path: Path) -> None:
    with _opened(_version_1(tmp_path / "tasks.db")) as database:
        record = database.get("id-1")
        entries = database.entries("id-1")
        found = [
            [record.task_id for record in database.query(query)]
            for query in (Query(text="GROSSER"), Query(tags={"n": "1", "ä": "Ä"}), Query(text="x"))
        ]
        database.write([], [TaskRecord("id-0", "other", TaskStatus.SUCCESS, NOON)], [])
        renamed = database.query(Query(text="OTHER"))

    assert record == TaskRecord(
        task_id="id-1",
        func_name="send",
        status=TaskStatus.FAILED,
        created_at=NOON.replace(microsecond=1),
        tags={"n": "1", "ä": "Ä"},
        idempotency_key="key",
        start_time=NOON,
        end_time=NOON,
        duration=1.5,
        attempt=1,
        retries_used=1,
        error="Großer Ärger",
        stacktrace="trace",
    )
    assert entries == [LogEntry(1, NOON, "info", "line", 0, {"a": 1})]
    assert found == [["id-1", "id-0"], ["id-1"], []]
    assert [record.task_id for record in renamed] == ["id-0"]


def test_more_rows_than_are_taken_at_a_time_are_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "BATCH", 3)

    with _opened(_version_1(tmp_path / "tasks.db", rows=10)) as database:
        assert len(database.query(Query(text="ärger", tags={"ä": "Ä"}))) == 10


def test_what_fails_half_way_leaves_a_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = _version_1(tmp_path / "tasks.db")
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "searchable", _fail)
        with pytest.raises(StoreError, match="boom"):
            Database(Connections(location)).open()
    with closing(sqlite3.connect(location)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        columns = len(connection.execute("PRAGMA table_info(taskflow_tasks)").fetchall())

    assert (columns, "taskflow_tags" in names) == (13, False)
    with _opened(location) as database:
        assert len(database.query(Query(text="ärger"))) == 2


def _fail(*_: object) -> str:
    raise ValueError("boom")


OPENER = """
import sys
from datetime import UTC, datetime
from fastapi_taskflow import TaskRecord, TaskStatus
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.sql import Database

database = Database(Connections(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
database.open()
noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
ids = [f"{sys.argv[2]}-{number}" for number in range(20)]
for task_id in ids:
    database.write([TaskRecord(task_id, "send", TaskStatus.PENDING, noon, tags={"a": "b"})], [], [])
database.close()
"""


def _open_four_times_at_once(location: str) -> None:
    """By processes that all begin when all are there."""
    commands = [[sys.executable, "-W", "error", "-c", OPENER, location, name] for name in "abcd"]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(subprocess.Popen(each, **pipes)) for each in commands]
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
        for process in started:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors.decode()


def test_four_processes_make_the_tables_together(new_location: str) -> None:
    _open_four_times_at_once(new_location)

    with _opened(new_location) as database:
        assert len(database.query(Query(tags={"a": "b"}, limit=1000))) == 80
        with database.reading() as connection:
            assert list(connection.scalars(select(versions.c.version))) == [SCHEMA_VERSION]


def test_four_processes_bring_a_file_up_to_date_together(tmp_path: Path) -> None:
    location = _version_1(tmp_path / "tasks.db", rows=2000)

    _open_four_times_at_once(location)

    with _opened(location) as database, database.reading() as connection:
        assert len(database.query(Query(text="ärger", limit=5000))) == 2000
        assert len(connection.execute(select(tags)).all()) == 4080


def test_a_file_that_is_in_no_wal_mode_and_written_just_now_is_waited_for(tmp_path: Path) -> None:
    """SQLite changes the mode while nobody writes, and doesn't wait for that."""
    path = tmp_path / "tasks.db"
    errors: list[Exception] = []

    def use() -> None:
        try:
            with _opened(str(path)):
                pass
        except StoreError as error:
            errors.append(error)

    opening = threading.Thread(target=use)
    with closing(sqlite3.connect(path)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        opening.start()
        opening.join(0.2)
        holder.rollback()
    opening.join(60.0)

    assert errors == []


def _set_version(database: Database, version: int) -> None:
    with database.transaction() as connection:
        connection.execute(versions.update().values(version=version))


def test_tables_of_a_newer_version_are_refused(new_location: str) -> None:
    with _opened(new_location) as database:
        _set_version(database, 99)

    with pytest.raises(
        StoreError, match=f"version 99, this library knows {SCHEMA_VERSION}; use the newer rel"
    ):
        Database(Connections(new_location)).open()


def test_the_next_version_is_one_more_step_that_may_be_done_again(
    new_location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MySQL keeps what the first half did; the others take it back."""
    failures = [OSError("half way")]

    def to_next(connection: Connection) -> None:
        columns = inspect(connection).get_columns(tasks.name)
        if "colour" not in {column["name"] for column in columns}:
            connection.execute(text("ALTER TABLE taskflow_tasks ADD COLUMN colour VARCHAR(9)"))
        if failures:
            raise failures.pop()

    with _opened(new_location) as database:
        database.write([TaskRecord("id", "send", TaskStatus.PENDING, NOON)], [], [])
    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, to_next))
    for module in (migrations, preparation):
        monkeypatch.setattr(module, "SCHEMA_VERSION", SCHEMA_VERSION + 1)

    with pytest.raises(StoreError, match="half way"):
        Database(Connections(new_location)).open()
    with _opened(new_location) as database, database.reading() as connection:
        rows = connection.execute(text("SELECT task_id, colour FROM taskflow_tasks")).all()
        version = connection.scalar(select(versions.c.version))

    assert (rows, version) == ([("id", None)], SCHEMA_VERSION + 1)


def test_what_is_up_to_date_is_opened_without_a_word_written(
    new_location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _opened(new_location):
        pass
    monkeypatch.setattr(preparation, "migrate", _fail)

    with _opened(new_location) as database:
        assert database.query(Query()) == []


def test_tables_that_lost_their_mark_are_completed(new_location: str) -> None:
    """As after a crash while MySQL made them."""
    with _opened(new_location) as database, database.transaction() as connection:
        tags.drop(connection)
        connection.execute(versions.delete())

    with _opened(new_location) as database:
        database.write([TaskRecord("id", "f", TaskStatus.PENDING, NOON, tags={"a": "b"})], [], [])
        assert len(database.query(Query(tags={"a": "b"}))) == 1
