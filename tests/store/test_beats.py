"""What goes on beside the takeover of tasks, however slow or broken that is."""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.store import TaskRecord, beats
from fastapi_taskflow.store.base import Fate
from fastapi_taskflow.store.beats import Beats
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.leases import Lease
from fastapi_taskflow.store.periodic import Periodic
from fastapi_taskflow.store.schema import owners
from fastapi_taskflow.store.sql import Database

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LOG = logging.getLogger("fastapi_taskflow.store")
PATIENCE = 30.0


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Rescuer:
    """Takes over what there is, each time in a way that a test gives."""

    def __init__(self, deciding: Callable[[], object], taking: Callable[[], object]) -> None:
        self.deciding, self.taking = deciding, taking
        self.taken: list[str] = []
        self.cancelled: list[str] = []

    def decide(self, _: TaskRecord) -> Fate:
        self.deciding()
        return Fate.INTERRUPT

    def take(self, record: TaskRecord, _: Fate) -> None:
        self.taken.append(record.task_id)
        self.taking()

    def cancel(self, task_id: str) -> None:
        self.cancelled.append(task_id)


class Flaky(Database):
    """Raises what a test gives, where it writes."""

    trouble: BaseException | None = None

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        if self.trouble is not None:
            raise self.trouble
        with super().transaction() as connection:
            yield connection


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Flaky]:
    database = Flaky(Connections(str(tmp_path / "tasks.db")))
    yield database
    database.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(beats, "LOOK_SECONDS", 0.01)


def orphan(database: Database, *names: str) -> None:
    records = [TaskRecord(name, "work", TaskStatus.RUNNING, NOON, owner="dead") for name in names]
    database.write(records, (), ())


def last_beat(database: Database) -> Any:
    with database.reading() as connection:
        return connection.scalar(select(owners.c.heartbeat_at))


def beats_on(database: Database) -> bool:
    before = last_beat(database)
    until(lambda: last_beat(database) not in (None, before))
    return True


@pytest.mark.usefixtures("quick")
def test_a_takeover_that_hangs_stops_no_beat(database: Flaky) -> None:
    inside, leave = threading.Event(), threading.Event()

    def hang() -> None:
        inside.set()
        leave.wait(PATIENCE)

    rescuer = Rescuer(lambda: None, hang)
    orphan(database, "a")
    kept = Beats(Lease(database), LOG)

    kept.start(rescuer.decide, rescuer.take, rescuer.cancel)

    try:
        assert inside.wait(PATIENCE)
        assert beats_on(database)
    finally:
        leave.set()
        kept.close()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), SystemExit(3)], ids=repr)
@pytest.mark.parametrize("where", ["deciding", "taking"])
def test_whatever_a_takeover_raises_the_next_one_comes(
    database: Flaky, error: BaseException, where: str, said: Callable[[], list[str]]
) -> None:
    rescuer = Rescuer(lambda: None, lambda: None)
    errors = [error]

    def trouble() -> None:
        if errors:
            raise errors.pop()

    setattr(rescuer, where, trouble)
    orphan(database, "a", "b")
    kept = Beats(Lease(database), LOG)

    kept.start(rescuer.decide, rescuer.take, rescuer.cancel)

    until(lambda: rescuer.taken == ["a", "b"])
    kept.close()
    assert [f"the lease on tasks: {error}; it is tried again"] == said()


@pytest.mark.usefixtures("quick")
def test_whatever_a_beat_raises_there_is_another_one(
    database: Flaky, said: Callable[[], list[str]]
) -> None:
    rescuer = Rescuer(lambda: None, lambda: None)
    kept = Beats(Lease(database), LOG)
    kept.start(rescuer.decide, rescuer.take, rescuer.cancel)
    until(lambda: last_beat(database))

    database.trouble = RuntimeError("a driver's own")
    until(said)
    database.trouble = None

    assert beats_on(database)
    kept.close()
    assert said() == ["the lease on tasks: a driver's own; it is tried again"]


def test_threads_that_start_one_thing_at_the_same_time_start_one_thread() -> None:
    together, leave, turns = threading.Barrier(8), threading.Event(), []
    periodic = Periodic("periodic")

    def turn(_: threading.Event) -> None:
        turns.append(1)
        leave.wait(PATIENCE)

    def start() -> None:
        together.wait(PATIENCE)
        periodic.start(turn, lambda _: 0.0)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    leave.set()
    periodic.close()

    assert turns == [1]


def test_what_has_ended_is_not_kept_until_the_garbage_is_collected(database: Database) -> None:
    rescuer = Rescuer(lambda: None, lambda: None)
    kept = Beats(Lease(database), LOG)
    gone = weakref.ref(kept)
    gc.disable()
    try:
        kept.start(rescuer.decide, rescuer.take, rescuer.cancel)
        kept.close()
        del kept
        until(lambda: gone() is None)
    finally:
        gc.enable()


def test_what_was_ended_in_its_turn_begins_again() -> None:
    turns: list[str] = []
    periodic = Periodic("periodic")

    def turn(name: str) -> Callable[[threading.Event], float]:
        def run(stopped: threading.Event) -> float:
            turns.append(name)
            stopped.wait(PATIENCE)
            return PATIENCE

        return run

    for name in ("first", "second"):
        periodic.start(turn(name), lambda _: 0.0)
        until(partial(turns.__contains__, name))
        periodic.close()

    assert turns == ["first", "second"]
