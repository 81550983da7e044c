"""What the writer does with rows that a database refuses, for now or for good."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from fastapi_taskflow import LogEntry, TaskRecord, TaskStatus
from fastapi_taskflow.store import MemoryStore, Query, writer
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.snapshot import SnapshotStore
from fastapi_taskflow.store.sql import Database
from fastapi_taskflow.store.writer import Writer

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LOG = logging.getLogger("fastapi_taskflow.store")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _entry(seq: int) -> LogEntry:
    return LogEntry(seq, NOON + timedelta(seconds=seq), "info", f"line {seq}", 0)


class Trouble(Database):
    """Calls ``trouble`` before each write, with the number of log entries in it."""

    def __init__(self, path: Path, trouble: Callable[[Any], None]) -> None:
        super().__init__(Connections(str(path)))
        self.trouble = trouble

    def write(self, added: Any, changed: Any, logged: Any) -> dict[str, str]:
        self.trouble(logged)
        return super().write(added, changed, logged)


def _gone() -> OperationalError:
    return OperationalError("INSERT", {}, Exception("gone"))


def test_what_is_behind_a_refused_row_is_kept_while_the_database_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.01)
    writes = 0

    def trouble(logged: Any) -> None:
        nonlocal writes
        writes += 1
        if any(entry.seq == 0 for _, entry in logged):
            raise ValueError("this row is refused for good")
        if 5 <= writes < 10:
            raise _gone()

    database = Trouble(tmp_path / "tasks.db", trouble)
    written = Writer(database, LOG, lambda: None)
    for seq in range(20):
        written.entry("id", _entry(seq))

    assert written.flush(60.0)
    with closing(database):
        assert [entry.seq for entry in database.entries("id")] == list(range(1, 20))
    written.close(1.0)


def test_entries_that_wait_are_bounded_however_often_it_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_QUEUED_ENTRIES", 10)
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.01)
    tries = 0

    def trouble(_: object) -> None:
        nonlocal tries
        tries += 1
        for _ in range(5):  # more comes while it is tried
            written.entry("id", _entry(tries))
        if tries < 20:
            raise _gone()

    database = Trouble(tmp_path / "tasks.db", trouble)
    written = Writer(database, LOG, lambda: None)
    written.entry("id", _entry(0))

    until(lambda: tries > 5)
    assert len(written.waiting("id").entries) <= 20
    database.trouble = lambda _: None
    assert written.flush(60.0)
    assert len(database.entries("id")) <= 20
    written.close(1.0)


def test_while_a_server_is_read_only_rows_wait(postgresql: Any) -> None:
    url = postgresql.new_database()
    name = url.rpartition("@/")[2].partition("?")[0]
    database = Database(Connections(url))
    store = SnapshotStore(MemoryStore(), database, LOG)
    store.open()
    postgresql.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    gone = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    postgresql.execute(gone)  # the next connections may only read, as those of a standby

    store.add(TaskRecord("id", "send", TaskStatus.PENDING, NOON))
    assert not store.flush(0.5)
    postgresql.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")

    assert store.flush(60.0)  # by other connections: what one may do, it may do till its end
    assert database.get("id") is not None
    store.close(1.0)


@pytest.fixture
def small_packets(mariadb: Any) -> Iterator[str]:
    """A database of a server that ends the connection at a row of more than a MiB."""
    mariadb.execute("SET GLOBAL max_allowed_packet = 1048576")
    yield mariadb.new_database()
    mariadb.execute("SET GLOBAL max_allowed_packet = DEFAULT")


def test_a_row_at_which_a_server_ends_the_connection_is_dropped_and_holds_up_no_other(
    small_packets: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.01)
    store = SnapshotStore(MemoryStore(), Database(Connections(small_packets)), LOG)
    store.open()

    for number in range(20):
        packed = "x" * 2**21 if number == 7 else "{}"
        store.add(TaskRecord(f"{number}", "send", TaskStatus.PENDING, NOON, packed=packed))
        store.append("0", _entry(number))

    assert store.flush(60.0)
    until(lambda: "; 1 rows of tasks and log entries were dropped" in caplog.text)
    database = Database(Connections(small_packets))
    with closing(database):
        found = {record.task_id for record in database.query(Query(limit=100))}
        assert found == {f"{number}" for number in range(20)} - {"7"}
        assert [entry.seq for entry in database.entries("0")] == list(range(20))
    store.close(1.0)


class Cut(OperationalError):
    """The connection has ended."""

    def __init__(self) -> None:
        super().__init__("INSERT", {}, Exception("gone"), connection_invalidated=True)


@pytest.mark.parametrize("probe", [True, False], ids=["others are written", "nothing is"])
def test_a_row_that_meets_the_end_of_a_connection_by_chance_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probe: bool
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.01)
    most = 3 if probe else 30
    writes = 0

    def trouble(_: object) -> None:
        nonlocal writes
        writes += 1
        if writes <= most:
            raise Cut

    database = Trouble(tmp_path / "tasks.db", trouble)
    if not probe:
        monkeypatch.setattr(database, "probe", lambda: database.trouble(()))
    written = Writer(database, LOG, lambda: None)
    written.entry("id", _entry(0))

    assert written.flush(60.0)
    with closing(database):
        assert [entry.seq for entry in database.entries("id")] == [0]
    written.close(1.0)
