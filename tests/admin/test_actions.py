"""The JSON routes that change something, through an app."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fastapi_taskflow import ConfigurationError, InMemoryLogger, TaskAdmin, TaskManager, task_log

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


def test_what_cant_be_cancelled_is_told_why(client: TestClient, manager: TaskManager) -> None:
    ended = manager.run(task_log, "x")

    unknown = client.post("/tasks/nobody/cancel")
    late = client.post(f"/tasks/{ended.task_id}/cancel")

    assert (unknown.status_code, late.status_code) == (404, 409)
    assert unknown.json() == {"detail": "no task with id 'nobody'"}
    assert late.json()["status"] == "success"
    assert "has ended as success" in late.json()["detail"]


def test_read_only_leaves_out_all_that_changes_something(manager: TaskManager) -> None:
    app = FastAPI()
    TaskAdmin(app, manager, read_only=True)
    task_id = manager.run(task_log, "x").task_id

    with TestClient(app) as client:
        answers = {
            client.post(f"/tasks/{task_id}/cancel").status_code,
        }
        methods = {method for path in app.openapi()["paths"].values() for method in path}

    assert answers <= {404, 405}
    assert methods == {"get"}
    with pytest.raises(ConfigurationError, match="read_only="):
        TaskAdmin(FastAPI(), manager, read_only=1)  # type: ignore[arg-type]  # what is refused
