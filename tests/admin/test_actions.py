"""The JSON routes that change something, through an app."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from freezegun import freeze_time

from fastapi_taskflow import (
    ConfigurationError,
    InMemoryLogger,
    ManagedBackgroundTasks,
    TaskAdmin,
    TaskManager,
    TaskRecord,
    TaskStatus,
    control,
    task_log,
)
from fastapi_taskflow.store import MemoryStore
from fastapi_taskflow.store.chosen import SqlStore, with_snapshots

PATIENCE = 20.0


@pytest.fixture(params=["memory", "sqlite"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> TaskManager:
    database = tmp_path / "tasks.db" if request.param == "sqlite" else None
    return TaskManager(loggers=[InMemoryLogger()], snapshot_db=database)


@pytest.fixture
def app(manager: TaskManager) -> FastAPI:
    app = FastAPI()
    TaskAdmin(app, manager, auto_install=True)
    return app


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


def test_a_running_task_is_cancelled(
    app: FastAPI, client: TestClient, manager: TaskManager
) -> None:
    begun, ended = threading.Event(), threading.Event()

    @manager.task()
    def work() -> None:
        begun.set()
        ended.wait(PATIENCE)

    requests = threading.Thread(target=lambda: manager.run(work))
    requests.start()
    assert begun.wait(PATIENCE)
    (task,) = client.get("/tasks").json()
    answer = client.post(f"/tasks/{task['task_id']}/cancel")
    requests.join(PATIENCE)
    ended.set()

    assert answer.status_code == 200
    assert answer.json()["status"] == "cancelled"
    assert answer.json()["error"] == (
        f"it was cancelled by a request to POST /tasks/{task['task_id']}/cancel"
    )
    assert client.get(f"/tasks/{task['task_id']}").json()["status"] == "cancelled"


def test_a_reason_to_cancel_is_the_tasks_error(client: TestClient, manager: TaskManager) -> None:
    tasks = ManagedBackgroundTasks(manager.engine)
    path = f"/tasks/{tasks.add_task(task_log, 'x')}/cancel"

    empty, long = (client.post(path, params={"reason": text}) for text in ("", "x" * 501))
    cancelled = client.post(path, params={"reason": "the customer has left"})

    assert (empty.status_code, long.status_code) == (422, 422)
    assert cancelled.json()["error"] == "the customer has left"


def test_what_cant_be_cancelled_is_told_why(client: TestClient, manager: TaskManager) -> None:
    ended = manager.run(task_log, "x")

    unknown = client.post("/tasks/nobody/cancel")
    late = client.post(f"/tasks/{ended.task_id}/cancel")

    assert (unknown.status_code, late.status_code) == (404, 409)
    assert unknown.json() == {"detail": "no task with id 'nobody'"}
    assert late.json()["status"] == "success"
    assert "has ended as success" in late.json()["detail"]


def test_a_task_whose_process_doesnt_answer_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "OTHERS_SECONDS", 0.0)
    database = tmp_path / "tasks.db"
    silent = with_snapshots(
        MemoryStore(), SqlStore(database), logging.getLogger("fastapi_taskflow.store")
    )
    silent.add(TaskRecord("id", "send", TaskStatus.PENDING, datetime.now(UTC)))
    assert silent.flush(PATIENCE)
    app = FastAPI()
    TaskAdmin(app, TaskManager(snapshot_db=database))

    with TestClient(app) as client:
        answer = client.post("/tasks/id/cancel")
        (line,) = client.get("/tasks/audit").json()

    silent.close(PATIENCE)
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert line["detail"]["status"] == "pending"


def fail() -> None:
    raise ValueError("boom")


def test_an_ended_task_is_retried(client: TestClient, manager: TaskManager) -> None:
    manager.task()(fail)
    record = manager.run(fail, tags={"kind": "test"})

    answer = client.post(f"/tasks/{record.task_id}/retry")

    assert answer.status_code == 200
    new = answer.json()
    assert new["task_id"] == new["task"]["task_id"] != record.task_id
    assert (new["task"]["func_name"], new["task"]["tags"]) == ("fail", {"kind": "test"})
    assert client.get(f"/tasks/{new['task_id']}").status_code == 200


def test_what_cant_be_retried_is_told_why(client: TestClient, manager: TaskManager) -> None:
    record = manager.run(task_log, "x")

    unknown = client.post("/tasks/nobody/retry")
    unregistered = client.post(f"/tasks/{record.task_id}/retry")

    assert (unknown.status_code, unregistered.status_code) == (404, 409)
    assert "no function is registered here as 'task_log'" in unregistered.json()["detail"]


def test_tasks_are_retried_in_bulk_once(client: TestClient, manager: TaskManager) -> None:
    manager.task()(fail)
    ids = [manager.run(fail).task_id for _ in range(2)]

    first = client.post("/tasks/bulk-retry", json={"task_ids": [*ids, "nobody"]})
    again = client.post("/tasks/bulk-retry", json={"task_ids": ids})

    assert first.status_code == again.status_code == 200
    assert list(first.json()["retried"]) == ids
    assert first.json()["skipped"]["nobody"] == "no task with id 'nobody'"
    assert again.json() == {"retried": {}, "skipped": dict.fromkeys(ids, "it was retried before")}


@pytest.mark.parametrize("since", ["all", "30m", "6h", "2d", "999999d"])
def test_what_failed_in_a_window_is_retried(
    client: TestClient, manager: TaskManager, since: str
) -> None:
    manager.task()(fail)
    record = manager.run(fail)

    none = client.post("/tasks/retry-failed", params={"since": since, "func_name": "other"})
    some = client.post("/tasks/retry-failed", params={"since": since, "func_name": "fail"})

    assert none.json() == {"retried": {}, "skipped": {}}
    assert list(some.json()["retried"]) == [record.task_id]


@pytest.mark.parametrize(
    "since", ["", "6", "h", "6w", "-6h", "1.5h", "6H", "6h ", "\u0664h", "1" * 7 + "d"]
)
def test_a_window_that_cant_be_read_is_told_what_can(client: TestClient, since: str) -> None:
    answer = client.post("/tasks/retry-failed", params={"since": since})

    assert answer.status_code == 400
    assert answer.json()["detail"] == (
        f"since={since!r} can't be used; expected up to 999999 minutes, hours or days such as "
        "30m, 6h or 2d, or all"
    )


@pytest.mark.parametrize(
    ("method", "path", "options", "says"),
    [
        ("POST", "/tasks/retry-failed", {}, "since"),
        ("POST", "/tasks/bulk-retry", {"json": {"task_ids": []}}, "at least 1 item"),
        ("POST", "/tasks/bulk-retry", {"json": {"task_ids": ["x"] * 1001}}, "at most 1000 items"),
        ("POST", "/tasks/bulk-retry", {"json": {}}, "task_ids"),
        ("DELETE", "/tasks/history", {"params": {"value": 1, "unit": "week"}}, "'min', 'hour' or"),
        ("DELETE", "/tasks/history", {"params": {"value": 0, "unit": "day"}}, "greater than or eq"),
        ("DELETE", "/tasks/history", {"params": {"value": 10**6, "unit": "day"}}, "less than or"),
        ("DELETE", "/tasks/history", {"params": {"value": "x", "unit": "day"}}, "valid integer"),
        ("DELETE", "/tasks/history", {}, "value"),
        ("GET", "/tasks/audit", {"params": {"limit": 0}}, "greater than or equal to 1"),
        ("GET", "/tasks/audit", {"params": {"limit": 501}}, "less than or equal to 500"),
        ("GET", "/tasks/audit", {"params": {"cursor": "x"}}, "valid integer"),
    ],
)
def test_what_cant_be_read_is_unprocessable(
    client: TestClient, method: str, path: str, options: dict[str, Any], says: str
) -> None:
    answer = client.request(method, path, **options)

    assert answer.status_code == 422
    assert says in str(answer.json()["detail"])


@pytest.mark.parametrize("unit", ["min", "hour", "day"])
def test_old_tasks_are_deleted(client: TestClient, manager: TaskManager, unit: str) -> None:
    with freeze_time(datetime.now(UTC) - timedelta(days=2), real_asyncio=True):
        old = manager.run(task_log, "x")
    new = manager.run(task_log, "x")

    answer = client.delete("/tasks/history", params={"value": 1, "unit": unit})

    assert (answer.status_code, answer.json()) == (200, {"deleted": 1})
    assert client.get(f"/tasks/{old.task_id}").status_code == 404
    assert client.get(f"/tasks/{new.task_id}").status_code == 200


def test_the_trail_is_shown_newest_first_in_pages(client: TestClient, manager: TaskManager) -> None:
    manager.task()(fail)
    ids = [manager.run(fail).task_id for _ in range(3)]
    for task_id in ids:
        client.post(f"/tasks/{task_id}/retry")
    client.delete("/tasks/history", params={"value": 1, "unit": "day"})

    first = client.get("/tasks/audit", params={"limit": 3})
    rest = client.get(first.links["next"]["url"])

    lines = [*first.json(), *rest.json()]
    assert [line["action"] for line in lines] == ["delete-history", "retry", "retry", "retry"]
    assert [line["task_id"] for line in lines] == [None, *reversed(ids)]
    assert "next" not in rest.links
    assert lines[0]["detail"]["deleted"] == 0
    assert list(lines[1]["detail"]) == ["new"]


def test_read_only_leaves_out_all_that_changes_something(manager: TaskManager) -> None:
    app = FastAPI()
    TaskAdmin(app, manager, read_only=True)
    task_id = manager.run(task_log, "x").task_id

    with TestClient(app) as client:
        answers = {
            client.post(f"/tasks/{task_id}/cancel").status_code,
            client.post(f"/tasks/{task_id}/retry").status_code,
            client.post("/tasks/bulk-retry", json={"task_ids": [task_id]}).status_code,
            client.post("/tasks/retry-failed", params={"since": "all"}).status_code,
            client.delete("/tasks/history", params={"value": 1, "unit": "day"}).status_code,
        }
        methods = {method for path in app.openapi()["paths"].values() for method in path}

    assert answers <= {404, 405}
    assert methods == {"get"}
    with pytest.raises(ConfigurationError, match="read_only="):
        TaskAdmin(FastAPI(), manager, read_only=1)  # type: ignore[arg-type]  # what is refused


@pytest.mark.parametrize("cursor", ["0", "x", "9223372036854775808"])
def test_a_cursor_of_the_trail_that_is_none_is_refused(client: TestClient, cursor: str) -> None:
    assert client.get("/tasks/audit", params={"cursor": cursor}).status_code == 422
