"""What is done to ended tasks, over all stores: found, claimed, deleted, and noted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from fastapi_taskflow import StoreError, TaskStatus
from fastapi_taskflow.store import LogEntry, MemoryStore, TaskRecord, TaskStore, sql_history
from fastapi_taskflow.store.audit import MAX_ENTRIES
from fastapi_taskflow.store.chosen import SqlStore, with_snapshots
from fastapi_taskflow.store.retention import PAUSE_SECONDS

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
FAILED = (TaskStatus.FAILED, TaskStatus.INTERRUPTED)
LOG = logging.getLogger("fastapi_taskflow.store")
STORES = ["memory", "sqlite", "postgresql", "mariadb"]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, database_of: Callable[[str], str]) -> Iterator[TaskStore]:
    location = None if request.param == "memory" else database_of(request.param)
    store = with_snapshots(MemoryStore(), None if location is None else SqlStore(location), LOG)
    store.open()
    yield store
    store.close(10.0)


@pytest.fixture(params=STORES[1:])
def stores(
    request: pytest.FixtureRequest, database_of: Callable[[str], str]
) -> Iterator[list[TaskStore]]:
    """Two stores on one database, as two processes have them."""
    location = database_of(request.param)
    stores = [with_snapshots(MemoryStore(), SqlStore(location), LOG) for _ in range(2)]
    yield stores
    for store in stores:
        store.close(10.0)


def _end(
    store: TaskStore, task_id: str, hours: float, status: str = "failed", **fields: Any
) -> None:
    """Add a task that ended so many hours after noon."""
    at = NOON + timedelta(hours=hours)
    values = {"func_name": "send", "created_at": at - timedelta(minutes=30), **fields}
    store.add(TaskRecord(task_id=task_id, status=TaskStatus.PENDING, **values))
    if status != "pending":
        store.update(task_id, (TaskStatus.PENDING,), status=TaskStatus(status), end_time=at)


def test_what_has_ended_so_is_found_oldest_first(store: TaskStore) -> None:
    _end(store, "late", 3)
    _end(store, "early", 1)
    _end(store, "interrupted", 2, "interrupted")
    _end(store, "succeeded", 2, "success")
    _end(store, "pending", 2, "pending")
    _end(store, "other", 2, func_name="other")

    assert store.history.ended(FAILED, None, "send") == ["early", "interrupted", "late"]
    assert store.history.ended(FAILED, NOON + timedelta(hours=2), "send") == ["interrupted", "late"]
    assert store.history.ended(FAILED, None, "other") == ["other"]
    assert store.history.ended((TaskStatus.SUCCESS,), None, None) == ["succeeded"]


def test_in_a_database_what_is_to_run_again_has_not_ended(stores: list[TaskStore]) -> None:
    store = stores[0]
    _end(store, "again", 1, "interrupted", requeue_on_interrupt=True, start_time=NOON)
    _end(store, "failed", 1, requeue_on_interrupt=True)

    assert store.history.ended(FAILED, None, None) == ["failed"]
    assert store.history.delete(NOON + timedelta(hours=2)) == 1
    assert store.find("again") is not None


def test_a_retry_is_claimed_once(store: TaskStore) -> None:
    for name in "abc":
        _end(store, name, 1)

    assert store.history.claim_retries(["b", "a"]) == {"a", "b"}
    assert store.history.claim_retries(["a", "c"]) == {"c"}
    store.history.release_retry("a")
    assert store.history.claim_retries(["a", "b", "c"]) == {"a"}
    assert store.history.claim_retries([]) == set()


def test_of_several_processes_one_claims_each_retry(stores: list[TaskStore]) -> None:
    names = [f"t{number:02}" for number in range(40)]
    for name in names:
        _end(stores[0], name, 1)
    assert stores[0].flush(30.0)
    ready = threading.Barrier(4)
    claimed: list[str] = []

    def claim(store: TaskStore) -> None:
        ready.wait(30)
        for start in range(0, 40, 10):
            claimed.extend(store.history.claim_retries(names[start : start + 10]))

    threads = [threading.Thread(target=claim, args=(store,)) for store in stores * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(claimed) == names


def test_old_tasks_are_deleted_with_all_there_is_of_them(store: TaskStore) -> None:
    old = {"idempotency_key": "key", "tags": {"a": "1"}}
    _end(store, "old", 1, "success", **old)
    _end(store, "new", 3)
    _end(store, "pending", 1, "pending")
    store.append("old", LogEntry(1, NOON, "info", "hello", 0))
    store.history.claim_retries(["old"])

    count = store.history.delete(NOON + timedelta(hours=2))

    assert count == 1
    assert (store.get("old"), store.entries("old")) == (None, None)
    assert store.get("new") is not None
    assert store.get("pending") is not None
    _end(store, "next", 1, "success", **old)
    assert store.get("next") is not None  # the key was free
    assert store.history.claim_retries(["old"]) == {"old"}
    assert store.history.delete(NOON) == 0


def test_many_tasks_are_deleted_in_batches_with_time_for_others_between(
    stores: list[TaskStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(sql_history, "time", SimpleNamespace(sleep=waits.append))
    for number in range(250):
        _end(stores[0], f"id-{number}", 1)
    assert stores[0].flush(30.0)

    assert stores[1].history.delete(NOON + timedelta(hours=2)) == 250
    assert waits == [PAUSE_SECONDS, PAUSE_SECONDS]
    assert sum(stores[1].totals().by_status.values()) == 0


def test_what_people_did_is_listed_newest_first_in_pages(store: TaskStore) -> None:
    for number in range(5):
        store.history.add_audit("retry", f"id-{number}", {"new": f"new-{number}", "n": [1, None]})
    store.history.add_audit("delete-history", None, {})

    first = store.history.audit(2)
    rest = store.history.audit(10, first[-1].number)

    assert [entry.task_id for entry in first + rest] == [None, *(f"id-{n}" for n in "43210")]
    assert (rest[0].action, rest[0].detail) == ("retry", {"new": "new-3", "n": [1, None]})
    assert rest[0].at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - rest[0].at) < timedelta(minutes=5)


def test_a_database_has_what_people_did_in_all_processes(stores: list[TaskStore]) -> None:
    stores[0].history.add_audit("cancel", "a", {})
    stores[1].history.add_audit("cancel", "b", {})

    assert [entry.task_id for entry in stores[0].history.audit(10)] == ["b", "a"]


def test_memory_keeps_the_newest_entries() -> None:
    history = MemoryStore().history

    for number in range(MAX_ENTRIES + 10):
        history.add_audit("retry", str(number), {})

    found = history.audit(MAX_ENTRIES + 10)
    assert len(found) == MAX_ENTRIES
    assert found[-1].task_id == "10"


@pytest.mark.parametrize(
    "ask",
    [
        lambda history: history.ended(FAILED, None, None),
        lambda history: history.claim_retries(["a"]),
        lambda history: history.release_retry("a"),
        lambda history: history.delete(NOON),
        lambda history: history.add_audit("retry", None, {}),
        lambda history: history.audit(1),
    ],
    ids=["ended", "claim", "release", "delete", "add_audit", "audit"],
)
def test_a_server_that_is_gone_is_an_error_of_ours(server: Any, ask: Callable[[Any], Any]) -> None:
    store = with_snapshots(MemoryStore(), SqlStore(server.emptied_database()), LOG)
    store.open()
    server.kill()

    try:
        with pytest.raises(StoreError, match="the snapshot database"):
            ask(store.history)
    finally:
        server.start()
        store.close(1.0)
