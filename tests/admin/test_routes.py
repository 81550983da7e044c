"""The JSON routes, through an app."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fastapi_taskflow import ConfigurationError, InMemoryLogger, TaskAdmin, TaskManager, task_log


@pytest.fixture(params=["memory", "sqlite"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> TaskManager:
    database = tmp_path / "tasks.db" if request.param == "sqlite" else None
    return TaskManager(loggers=[InMemoryLogger()], snapshot_db=database)


@pytest.fixture
def client(manager: TaskManager) -> Iterator[TestClient]:
    app = FastAPI()
    TaskAdmin(app, manager)
    with TestClient(app) as client:
        yield client


def fail(secret: str) -> None:
    raise ValueError("boom")


def test_a_list_is_filtered_and_shows_no_arguments(
    client: TestClient, manager: TaskManager
) -> None:
    good = manager.run(task_log, "hello", tags={"a": "1", "b": "2"})
    bad = manager.run(fail, "pass" + "word", tags={"a": "1"})

    def ids(**params: Any) -> list[str]:
        return [task["task_id"] for task in client.get("/tasks", params=params).json()]

    hour = timedelta(hours=1)
    now = datetime.now(UTC)
    assert ids() == [bad.task_id, good.task_id]
    assert ids(status="failed") == [bad.task_id]
    assert ids(func_name="task_log") == [good.task_id]
    assert ids(tag=["a:1", "b:2"]) == [good.task_id]
    assert ids(q="BOOM") == [bad.task_id]
    assert ids(since=(now + hour).isoformat()) == []
    assert ids(until=(now + hour).replace(tzinfo=None).isoformat()) == [bad.task_id, good.task_id]
    assert "password" not in client.get("/tasks").text
    assert "password" not in client.get(f"/tasks/{bad.task_id}").text


def test_link_headers_lead_through_all_pages(client: TestClient, manager: TaskManager) -> None:
    for number in range(7):
        manager.run(task_log, number)
    met: list[str] = []
    url: str | None = "/tasks?limit=3"

    while url is not None:
        page = client.get(url)
        met += [task["task_id"] for task in page.json()]
        url = page.links.get("next", {}).get("url")

    assert len(met) == len(set(met)) == 7


def test_one_task_has_its_traceback_and_lines(client: TestClient, manager: TaskManager) -> None:
    record = manager.run(fail, "x")

    task = client.get(f"/tasks/{record.task_id}").json()

    assert (task["status"], task["error"], task["attempt"]) == ("failed", "boom", 0)
    assert "ValueError: boom" in task["stacktrace"]
    assert task["logs"] == []


def test_log_entries_are_filtered_and_never_break_the_answer(
    client: TestClient, manager: TaskManager
) -> None:
    def body() -> None:
        task_log("one", level="debug", odd=float("nan"), raw=b"\xff", half="\ud800")
        task_log("two \ud800")
        task_log("three", level="error")

    record = manager.run(body)

    def messages(**params: Any) -> list[str]:
        answer = client.get(f"/tasks/{record.task_id}/logs", params=params)
        return [entry["message"] for entry in answer.json()]

    first = client.get(f"/tasks/{record.task_id}/logs").json()[0]
    assert first["extra"] == {"odd": "nan", "raw": "\\xff", "half": "\\ud800"}
    assert messages() == ["one", "two \\ud800", "three"]
    assert messages(level="INFO") == ["two \\ud800", "three"]
    assert messages(after=1, limit=1) == ["two \\ud800"]
    assert messages(after=99) == []
    assert client.get(f"/tasks/{record.task_id}").status_code == 200


def test_metrics_count_and_show_the_observers(client: TestClient, manager: TaskManager) -> None:
    empty = client.get("/tasks/metrics").json()
    manager.run(task_log, "x")
    manager.run(fail, "x")

    metrics = client.get("/tasks/metrics").json()

    assert (empty["total"], empty["success_rate"], empty["avg_duration_seconds"]) == (0, None, None)
    assert (metrics["total"], metrics["success"], metrics["failed"]) == (2, 1, 1)
    assert metrics["success_rate"] == 0.5
    assert metrics["avg_duration_seconds"] > 0
    assert metrics["observers"]["InMemoryLogger"]["delivered"] == 5


@pytest.mark.parametrize(
    ("url", "status", "says"),
    [
        ("/tasks/nope", 404, "no task with id 'nope'"),
        ("/tasks/nope/logs", 404, "no task with id 'nope'"),
        ("/tasks/nope/logs?level=loud", 400, "level='loud' can't be used; expected one of 'debug'"),
        ("/tasks?cursor=zz", 400, "cursor='zz' can't be used"),
        ("/tasks?cursor=%F0%9F%8E%89", 400, "can't be used"),
        ("/tasks?tag=nocolon", 400, "tag='nocolon' can't be used; expected key:value"),
        ("/tasks?status=done", 422, "'pending', 'running', 'success'"),
        ("/tasks?limit=0", 422, "greater than or equal to 1"),
        ("/tasks?since=6h", 422, "a time in ISO 8601, such as 2026-01-01T12:00:00Z, or"),
        ("/tasks?until=2026-01-01T13:00:00+01:00", 422, "a plain + in a URL means a space"),
    ],
)
def test_a_request_that_cant_be_answered_says_why(
    client: TestClient, url: str, status: int, says: str
) -> None:
    answer = client.get(url)

    assert answer.status_code == status
    assert says in str(answer.json()["detail"])


def test_a_long_error_is_whole_in_its_task_and_short_in_a_list(
    client: TestClient, manager: TaskManager
) -> None:
    def fail() -> None:
        raise ValueError("x" * 200_000)

    task_id = manager.run(fail).task_id

    (listed,) = client.get("/tasks").json()
    assert listed["error"] == "x" * 1000 + "... (200,000 characters)"
    assert client.get(f"/tasks/{task_id}").json()["error"] == "x" * 200_000


def test_the_routes_are_typed_in_openapi(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]

    schemas = {
        path: operations["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        for path, operations in paths.items()
        if path != "/tasks/stream" and "get" in operations
    }
    assert schemas["/tasks"]["items"] == {"$ref": "#/components/schemas/TaskSummary"}
    assert schemas["/tasks/{task_id}"] == {"$ref": "#/components/schemas/TaskDetail"}
    assert schemas["/tasks/{task_id}/logs"]["items"] == {"$ref": "#/components/schemas/Entry"}
    assert schemas["/tasks/metrics"] == {"$ref": "#/components/schemas/Metrics"}
    assert "404" in paths["/tasks/{task_id}"]["get"]["responses"]


@pytest.mark.parametrize("path", ["tasks", "/tasks/", "", "/"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="path="):
        TaskAdmin(FastAPI(), TaskManager(), path=path)


def test_a_path_that_is_taken_is_refused() -> None:
    app = FastAPI()
    TaskAdmin(app, TaskManager())

    with pytest.raises(ConfigurationError, match="path='/tasks' can't be used"):
        TaskAdmin(app, TaskManager())

    TaskAdmin(app, TaskManager(), path="/other")


def test_the_decorator_without_parentheses_says_so() -> None:
    with pytest.raises(ConfigurationError, match=r"expected parentheses: @task_manager.task\(\)"):
        TaskManager().task(fail)


def _walk(client: TestClient, url: str | None) -> list[str]:
    met: list[str] = []
    while url is not None:
        page = client.get(url).raise_for_status()
        met += [task["task_id"] for task in page.json()]
        url = page.links.get("next", {}).get("url")
    return met


@pytest.mark.parametrize("size", [1, 2, 5, 6, 7])
def test_the_filters_go_along_from_page_to_page(
    client: TestClient, manager: TaskManager, size: int
) -> None:
    wanted = [
        manager.run(task_log, number, tags={"a": "1", "ä&b": "c+d"}).task_id for number in range(6)
    ]
    for _ in range(3):
        manager.run(task_log, "x", tags={"a": "1"})
        manager.run(fail, "x", tags={"a": "1", "ä&b": "c+d"})

    query = f"tag=a:1&tag=%C3%A4%26b:c%2Bd&func_name=task_log&status=success&limit={size}"

    assert _walk(client, f"/tasks?{query}") == wanted[::-1]


def test_tasks_that_come_meanwhile_move_nothing_on_later_pages(
    client: TestClient, manager: TaskManager
) -> None:
    old = [manager.run(task_log, number).task_id for number in range(4)]
    first = client.get("/tasks?limit=2")
    manager.run(task_log, "new")

    rest = _walk(client, first.links["next"]["url"])

    assert [task["task_id"] for task in first.json()] + rest == old[::-1]


@pytest.mark.parametrize("served", ["mounted", "behind a prefix"])
def test_links_are_right_where_the_app_is_not_at_the_root(
    manager: TaskManager, served: str
) -> None:
    app, outer = FastAPI(), FastAPI()
    TaskAdmin(app, manager, path="/jobs")
    outer.mount("/sub", app)
    ids = [manager.run(task_log, number).task_id for number in range(3)]
    client = TestClient(outer) if served == "mounted" else TestClient(app, root_path="/sub")

    assert _walk(client, "/sub/jobs?limit=2") == ids[::-1]


def test_half_a_surrogate_pair_anywhere_breaks_no_answer(
    client: TestClient, manager: TaskManager
) -> None:
    odd = "x \ud800"

    def body() -> None:
        extra: dict[str, Any] = {odd: [odd, {odd: odd}]}
        task_log(odd, **extra)
        raise ValueError(odd)

    manager.task(name=odd)(body)
    record = manager.run(body, tags={odd: odd})

    listed = client.get("/tasks").json()[0]
    one = client.get(f"/tasks/{record.task_id}").json()
    entry = client.get(f"/tasks/{record.task_id}/logs").json()[0]
    escaped = "x \\ud800"
    for task in (listed, one):
        assert (task["func_name"], task["error"]) == (escaped, escaped)
        assert task["tags"] == {escaped: escaped}
    assert entry["extra"] == {escaped: [escaped, {escaped: escaped}]}


@pytest.mark.parametrize(
    "query",
    [
        "cursor=",
        "cursor=%00",
        "cursor=====",
        "tag=",
        "tag=:v",
        "tag=a:1&tag=b",
        "level=",
        "level=0",
    ],
)
def test_what_cant_be_read_is_a_bad_request_that_names_it(
    client: TestClient, manager: TaskManager, query: str
) -> None:
    path = manager.run(task_log, "x").task_id + "/logs" if query.startswith("level") else ""
    name = query.partition("=")[0]

    answer = client.get(f"/tasks/{path}?{query}" if path else f"/tasks?{query}")

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(f"{name}=")


@pytest.mark.parametrize(
    "query", ["limit=501", "limit=-1", "limit=x", "status=SUCCESS", "until=x", "since=nan"]
)
def test_a_value_of_the_wrong_kind_is_an_unprocessable_one_that_names_it(
    client: TestClient, query: str
) -> None:
    answer = client.get(f"/tasks?{query}")

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", query.partition("=")[0]]


def test_a_tasks_entries_have_the_documented_fields(
    client: TestClient, manager: TaskManager
) -> None:
    manager.task(retries=1)(fail)
    record = manager.run(fail, "x")
    manager.run(task_log, "hello", level="WARNING", number=1)

    separator = client.get(f"/tasks/{record.task_id}/logs").json()
    entry = client.get(f"/tasks/{client.get('/tasks').json()[0]['task_id']}/logs").json()[0]

    assert [(line["seq"], line["message"]) for line in separator] == [(None, "--- Retry 1 ---")]
    assert datetime.fromisoformat(entry.pop("timestamp")).utcoffset() == timedelta(0)
    assert entry == {
        "seq": 1,
        "level": "warning",
        "message": "hello",
        "attempt": 0,
        "extra": {"number": 1},
    }


@pytest.mark.parametrize("path", ["", "/x", "/x/logs", "/metrics", "/stream?task_id=x"])
def test_a_database_that_cannot_be_read_is_503_and_says_so(tmp_path: Path, path: str) -> None:
    database = tmp_path / "tasks.db"
    app = FastAPI()
    TaskAdmin(app, TaskManager(snapshot_db=database))
    with TestClient(app) as client:
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("DROP TABLE taskflow_tasks")

        answer = client.get(f"/tasks{path}")

    assert answer.status_code == 503
    assert "can't be used" in answer.json()["detail"]
    documented = app.openapi()["paths"][f"/tasks{path.partition('?')[0].replace('x', '{task_id}')}"]
    assert "503" in documented["get"]["responses"]
