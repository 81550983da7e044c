"""The table of moves between statuses, and state before news."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest

from fastapi_taskflow import InMemoryLogger, TaskContext, TaskManager, TaskRecord, TaskStatus
from fastapi_taskflow.execution.failure import Failure
from fastapi_taskflow.execution.transitions import Progress
from fastapi_taskflow.loggers.branch import Branch
from fastapi_taskflow.loggers.dispatch import Sink
from fastapi_taskflow.loggers.emit import TaskEmitter
from fastapi_taskflow.loggers.ledger import Ledger
from fastapi_taskflow.store import MemoryStore

PENDING, RUNNING = TaskStatus.PENDING, TaskStatus.RUNNING
SUCCESS, FAILED = TaskStatus.SUCCESS, TaskStatus.FAILED
INTERRUPTED, CANCELLED = TaskStatus.INTERRUPTED, TaskStatus.CANCELLED

ALLOWED = {
    (PENDING, RUNNING),
    (PENDING, INTERRUPTED),
    (PENDING, CANCELLED),
    (RUNNING, SUCCESS),
    (RUNNING, FAILED),
    (RUNNING, INTERRUPTED),
    (RUNNING, CANCELLED),
}

MOVES: dict[TaskStatus, Callable[[Progress], bool]] = {
    RUNNING: Progress.start,
    SUCCESS: lambda progress: progress.succeed("result"),
    FAILED: lambda progress: progress.fail(Failure(ValueError("no"))),
    INTERRUPTED: Progress.interrupt,
    CANCELLED: Progress.cancel,
}

WAY: dict[TaskStatus, list[TaskStatus]] = {
    PENDING: [],
    RUNNING: [RUNNING],
    SUCCESS: [RUNNING, SUCCESS],
    FAILED: [RUNNING, FAILED],
    INTERRUPTED: [RUNNING, INTERRUPTED],
    CANCELLED: [RUNNING, CANCELLED],
}


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.add(TaskRecord("id", "send", PENDING, datetime.now(UTC)))
    return store


@pytest.fixture
def progress(store: MemoryStore, memory: InMemoryLogger) -> Progress:
    branch = Branch([Sink(memory.handler, Ledger("memory"))])
    return Progress(store, TaskEmitter(branch, TaskContext("id", "send", 0)))


@pytest.mark.parametrize(
    ("before", "after"),
    list(product(TaskStatus, MOVES)),
    ids=lambda status: status.value,
)
def test_a_move_is_made_and_told_only_where_the_table_allows_it(
    store: MemoryStore,
    progress: Progress,
    memory: InMemoryLogger,
    before: TaskStatus,
    after: TaskStatus,
) -> None:
    for step in WAY[before]:
        assert MOVES[step](progress)
    known, told = store.get("id"), len(memory.lifecycle_events)

    moved = MOVES[after](progress)

    record = store.get("id")
    assert record is not None
    assert moved is ((before, after) in ALLOWED)
    assert record.status is (after if moved else before)
    assert len(memory.lifecycle_events) == told + moved
    if not moved:
        assert record == known


@pytest.mark.parametrize(
    ("hours", "duration"), [(1, 3600.0), (-1, 0.0)], ids=["before", "by a clock ahead of this one"]
)
def test_a_task_that_began_in_a_process_that_is_dead_counts_from_there(
    store: MemoryStore, progress: Progress, hours: int, duration: float
) -> None:
    progress.first_start = first = datetime.now(UTC) - timedelta(hours=hours)

    progress.start()
    progress.succeed(None)

    record = store.get("id")
    assert record is not None
    assert record.start_time == first
    assert record.duration is not None
    assert duration <= record.duration < duration + 600


def test_of_two_ends_at_once_one_counts_and_is_told(
    store: MemoryStore, progress: Progress, memory: InMemoryLogger
) -> None:
    progress.start()
    barrier, won = threading.Barrier(8, timeout=30), []

    def end(status: TaskStatus) -> None:
        barrier.wait()
        if MOVES[status](progress):
            won.append(status)

    ends = [SUCCESS, FAILED, INTERRUPTED, CANCELLED] * 2
    threads = [threading.Thread(target=end, args=(status,)) for status in ends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    record = store.get("id")
    assert record is not None
    assert won == [record.status]
    assert [event.status for event in memory.lifecycle_events] == [RUNNING, record.status]


def test_an_end_before_the_start_has_no_duration(
    store: MemoryStore, progress: Progress, memory: InMemoryLogger
) -> None:
    progress.interrupt()

    record, (event,) = store.get("id"), memory.lifecycle_events
    assert record is not None
    assert (record.start_time, record.duration, event.duration) == (None, None, None)
    assert record.end_time is not None


def test_a_failures_facts_are_the_same_in_record_and_news(
    store: MemoryStore, progress: Progress, memory: InMemoryLogger
) -> None:
    progress.start()
    MOVES[FAILED](progress)

    record, event = store.get("id"), memory.lifecycle_events[-1]
    assert record is not None
    assert (record.error, record.stacktrace) == (event.error, event.stacktrace)
    assert (record.error, record.duration) == ("no", event.duration)


class Reader(logging.Handler):
    """Asks, at each status change, what the manager knows of the task by then."""

    def __init__(self) -> None:
        super().__init__()
        self.manager: TaskManager
        self.seen: list[tuple[str, str, bool]] = []

    def emit(self, record: logging.LogRecord) -> None:
        task = self.manager.get_task(record.__dict__["task_id"])
        told: str = record.__dict__["status"]
        self.seen.append((told, task.status.value, task.end_time is not None))


@pytest.mark.parametrize("database", [False, True], ids=["memory", "sqlite"])
@pytest.mark.parametrize("level", [logging.NOTSET, logging.CRITICAL], ids=["told", "not told"])
def test_a_status_is_in_the_store_before_its_news_and_without_it(
    tmp_path: Path, database: bool, level: int
) -> None:
    reader = Reader()
    logger = logging.getLogger("fastapi_taskflow.lifecycle")
    logger.addHandler(reader)
    logging.getLogger("fastapi_taskflow").setLevel(logging.DEBUG)
    logger.setLevel(level)
    reader.manager = TaskManager(snapshot_db=tmp_path / "tasks.db" if database else None)

    done = reader.manager.run(threading.get_ident)
    failed = reader.manager.run(int, "x")

    assert (done.status, failed.status) == (SUCCESS, FAILED)
    news = [("running", "running", False), ("success", "success", True)]
    news += [("running", "running", False), ("failed", "failed", True)]
    assert reader.seen == (news if level == logging.NOTSET else [])
