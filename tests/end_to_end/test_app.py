"""A whole app, from request to observers: injection, order, life cycle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Response
from fastapi.testclient import TestClient

from fastapi_taskflow import (
    InMemoryLogger,
    LifecycleEvent,
    LogEvent,
    ManagedBackgroundTasks,
    TaskAdmin,
    TaskManager,
    TaskObserver,
    task_log,
)


class Diary(TaskObserver):
    """Writes down everything an observer is told, in order."""

    def __init__(self) -> None:
        self.pages: list[str] = []

    async def startup(self) -> None:
        self.pages.append("startup")

    async def on_log(self, event: LogEvent) -> None:
        self.pages.append(event.message)

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        self.pages.append(event.status.value)

    async def close(self) -> None:
        self.pages.append("close")


def greet(name: str) -> None:
    task_log(f"hello {name}")


def fail() -> None:
    raise ValueError("no")


def sync_with_its_own_loop() -> None:
    async def inner() -> None:
        task_log("inside asyncio.run")

    asyncio.run(inner())


@pytest.mark.parametrize("with_lifespan", [True, False], ids=["own lifespan", "no lifespan"])
@pytest.mark.parametrize("declared", ["before", "after"])
@pytest.mark.parametrize("mount", [TaskAdmin, lambda app, manager: manager.init_app(app)])
def test_the_manager_starts_and_stops_inside_the_app(
    with_lifespan: bool,  # a case
    declared: str,
    mount: Callable[[FastAPI, TaskManager], object],
) -> None:
    diary = Diary()
    manager = TaskManager(loggers=[diary])

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        diary.pages.append("app up")
        yield {"pool": "open"}
        diary.pages.append("app down")

    app = FastAPI(lifespan=lifespan) if with_lifespan else FastAPI()

    def declare() -> None:
        @app.post("/")
        async def endpoint(
            tasks: ManagedBackgroundTasks = Depends(manager.get_tasks),  # noqa: B008
        ) -> None:
            tasks.add_task(greet, "ada")

    if declared == "before":
        declare()
    mount(app, manager)
    if declared == "after":
        declare()

    for _ in range(2):
        diary.pages.clear()
        with TestClient(app) as client:
            client.post("/").raise_for_status()
        inner = ["startup", "running", "hello ada", "success", "close"]
        assert diary.pages == (["app up", *inner, "app down"] if with_lifespan else inner)


def test_without_a_lifespan_a_request_returns_after_its_events_were_delivered() -> None:
    diary = Diary()
    manager = TaskManager(loggers=[diary])
    app = FastAPI()
    TaskAdmin(app, manager, auto_install=True)

    @app.post("/")
    def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(greet, "ada")

    client = TestClient(app)
    client.post("/")
    client.post("/")  # on another event loop

    assert diary.pages == ["startup", *["running", "hello ada", "success"] * 2]


def test_tasks_run_in_order_and_a_failing_one_stops_nothing() -> None:
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[memory])
    ran: list[str] = []
    app = FastAPI()
    TaskAdmin(app, manager, auto_install=True)

    @app.post("/")
    async def endpoint(
        plain: BackgroundTasks,
        tasks: ManagedBackgroundTasks = Depends(manager.get_tasks),  # noqa: FAST002, B008
    ) -> None:
        assert isinstance(plain, ManagedBackgroundTasks)
        plain.add_task(ran.append, "first")
        tasks.add_task(fail)
        plain.add_task(ran.append, "third")
        tasks.add_task(sync_with_its_own_loop)

    with TestClient(app) as client:
        assert client.post("/").status_code == 200

    assert ran == ["first", "third"]
    assert [event.message for event in memory.log_events] == ["inside asyncio.run"]
    finals = [event.status.value for event in memory.lifecycle_events if event.duration is not None]
    assert finals == ["success", "failed", "success", "success"]


def test_auto_install_leaves_other_apps_alone() -> None:
    managed, plain = FastAPI(), FastAPI()
    TaskAdmin(managed, TaskManager(), auto_install=True)
    seen: list[type[object]] = []

    for app in (managed, plain):

        @app.post("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            seen.append(type(tasks))

        TestClient(app).post("/").raise_for_status()

    assert seen == [ManagedBackgroundTasks, BackgroundTasks]


@pytest.mark.parametrize("auto_install", [True, False], ids=["auto_install", "Depends"])
@pytest.mark.parametrize("ending", ["raises", "other background"])
def test_tasks_of_a_request_that_never_runs_them_are_cancelled_and_say_so(
    auto_install: bool,  # a case
    ending: str,
) -> None:
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[memory])
    app = FastAPI()
    TaskAdmin(app, manager, auto_install=auto_install)
    annotation: Any = (
        BackgroundTasks
        if auto_install
        else Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]
    )

    async def endpoint(tasks: annotation) -> Response:
        tasks.add_task(greet, "nobody")
        if ending == "raises":
            raise HTTPException(409)
        return Response(background=BackgroundTasks())

    endpoint.__annotations__["tasks"] = annotation
    app.post("/", response_model=None)(endpoint)

    with TestClient(app) as client:
        client.post("/")
        tasks = client.get("/tasks").json()

    assert [task["status"] for task in tasks] == ["cancelled"]
    assert "the request ended" in tasks[0]["error"]
    assert [event.status.value for event in memory.lifecycle_events] == ["cancelled"]
