"""Who owns which tasks, as processes live and die: on every database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.store import TaskRecord
from fastapi_taskflow.store.base import Fate
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.leases import CLAIMS, DEAD_SECONDS, Lease
from fastapi_taskflow.store.schema import owners
from fastapi_taskflow.store.sql import Database

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Clock(SimpleNamespace):
    """The monotonic clock, moved by hand."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("fastapi_taskflow.store.leases.time", clock)
    return clock


@pytest.fixture
def database(location: str) -> Iterator[Database]:
    database = Database(Connections(location))
    yield database
    database.close()


@pytest.fixture
def lease_of(database: Database, location: str) -> Iterator[Callable[[], Lease]]:
    """Make the lease of one more process, which has beaten once."""
    databases: list[Database] = []

    def make() -> Lease:
        databases.append(Database(Connections(location)))
        lease = Lease(databases[-1])
        assert lease.beat()
        return lease

    yield make

    for each in databases:
        each.close()


def elsewhere(database: Database, lease: Lease) -> None:
    """Have a process run on another machine."""
    with database.transaction() as connection:
        row = owners.update().where(owners.c.owner == lease.owner)
        connection.execute(row.values(host="another machine"))


def add(database: Database, owner: str | None, *names: str, **fields: Any) -> None:
    records = [
        TaskRecord(name, fields.get("func_name", "work"), TaskStatus.RUNNING, NOON)
        for name in names
    ]
    given = {"owner": owner, "packed": "{}", **fields}
    database.write([replace(record, **given) for record in records], (), ())


def owned(database: Database) -> list[str]:
    with database.reading() as connection:
        return list(connection.scalars(select(owners.c.owner)))


def claimed(lease: Lease, fate: Fate = Fate.INTERRUPT) -> list[str]:
    return [record.task_id for record, _ in lease.claim(lambda _: fate)]


