"""What befalls servers and their connections: crashes, commits without an answer, forks."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError, OperationalError

from fastapi_taskflow import LogEntry, TaskRecord, TaskStatus
from fastapi_taskflow.store import MemoryStore, Query
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.dialects import SILENCE_TIMEOUT
from fastapi_taskflow.store.snapshot import SnapshotStore
from fastapi_taskflow.store.sql import Database

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PENDING, RUNNING, SUCCESS = TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.SUCCESS
LOG = logging.getLogger("fastapi_taskflow.store")


@pytest.fixture
def database(location: str) -> Iterator[Database]:
    database = Database(Connections(location))
    yield database
    database.close()


def _record(task_id: str = "id", **fields: Any) -> TaskRecord:
    return TaskRecord(
        task_id, **{"func_name": "send", "status": PENDING, "created_at": NOON, **fields}
    )


def _entry(seq: int, message: str = "x", **fields: Any) -> LogEntry:
    return LogEntry(seq, NOON + timedelta(seconds=seq), "info", message, 0, **fields)


def test_after_a_crash_of_the_server_all_is_written_once_and_read(server: Any) -> None:
    database = Database(Connections(server.emptied_database()))
    store = SnapshotStore(MemoryStore(), database, LOG)
    store.open()
    ids = [f"id-{number}" for number in range(30)]
    for task_id in ids[:10]:
        store.add(_record(task_id))
        store.append(task_id, _entry(1))
    assert store.flush(30.0)

    server.kill()
    for task_id in ids[10:20]:
        store.add(_record(task_id))
        store.append(task_id, _entry(1))
    was_written = store.flush(0.0)
    known = store.get("id-15")
    server.start()
    for task_id in ids[20:]:
        store.add(_record(task_id))
    for task_id in ids:
        store.append(task_id, _entry(2))
        store.update(task_id, (PENDING,), status=SUCCESS)
    assert store.flush(60.0)

    assert not was_written
    assert known is not None
    records = database.query(Query(limit=100))
    assert {record.task_id for record in records} == set(ids)
    assert len(records) == 30
    assert {record.status for record in records} == {SUCCESS}
    assert [len(database.entries(task_id)) for task_id in ids] == [2] * 20 + [1] * 10
    store.close(10.0)


def test_connections_of_before_a_crash_are_noticed_before_they_are_used(server: Any) -> None:
    database = Database(Connections(server.emptied_database()))
    database.write([_record()], [], [])

    server.kill()
    server.start()

    assert database.get("id") == _record()
    database.close()


class Unanswered(Database):
    """Its server commits, and goes away before it says so; or goes away before it commits."""

    failures: list[str]

    @contextlib.contextmanager
    def batch(self, file: int) -> Iterator[Connection]:
        failure = self.failures.pop(0) if self.failures else ""
        with super().batch(file) as connection:
            yield connection
            if failure == "before":
                raise OperationalError("COMMIT", {}, Exception("gone"))
        if failure == "after":
            raise OperationalError("COMMIT", {}, Exception("gone"))


@pytest.mark.parametrize(
    "failures",
    [["after"], ["before"], ["after", "after"], ["before", "after"], ["after", "before"]],
    ids="-".join,
)
def test_a_batch_whose_commit_was_not_answered_is_there_once(
    location: str, failures: list[str]
) -> None:
    database = Unanswered(Connections(location))
    database.failures = failures
    first = [("old", _entry(1)), ("new", _entry(1))]
    database.open()
    for _ in list(failures):
        with pytest.raises(OperationalError):
            database.write([_record("new", tags={"a": "b"})], [], first)

    later = [*first, ("new", _entry(2))]
    database.write([_record("new", tags={"a": "b"}, status=RUNNING), _record("more")], [], later)
    changed = database.get("new")
    database.write([], [_record("new", status=SUCCESS)], [("new", _entry(2)), *first[:1]])

    assert changed is not None
    assert changed.status is RUNNING
    assert [entry.seq for entry in database.entries("old")] == [1, 1]  # once more at the end
    assert [entry.seq for entry in database.entries("new")] == [1, 2, 2]
    found = database.query(Query())
    assert {(r.task_id, r.status) for r in found} == {("new", SUCCESS), ("more", PENDING)}
    assert len(database.query(Query(tags={"a": "b"}))) == 1
    database.close()


def test_entries_alone_whose_commit_was_not_answered_are_there_once(location: str) -> None:
    database = Unanswered(Connections(location))
    database.failures = ["after"]
    database.open()
    logged = [("id", _entry(1)), ("id", _entry(2))]
    with pytest.raises(OperationalError):
        database.write([], [], logged)

    database.write([], [_record()], [*logged, ("id", _entry(3))])

    assert [entry.seq for entry in database.entries("id")] == [1, 2, 3]
    database.close()


def test_a_batch_that_was_refused_is_in_no_doubt(database: Database) -> None:
    database.write([_record("known")], [], [])
    logged = [("new", _entry(1))]
    with pytest.raises(IntegrityError):
        database.write([_record("known"), _record("new")], [], logged)

    database.write([_record("new")], [], logged)

    assert database.get("new") == _record("new")
    assert database.entries("new") == [_entry(1)]


def test_what_could_not_be_written_is_not_in_the_error(database: Database) -> None:
    database.write([_record()], [], [])

    with pytest.raises(IntegrityError) as caught:
        database.write([_record(error="it is tiger")], [], [])

    assert "tiger" not in str(caught.value)


FORKED = """
import os, sys, warnings
from datetime import UTC, datetime
from sqlalchemy import text
warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on: fork with threads
from fastapi_taskflow import TaskRecord, TaskStatus
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.sql import Database

def record(task_id):
    return TaskRecord(task_id, "send", TaskStatus.PENDING, datetime(2026, 1, 1, tzinfo=UTC))

def connection_id():
    functions = {"postgresql": "pg_backend_pid()", "mariadb": "connection_id()", "sqlite": "0"}
    with database.reading() as connection:
        return connection.scalar(text(f"SELECT {functions[connection.dialect.name]}"))

database = Database(Connections(sys.argv[1]))
database.write([record("before")], [], [])
mine = connection_id()
child = os.fork()
if not child:
    assert mine == 0 or connection_id() != mine
    database.write([record("child")], [], [])
    database.close()
    del database
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0
assert connection_id() == mine
print(sorted(database.get(task_id).task_id for task_id in ("before", "child")))
database.close()
"""


def test_a_forked_child_has_connections_of_its_own(location: str, run_python: Any) -> None:
    """And its parent's are as they were."""
    done = run_python(FORKED, location)

    assert (done.stdout, done.stderr) == ("['before', 'child']\n", "")


def test_a_server_that_falls_silent_is_not_waited_for_without_end(server: Any) -> None:
    engine = Connections(server.emptied_database()).engine()

    with contextlib.closing(engine.raw_connection()) as connection:
        driver: Any = connection.driver_connection
        if engine.dialect.name == "postgresql":
            seconds = int(driver.info.get_parameters()["tcp_user_timeout"]) / 1000
        else:
            seconds = driver._read_timeout  # noqa: SLF001  # it has no other name

    engine.dispose()
    assert seconds == SILENCE_TIMEOUT
