"""The live store's bounds: what is kept, what goes, and what says so."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fastapi_taskflow import TaskManager, TaskNotFoundError, TaskStatus, task_log
from fastapi_taskflow.store import LogEntry, MemoryStore, Query, TaskRecord

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PENDING, SUCCESS, FAILED = TaskStatus.PENDING, TaskStatus.SUCCESS, TaskStatus.FAILED


def _add(store: MemoryStore, number: int, key: str | None = None) -> str:
    created = NOON + timedelta(seconds=number)
    store.add(TaskRecord(f"id-{number}", "send", PENDING, created, idempotency_key=key))
    return f"id-{number}"


def _kept(store: MemoryStore) -> list[str]:
    return [record.task_id for record in store.query(Query(limit=1000))]


@pytest.mark.parametrize(("entries", "dropped"), [(0, 0), (4, 0), (5, 0), (6, 1), (1000, 995)])
def test_a_log_keeps_its_newest_entries_and_counts_the_rest(entries: int, dropped: int) -> None:
    store = MemoryStore(max_log_entries=5)
    task_id = _add(store, 1)

    for seq in range(entries):
        store.append(task_id, LogEntry(seq, NOON, "info", f"line {seq}", 0))

    record, kept = store.get(task_id), store.entries(task_id)
    assert record is not None
    assert kept is not None
    assert [entry.seq for entry in kept] == list(range(dropped, entries))
    assert [line.rpartition(" ")[2] for line in record.logs] == [
        str(seq) for seq in range(dropped, entries)
    ]
    assert record.logs_dropped == dropped


def test_a_managers_tasks_are_bounded_one_by_one() -> None:
    manager = TaskManager(max_log_entries=3)

    def body(lines: int) -> None:
        for number in range(lines):
            task_log(number)

    long, short = manager.run(body, 10), manager.run(body, 2)

    assert [line[-2:] for line in long.logs] == [" 7", " 8", " 9"]
    assert (long.logs_dropped, short.logs_dropped) == (7, 0)


def test_the_tasks_that_ended_first_go_first_whenever_they_were_enqueued() -> None:
    store = MemoryStore(max_finished_tasks=2)
    ids = [_add(store, number) for number in range(5)]

    for number in (4, 0, 3, 1):
        store.update(ids[number], (PENDING,), status=SUCCESS)

    assert _kept(store) == ["id-3", "id-2", "id-1"]
    assert store.get("id-4") is None
    assert store.entries("id-4") is None


def test_tasks_that_have_not_ended_are_never_forgotten() -> None:
    store = MemoryStore(max_finished_tasks=1)
    for number in range(100):
        _add(store, number)

    store.update("id-0", (PENDING,), status=TaskStatus.RUNNING)

    assert len(_kept(store)) == 100


def test_a_change_that_is_no_end_pushes_nothing_out() -> None:
    store = MemoryStore(max_finished_tasks=1)
    first, second = _add(store, 1), _add(store, 2)
    store.update(first, (PENDING,), status=SUCCESS)

    store.update(first, (SUCCESS,), attempt=1)
    store.update(second, (PENDING,), attempt=1)

    assert _kept(store) == [second, first]


def test_a_forgotten_tasks_key_is_free_and_a_newer_tasks_is_not() -> None:
    store = MemoryStore(max_finished_tasks=1)
    store.update(_add(store, 1, key="free"), (PENDING,), status=SUCCESS)
    store.update(_add(store, 2, key="taken"), (PENDING,), status=FAILED)
    store.update(_add(store, 3, key="taken"), (PENDING,), status=SUCCESS)

    free = store.add(TaskRecord("id-4", "send", PENDING, NOON, idempotency_key="free"))
    taken = store.add(TaskRecord("id-5", "send", PENDING, NOON, idempotency_key="taken"))

    assert (free.task_id, taken.task_id) == ("id-4", "id-3")


def test_late_lines_of_a_forgotten_task_are_passed_over() -> None:
    store = MemoryStore(max_finished_tasks=1)
    for number in (1, 2):
        store.update(_add(store, number), (PENDING,), status=SUCCESS)

    store.append("id-1", LogEntry(0, NOON, "info", "late", 0))

    assert _kept(store) == ["id-2"]


def test_a_record_that_is_held_is_forgotten_when_nobody_holds_it_any_more() -> None:
    store = MemoryStore(max_finished_tasks=1)
    first, second = _add(store, 1, key="k"), _add(store, 2)

    with store.holding(first):
        with store.holding(first), store.holding("unknown"):
            store.update(first, (PENDING,), status=SUCCESS)
            store.update(second, (PENDING,), status=SUCCESS)
        held = _kept(store)
        same = store.add(TaskRecord("id-3", "send", PENDING, NOON, idempotency_key="k"))
    free = store.add(TaskRecord("id-4", "send", PENDING, NOON, idempotency_key="k"))

    assert held == [second, first]
    assert (same.task_id, free.task_id) == (first, "id-4")
    assert _kept(store) == [second, "id-4"]


def test_a_record_that_was_held_stays_while_there_is_room() -> None:
    store = MemoryStore(max_finished_tasks=1)

    with store.holding(task_id := _add(store, 1)):
        store.update(task_id, (PENDING,), status=SUCCESS)

    assert _kept(store) == [task_id]


def _again(store: MemoryStore, task_id: str, key: str | None = None) -> None:
    """A task that was interrupted is taken over, and runs again."""
    store.adopt(TaskRecord(task_id, "send", PENDING, NOON, idempotency_key=key), [])
    store.update(task_id, (PENDING,), status=TaskStatus.RUNNING)


def test_a_task_that_runs_again_is_not_forgotten_for_its_end_before() -> None:
    store = MemoryStore(max_finished_tasks=1)
    first = _add(store, 1)
    store.update(first, (PENDING,), status=TaskStatus.INTERRUPTED)

    _again(store, first)
    for number in (2, 3):
        store.update(_add(store, number), (PENDING,), status=SUCCESS)

    assert store.update(first, (TaskStatus.RUNNING,), status=SUCCESS) is not None
    assert _kept(store) == [first]


def test_a_task_that_runs_again_is_not_forgotten_for_who_held_it_before() -> None:
    store = MemoryStore(max_finished_tasks=1)
    first = _add(store, 1)

    with store.holding(first):
        store.update(first, (PENDING,), status=TaskStatus.INTERRUPTED)
        store.update(_add(store, 2), (PENDING,), status=SUCCESS)
        _again(store, first)

    assert first in _kept(store)


def test_a_task_that_was_taken_over_has_its_key_until_it_is_forgotten() -> None:
    store = MemoryStore(max_finished_tasks=1)
    _again(store, "id-1", key="k")

    same = store.add(TaskRecord("id-2", "send", PENDING, NOON, idempotency_key="k"))
    store.update("id-1", (TaskStatus.RUNNING,), status=SUCCESS)
    store.update(_add(store, 3), (PENDING,), status=SUCCESS)
    free = store.add(TaskRecord("id-4", "send", PENDING, NOON, idempotency_key="k"))

    assert (same.task_id, free.task_id) == ("id-1", "id-4")


@pytest.mark.parametrize("database", [False, True], ids=["memory", "sqlite"])
def test_who_waits_for_a_task_gets_its_record_however_many_others_end_meanwhile(
    tmp_path: Path, database: bool
) -> None:
    manager = TaskManager(
        max_finished_tasks=1, snapshot_db=tmp_path / "tasks.db" if database else None
    )

    async def body(number: int) -> int:
        task_log(number)
        return number

    async def run() -> list[TaskRecord]:
        return await asyncio.gather(*(manager.execute(body, number) for number in range(20)))

    records = asyncio.run(run())

    assert [(r.status, r.result, len(r.logs)) for r in records] == [
        (SUCCESS, number, 1) for number in range(20)
    ]
    assert len(manager.store.query(Query())) == (20 if database else 1)


@pytest.mark.parametrize("database", [False, True], ids=["memory", "sqlite"])
def test_what_memory_forgets_is_known_only_where_a_database_is(
    tmp_path: Path, database: bool
) -> None:
    location = tmp_path / "tasks.db" if database else None
    manager = TaskManager(max_finished_tasks=2, snapshot_db=location)

    records = [manager.run(task_log, number) for number in range(5)]
    assert manager.store.flush(10.0)

    total = manager.store.totals().by_status[SUCCESS]
    if database:
        assert total == 5
        assert manager.get_task(records[0].task_id).logs == records[0].logs
    else:
        assert total == 2
        with pytest.raises(TaskNotFoundError):
            manager.get_task(records[0].task_id)
