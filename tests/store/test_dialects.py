"""What every dialect makes of the same texts, numbers and transactions."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from fastapi_taskflow import LogEntry, TaskRecord, TaskStatus
from fastapi_taskflow.store import Query
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.schema import audit, entries, keys, owners, tasks
from fastapi_taskflow.store.sql import Database
from fastapi_taskflow.store.texts import MAX_TEXT, exact

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PENDING, RUNNING, SUCCESS = TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.SUCCESS
ACTIVE = [PENDING.value, RUNNING.value]


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


def test_rows_of_owners_audit_and_new_tasks_take_what_they_are_for(database: Database) -> None:
    database.write([_record()], [], [])
    with database.transaction() as connection:
        times = {"started_at": NOON, "heartbeat_at": NOON}
        connection.execute(
            owners.insert(), {"owner": "o", "host": "h" * 300, "pid": 2**22, "born": 2**40, **times}
        )
        row = {"at": NOON, "action": "retry", "task_id": None, "detail": {"ids": ["ä\0"]}}
        connection.execute(audit.insert(), row)
        given = {"args": "[1]" * 1_000_000, "progress_done": 0.1, "result": "a\0b"}
        connection.execute(tasks.update().values(given))

    with database.reading() as connection:
        owner = connection.execute(select(owners)).one()
        noted = connection.execute(select(audit)).one()
        task = connection.execute(select(tasks)).one()

    assert (owner.pid, owner.born, owner.heartbeat_at) == (2**22, 2**40, NOON)
    assert (noted.at, noted.task_id, noted.detail) == (NOON, None, {"ids": ["ä\0"]})
    assert (task.cancel_requested, task.persist, task.requeue_on_interrupt) == (False, False, False)
    assert (task.args, task.progress_done) == ("[1]" * 1_000_000, 0.1)
    assert (task.owner, task.result, task.progress_total) == (None, "a\\x00b", None)


def test_of_many_that_claim_a_task_one_gets_it(location: str) -> None:
    ids = [f"id-{number}" for number in range(20)]
    start = threading.Barrier(4)
    claimed: list[str] = []
    with contextlib.closing(Database(Connections(location))) as database:
        database.write([_record(task_id) for task_id in ids], [], [])
        with database.transaction() as connection:
            connection.execute(tasks.update().values(owner="dead"))

    def claim(name: str) -> None:
        with contextlib.closing(Database(Connections(location))) as database:
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
    mine, other = Database(Connections(location)), Database(Connections(location))
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
    mine, other = (Database(Connections(server.emptied_database())) for _ in range(2))
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


def test_a_key_that_a_task_frees_is_free_for_the_next_one_in_the_same_batch(location: str) -> None:
    first, second = (
        TaskRecord(name, "send", PENDING, NOON, idempotency_key="k") for name in ("one", "two")
    )
    with contextlib.closing(Database(Connections(location))) as database:
        database.open()
        database.write([first], [], [])

        ended = replace(first, status=TaskStatus.CANCELLED)
        taken = database.write([second], [ended], [])

        assert taken == {}
        assert {record.task_id for record in database.query(Query())} == {"one", "two"}
