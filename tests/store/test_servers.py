"""What the dialects have to have in common, and what befalls servers: crashes, refusals."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError, OperationalError

from fastapi_taskflow import LogEntry, StoreError, TaskManager, TaskRecord, TaskStatus
from fastapi_taskflow.store import MemoryStore, Query
from fastapi_taskflow.store.schema import audit, entries, keys, owners, tasks
from fastapi_taskflow.store.snapshot import SnapshotStore
from fastapi_taskflow.store.sql import Database
from fastapi_taskflow.store.texts import MAX_TEXT, exact

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PENDING, RUNNING, SUCCESS = TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.SUCCESS
LOG = logging.getLogger("fastapi_taskflow.store")
ACTIVE = [PENDING.value, RUNNING.value]


@pytest.fixture
def database(location: str) -> Iterator[Database]:
    database = Database(location)
    yield database
    database.close()


def _record(task_id: str = "id", **fields: Any) -> TaskRecord:
    return TaskRecord(
        task_id, **{"func_name": "send", "status": PENDING, "created_at": NOON, **fields}
    )


def _entry(seq: int, message: str = "x", **fields: Any) -> LogEntry:
    return LogEntry(seq, NOON + timedelta(seconds=seq), "info", message, 0, **fields)


# Crashes


def test_after_a_crash_of_the_server_all_is_written_once_and_read(server: Any) -> None:
    database = Database(server.emptied_database())
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
    database = Database(server.emptied_database())
    database.write([_record()], [], [])

    server.kill()
    server.start()

    assert database.get("id") == _record()
    database.close()


class Unanswered(Database):
    """Its server commits, and goes away before it says so; or goes away before it commits."""

    failures: list[str]

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        failure = self.failures.pop(0) if self.failures else ""
        with super().transaction() as connection:
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
    database = Unanswered(location)
    database.failures = failures
    first = [("old", _entry(1)), ("new", _entry(1))]
    database.open()
    for _ in list(failures):
        with pytest.raises(OperationalError):
            database.write([_record("new", tags={"a": "b"})], [], first)

    later = [*first, ("new", _entry(2))]
    database.write([_record("new", tags={"a": "b"}, status=RUNNING), _record("more")], [], later)
    changed = database.get("new")
    database.write([], [_record("new", status=SUCCESS)], [("new", _entry(2))])

    assert changed is not None
    assert changed.status is RUNNING
    assert [entry.seq for entry in database.entries("old")] == [1]
    assert [entry.seq for entry in database.entries("new")] == [1, 2, 2]
    found = database.query(Query())
    assert {(r.task_id, r.status) for r in found} == {("new", SUCCESS), ("more", PENDING)}
    assert len(database.query(Query(tags={"a": "b"}))) == 1
    database.close()


def test_entries_alone_whose_commit_was_not_answered_are_there_once(location: str) -> None:
    database = Unanswered(location)
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


# What is equal, and what fits

ALIKE = [
    "a",
    "A",
    "a ",
    " a",
    "ä",
    "Ä",
    "a\u0308",
    "a\0",
    "a\\0",
    "a\\x00",
    "ß",
    "ss",
    "\uff41",
    "",
    " ",
]


@pytest.mark.parametrize("of", ["names", "tags", "tag keys"])
def test_what_looks_alike_is_told_apart(database: Database, of: str) -> None:
    def record(number: int, value: str) -> TaskRecord:
        pair = {"names": {}, "tags": {"k": value}, "tag keys": {value: "v"}}[of]
        return _record(f"id-{number:02}", func_name=value, tags=pair)

    texts = [each for each in ALIKE if of != "names" or each != "a\\x00"]  # as a\0 is written
    database.write([record(*each) for each in enumerate(texts)], [], [])

    for number, value in enumerate(texts):
        wanted = record(number, value)
        query = Query(tags=wanted.tags) if wanted.tags else Query(func_name=value)
        assert [found.task_id for found in database.query(query)] == [wanted.task_id]


LONG = ["k" * 255, "k" * 256, "k" * 257, "k" * 9999, "k" * 9998 + "l", "\\" * 200, "\\" * 201]


@pytest.mark.parametrize(
    "texts", [ALIKE, LONG, ["\ud800", "\\ud800"]], ids=["alike", "long", "odd"]
)
def test_idempotency_keys_are_the_same_only_where_they_are_equal(
    database: Database, texts: list[str]
) -> None:
    rows = [{"idempotency_key": key, "task_id": str(n)} for n, key in enumerate(texts)]
    with database.transaction() as connection:
        connection.execute(keys.insert(), rows)

    with database.reading() as connection:
        for number, key in enumerate(texts):
            of_key = keys.c.idempotency_key == key
            assert list(connection.scalars(select(keys.c.task_id).where(of_key))) == [str(number)]


def test_the_exact_form_of_a_text_is_readable_and_fits() -> None:
    assert exact("order 17/ä", 255) == "order 17/ä"
    assert exact("a\0\ud800\\", 255) == "a\\0\\ud800\\\\"
    assert exact("k" * 300, 255)[66:] == " " + "k" * 188


def test_names_levels_and_keys_may_be_long(database: Database) -> None:
    long: dict[str, Any] = {
        "func_name": "f" * 5000,
        "idempotency_key": "k" * 5000,
        "tags": {"t" * 5000: "v" * 5000},
    }
    entry = LogEntry(0, NOON, "level" * 100, "x", 0, {"e" * 70_000: "v" * 70_000})

    database.write([_record(**long)], [], [("id", entry)])

    assert database.get("id") == _record(**long)
    assert database.entries("id") == [entry]
    for query in (Query(func_name="f" * 5000), Query(tags=long["tags"]), Query(text="F" * 4000)):
        assert len(database.query(query)) == 1


@pytest.mark.parametrize("letter", ["x", "€", "\U0001f600", "\\", "'"])
def test_what_is_too_long_for_a_statement_is_cut_off_visibly(
    database: Database, letter: str
) -> None:
    whole, long = letter * MAX_TEXT, letter * 5_000_000
    record = _record(status=TaskStatus.FAILED, error=long, stacktrace=whole)

    database.write([record], [], [("id", _entry(1, long)), ("id", _entry(2, whole))])

    found, (first, second) = database.get("id"), database.entries("id")
    assert found is not None
    assert found.stacktrace == second.message == whole
    assert found.error == first.message
    assert len(first.message) == MAX_TEXT
    assert first.message.endswith(f"{letter}... (5,000,000 characters)")


@pytest.mark.parametrize("duration", [0.1, 1 / 3, 1e-9, 123_456_789.123_456_78, 1e300])
def test_durations_come_back_as_they_were(database: Database, duration: float) -> None:
    database.write([_record(status=SUCCESS, duration=duration)], [], [])

    found = database.get("id")
    assert found is not None
    assert found.duration == duration
    assert database.totals().avg_duration == duration


def test_a_searched_text_is_in_one_field_not_across_two(database: Database) -> None:
    database.write([_record("ab", func_name="cd", error="ef\x1egh")], [], [])

    found = {
        q: len(database.query(Query(text=q))) for q in ("ab", "b\x1ec", "bc", "f\x1eg", "\x1e")
    }

    assert found == {"ab": 1, "b\x1ec": 0, "bc": 0, "f\x1eg": 1, "\x1e": 1}


def test_ids_are_in_the_order_of_code_points(database: Database) -> None:
    ids = ["B", "a", "A", "b", "a-b", "ab", "aB", "_", "ä"]
    database.write([_record(task_id) for task_id in ids], [], [])

    found = [record.task_id for record in database.query(Query())]

    assert found == sorted(ids, reverse=True)


# What other modules build upon


def test_rows_of_owners_audit_and_new_tasks_take_what_they_are_for(database: Database) -> None:
    database.write([_record()], [], [])
    with database.transaction() as connection:
        times = {"started_at": NOON, "heartbeat_at": NOON}
        connection.execute(
            owners.insert(), {"owner": "o", "host": "h" * 300, "pid": 2**22, **times}
        )
        row = {"at": NOON, "action": "retry", "task_id": None, "detail": {"ids": ["ä\0"]}}
        connection.execute(audit.insert(), row)
        given = {"args": "[1]" * 1_000_000, "progress_done": 0.1, "progress_message": "a\0b"}
        connection.execute(tasks.update().values(given))

    with database.reading() as connection:
        owner = connection.execute(select(owners)).one()
        noted = connection.execute(select(audit)).one()
        task = connection.execute(select(tasks)).one()

    assert (owner.pid, owner.heartbeat_at) == (2**22, NOON)
    assert (noted.at, noted.task_id, noted.detail) == (NOON, None, {"ids": ["ä\0"]})
    assert (task.cancel_requested, task.persist, task.requeue_on_interrupt) == (False, False, False)
    assert (task.args, task.progress_done) == ("[1]" * 1_000_000, 0.1)
    assert task.progress_message == "a\\x00b"
    assert (task.owner, task.result, task.progress_total) == (None, None, None)


def test_of_many_that_claim_a_task_one_gets_it(location: str) -> None:
    ids = [f"id-{number}" for number in range(20)]
    start = threading.Barrier(4)
    claimed: list[str] = []
    with contextlib.closing(Database(location)) as database:
        database.write([_record(task_id) for task_id in ids], [], [])
        with database.transaction() as connection:
            connection.execute(tasks.update().values(owner="dead"))

    def claim(name: str) -> None:
        with contextlib.closing(Database(location)) as database:
            start.wait(30)
            for task_id in ids:
                of_task = (tasks.c.task_id == task_id, tasks.c.owner == "dead")
                statement = tasks.update().where(*of_task, tasks.c.status.in_(ACTIVE))
                with database.transaction() as connection:
                    done = connection.execute(statement.values(owner=name))
                claimed.extend([task_id] * done.rowcount)

    threads = [threading.Thread(target=claim, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(claimed) == sorted(ids)


def test_an_update_that_changes_nothing_counts_the_rows_it_found(database: Database) -> None:
    database.write([_record()], [], [])
    statement = tasks.update().where(tasks.c.task_id == "id").values(status=PENDING.value)

    with database.transaction() as connection:
        assert connection.execute(statement).rowcount == 1


def test_who_has_read_may_write_though_another_has_written_meanwhile(location: str) -> None:
    """In SQLite a transaction that reads first would be refused; on servers it sees what is new."""
    mine, other = Database(location), Database(location)
    mine.write([_record()], [], [])
    done = threading.Event()

    def write() -> None:
        other.write([], [], [("id", _entry(1))])
        done.set()

    thread = threading.Thread(target=write)
    with mine.transaction() as connection:
        connection.execute(select(tasks)).all()
        thread.start()
        done.wait(0.2)  # it is done by now, or waits for its turn
        connection.execute(entries.insert(), {"task_id": "id", **_row(2)})
    thread.join(30)

    assert sorted(entry.seq or 0 for entry in mine.entries("id")) == [1, 2]
    mine.close()
    other.close()


def test_a_transaction_sees_what_others_commit_meanwhile(server: Any) -> None:
    mine, other = (Database(server.emptied_database()) for _ in range(2))
    mine.write([_record()], [], [])
    statuses = select(tasks.c.status)

    with mine.transaction() as connection:
        before = connection.scalar(statuses)
        other.write([], [_record(status=RUNNING)], [])
        after = connection.scalar(statuses)

    assert (before, after) == ("pending", "running")
    mine.close()
    other.close()


def _row(seq: int) -> dict[str, Any]:
    entry = _entry(seq)
    return {name: getattr(entry, name) for name in LogEntry.__slots__}


FORKED = """
import os, sys, warnings
from datetime import UTC, datetime
from sqlalchemy import text
warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on: fork with threads
from fastapi_taskflow import TaskRecord, TaskStatus
from fastapi_taskflow.store.sql import Database