def test_threads_that_beat_first_at_the_same_time_make_one_row(database: Database) -> None:
    together = threading.Barrier(4)
    said: list[bool] = []

    def beat(lease: Lease) -> None:
        together.wait()
        said.append(lease.beat())

    for _ in range(10):
        lease = Lease(database)
        threads = [threading.Thread(target=beat, args=(lease,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert said == [True] * 40
    with database.reading() as connection:
        assert len(connection.execute(select(owners)).all()) == 10


@pytest.mark.parametrize("is_here", [True, False], ids=["same machine", "another machine"])
def test_a_process_that_does_not_beat_is_dead_after_a_while(
    database: Database, lease_of: Callable[[], Lease], clock: Clock, is_here: bool
) -> None:
    """It may be there, and stand still for ever."""
    dead, living = lease_of(), lease_of()
    if not is_here:
        elsewhere(database, dead)
    add(database, dead.owner, "a")

    assert claimed(living) == []
    for seconds in (5, 5, 4):
        clock.now += seconds
        assert claimed(living) == []
    clock.now += 1
    assert claimed(living) == ["a"]


def test_time_in_which_nobody_could_look_makes_nobody_dead(
    database: Database, lease_of: Callable[[], Lease], clock: Clock
) -> None:
    """A database that was gone, or a machine that stood still, kept the others from beating."""
    other, waking = lease_of(), lease_of()
    elsewhere(database, other)
    add(database, other.owner, "a")
    assert claimed(waking) == []

    clock.now += 10 * DEAD_SECONDS

    assert claimed(waking) == []
    clock.now += 5
    assert claimed(waking) == []
    assert owned(database).count(other.owner) == 1


def test_a_process_that_beats_before_it_is_buried_lives(
    database: Database, lease_of: Callable[[], Lease], clock: Clock
) -> None:
    late, other = lease_of(), lease_of()
    elsewhere(database, late)
    add(database, late.owner, "a", "b")
    for _ in range(3):
        assert claimed(other) == []
        clock.now += 5
    claiming = other.claim(lambda _: Fate.INTERRUPT)

    first, _ = next(claiming)
    assert not late.beat()  # it is told, and has what nobody has taken yet
    rest = list(claiming)

    assert first.task_id == "a"
    assert rest == []


def test_tasks_that_are_left_for_others_hide_none(
    database: Database, lease_of: Callable[[], Lease]
) -> None:
    lease = lease_of()
    add(database, "nobody", *(f"left-{number:03}" for number in range(2 * CLAIMS)))
    add(database, "nobody", "mine", func_name="known")

    def decide(record: TaskRecord) -> Fate:
        return Fate.INTERRUPT if record.func_name == "known" else Fate.LEAVE

    found = [record.task_id for _ in range(3) for record, _ in lease.claim(decide)]
    database.request_cancel("left-150")
    unwanted = next(
        record
        for record, _ in lease.claim(lambda r: Fate.CANCEL if r.cancel_requested else Fate.LEAVE)
    )

    assert found == ["mine"]
    assert unwanted.task_id == "left-150"


def test_a_process_that_beats_keeps_its_tasks(
    database: Database, lease_of: Callable[[], Lease], clock: Clock
) -> None:
    slow, other = lease_of(), lease_of()
    elsewhere(database, slow)
    add(database, slow.owner, "a")

    for _ in range(4):
        assert claimed(other) == []
        clock.now += DEAD_SECONDS - 1
        assert slow.beat()


def test_what_a_process_leaves_that_said_goodbye_is_anyones(
    database: Database, lease_of: Callable[[], Lease]
) -> None:
    leaving, other = lease_of(), lease_of()
    add(database, leaving.owner, "pending", status=TaskStatus.PENDING)
    interrupted = {"status": TaskStatus.INTERRUPTED, "requeue_on_interrupt": True}
    add(database, leaving.owner, "again", start_time=NOON, **interrupted)
    add(database, leaving.owner, "given up before it began", **interrupted)
    add(database, leaving.owner, "ended", status=TaskStatus.INTERRUPTED, start_time=NOON)
    add(database, None, "of an older release")
    leaving.end()

    assert sorted(claimed(other)) == ["again", "of an older release", "pending"]


def test_what_is_left_stays_for_another_process(
    database: Database, lease_of: Callable[[], Lease]
) -> None:
    first, second = lease_of(), lease_of()
    add(database, "nobody", "a")

    assert claimed(first, Fate.LEAVE) == []
    assert claimed(second) == ["a"]
    assert claimed(first) == []


def test_a_task_that_runs_again_is_pending_and_its_new_owners(
    database: Database, lease_of: Callable[[], Lease]
) -> None:
    lease = lease_of()
    add(database, "nobody", "a", end_time=NOON, duration=1.0, tags={"kind": "test"}, attempt=2)

    ((record, fate),) = lease.claim(lambda _: Fate.AGAIN)

    stored = database.get("a")
    assert (record.owner, fate, record.packed) == (lease.owner, Fate.AGAIN, "{}")
    assert stored is not None
    assert (stored.status, stored.owner, stored.end_time) == ("pending", lease.owner, None)
    assert (stored.attempt, stored.tags) == (2, {"kind": "test"})


def test_each_task_is_claimed_once(database: Database, lease_of: Callable[[], Lease]) -> None:
    names = [f"t{number:02}" for number in range(30)]
    add(database, "nobody", *names)
    leases = [lease_of() for _ in range(4)]
    ready, taken = threading.Barrier(4), [[] for _ in leases]  # type: ignore[var-annotated]

    def claim(lease: Lease, into: list[str]) -> None:
        ready.wait(30)
        into += claimed(lease, Fate.AGAIN)

    threads = [
        threading.Thread(target=claim, args=each) for each in zip(leases, taken, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(name for each in taken for name in each) == names


def test_what_another_process_has_claimed_is_not_written_any_more(
    database: Database, lease_of: Callable[[], Lease], clock: Clock
) -> None:
    stalled, other = lease_of(), lease_of()
    elsewhere(database, stalled)
    add(database, stalled.owner, "a")
    record = database.get("a")
    assert record is not None
    for _ in range(3):
        assert claimed(other) == []
        clock.now += 5
    assert claimed(other) == ["a"]

    database.write((), [replace(record, status=TaskStatus.SUCCESS)], ())

    stored = database.get("a")
    assert stored is not None
    assert (stored.status, stored.owner) == (TaskStatus.RUNNING, other.owner)
    assert owned(database) == [other.owner]
    assert not stalled.beat()  # it was taken for dead, and is told
    assert stalled.beat()
    assert set(owned(database)) == {other.owner, stalled.owner}
    assert claimed(stalled) == []


def test_its_own_tasks_are_never_claimed(database: Database, lease_of: Callable[[], Lease]) -> None:
    lease = lease_of()
    add(database, lease.owner, "a")
    with database.transaction() as connection:
        connection.execute(owners.delete())

    assert claimed(lease) == []


def test_of_what_is_unwanted_a_process_hears_of_its_own(
    database: Database, lease_of: Callable[[], Lease]
) -> None:
    lease, other = lease_of(), lease_of()
    add(database, lease.owner, "a", "b")
    add(database, lease.owner, "ended", status=TaskStatus.SUCCESS)
    add(database, other.owner, "c")

    for task_id in ("a", "ended", "c"):
        database.request_cancel(task_id)

    assert (lease.unwanted(), other.unwanted()) == (["a"], ["c"])


def test_a_process_has_a_row_before_its_tasks_in_a_file_that_was_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "tasks.db"
    database = Database(Connections(str(path)))
    lease = Lease(database)
    lease.ensure()
    add(database, lease.owner, "before")
    for each in tmp_path.iterdir():
        each.unlink()
    with pytest.raises(FileNotFoundError):
        add(database, lease.owner, "a")

    lease.ensure()
    add(database, lease.owner, "a")

    assert owned(database) == [lease.owner]
    database.close()