def record(task_id):
    return TaskRecord(task_id, "send", TaskStatus.PENDING, datetime(2026, 1, 1, tzinfo=UTC))

def connection_id():
    functions = {"postgresql": "pg_backend_pid()", "mariadb": "connection_id()", "sqlite": "0"}
    with database.reading() as connection:
        return connection.scalar(text(f"SELECT {functions[connection.dialect.name]}"))

database = Database(sys.argv[1])
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


# Bad input


@pytest.mark.parametrize(
    ("location", "driver"),
    [
        ("postgresql://u:p@host/db", "postgresql+psycopg"),
        ("postgresql+psycopg://u:p@host:5432/db?sslmode=require", "postgresql+psycopg"),
        ("mysql://u:p@host/db", "mysql+pymysql"),
        ("mysql+pymysql://u:p@host/db", "mysql+pymysql"),
        ("mariadb://u:p@host/db", "mariadb+pymysql"),
        ("sqlite+pysqlite:///tasks.db", "sqlite"),
        ("tasks.db", "sqlite"),
    ],
)
def test_a_url_needs_no_driver(location: str, driver: str) -> None:
    assert Database(location).url.drivername == driver


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("oracle://u:tiger@host/db", "oracle is not supported; expected a path, sqlite:///path, p"),
        ("postgres://u:tiger@host/db", "postgres is not supported"),
        ("postgresql+asyncpg://u:tiger@host/db", r"drivers: psycopg, pymysql"),
        ("postgresql+psycopg2://u:tiger@host/db", r"postgresql\+psycopg2 is not supported"),
        ("postgresql+psycopg_async://u:tiger@host/db", "is not supported"),
        ("mysql+aiomysql://u:tiger@host/db", "is not supported"),
        ("sqlite+aiosqlite:///x.db", "is not supported"),
        ("nonsense+psycopg://u:tiger@host/db", "is not supported"),
        ("postgresql://u:tiger@host", "expected the name of a database"),
        ("mysql://u:tiger@host/?charset=latin1", "expected the name of a database"),
        ("postgresql://u:tiger@host:port/db", "it is no URL; expected a path"),
        ("://u:tiger@host/db", "it is no URL"),
        ("postgresql://u:ti@ger@host/db", "is written %40"),
        ("oracle://u@host/db?password=tiger", "is not supported"),
    ],
)
def test_a_url_that_cant_be_used_is_refused_without_its_password(location: str, says: str) -> None:
    with pytest.raises(StoreError, match=says) as caught:
        TaskManager(snapshot_db=location)

    assert "ger" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("location", "module", "extra"),
    [
        ("postgresql://u:tiger@host/db", "psycopg", "postgres"),
        ("mysql://u:tiger@host/db", "pymysql", "mysql"),
        ("mariadb://u:tiger@host/db", "pymysql", "mysql"),
    ],
)
def test_a_missing_driver_is_an_error_that_names_its_extra(
    location: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(StoreError) as caught:
        TaskManager(snapshot_db=location)

    assert f'pip install "fastapi-taskflow[{extra}]"' in str(caught.value)
    assert "tiger" not in str(caught.value)


def _refused(location: str) -> str:
    with pytest.raises(StoreError) as caught:
        Database(location).open()
    assert "tiger" not in repr((caught.value, caught.value.__cause__))
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda url: url.set(password="tiger"), ("password", "denied")),
        (lambda url: url.set(username="tigger", password="tiger"), ("tigger",)),
        (lambda url: url.set(database="nowhere"), ("nowhere",)),
        (lambda url: url.update_query_dict({"nonsense": "tiger"}), ("nonsense",)),
    ],
    ids=["password", "user", "database", "option"],
)
def test_a_server_that_refuses_is_a_clear_error_at_startup(
    server: Any, change: Callable[[Any], Any], says: tuple[str, ...]
) -> None:
    url = change(Database(server.emptied_database()).url)

    said = _refused(url.render_as_string(hide_password=False))

    assert said.startswith("snapshot_db='")
    assert any(each in said for each in says)
    assert "expected a database that takes connections" in said


@pytest.mark.parametrize("scheme", ["postgresql", "mysql", "mariadb"])
def test_a_server_that_is_not_there_is_a_clear_error_at_startup(scheme: str) -> None:
    assert "efused" in _refused(f"{scheme}://u:tiger@127.0.0.1:1/db")


def test_a_user_who_may_make_no_tables_is_told(server: Any) -> None:
    url = Database(server.new_database()).url
    server.execute("DROP USER IF EXISTS guest")
    is_postgres = url.get_backend_name() == "postgresql"
    server.execute(f"CREATE USER guest {'PASSWORD' if is_postgres else 'IDENTIFIED BY'} 'tiger'")
    if not is_postgres:
        server.execute(f"GRANT SELECT ON {url.database}.* TO guest")

    guest = url.set(username="guest", password="tiger")
    said = _refused(guest.render_as_string(hide_password=False))

    assert "denied" in said
    assert "a user who may make tables" in said


def test_a_database_without_unicode_is_refused(postgresql: Any) -> None:
    options = "TEMPLATE template0 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER libc"

    said = _refused(postgresql.new_database(options))

    assert "its encoding is LATIN1, and has to be UTF8" in said


READ_ONLY = """
import os, sys
from fastapi_taskflow import StoreError
from fastapi_taskflow.store.sql import Database

other = Database(sys.argv[2])
other.open()  # what is imported late is, before another user may not read it
other.close()
if os.geteuid() == 0:  # who may write anywhere
    os.setuid(65534)
try:
    Database(sys.argv[1]).open()
except StoreError as error:
    print(error)
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("kind", ["directory", "file", "directory to be made"])
def test_a_place_that_cant_be_written_is_a_clear_error_at_startup(
    open_folder: Path, tmp_path: Path, run_python: Any, kind: str
) -> None:
    path = open_folder / ("deep/tasks.db" if kind == "directory to be made" else "tasks.db")
    if kind == "file":
        path.touch(0o444)
        open_folder.chmod(0o777)
    else:
        open_folder.chmod(0o555)

    said = run_python(READ_ONLY, str(path), str(tmp_path / "other.db"))

    assert "Permission denied" in said.stdout, said.stderr
    assert "expected a file that can be written" in said.stdout
