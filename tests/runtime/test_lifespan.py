"""The life cycle: start and stop with an app, in order, and what happens to running tasks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.testclient import TestClient

from fastapi_taskflow import (
    FileLogger,
    LogFileError,
    ShuttingDownError,
    StoreError,
    TaskAdmin,
    TaskManager,
    task_log,
)

Mount = Callable[[FastAPI, TaskManager], object]
MOUNTS: dict[str, Mount] = {
    "TaskAdmin": TaskAdmin,
    "init_app": lambda app, manager: manager.init_app(app),
}


@pytest.fixture(params=list(MOUNTS.values()), ids=list(MOUNTS))
def mount(request: pytest.FixtureRequest) -> Mount:
    chosen: Mount = request.param
    return chosen


def test_the_state_of_the_apps_own_lifespan_reaches_its_requests(mount: Mount) -> None:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        yield {"pool": "open"}

    app = FastAPI(lifespan=lifespan)
    mount(app, TaskManager())

    @app.get("/pool")
    async def pool(request: Request) -> str:
        return str(request.state.pool)

    with TestClient(app) as client:
        assert client.get("/pool").json() == "open"


def test_a_routers_lifespan_runs_too_wherever_it_is_included(mount: Mount, diary: Any) -> None:
    def router(name: str) -> APIRouter:
        @asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[None]:
            diary.pages.append(f"{name} up")
            yield
            diary.pages.append(f"{name} down")

        return APIRouter(lifespan=lifespan)

    app = FastAPI()
    app.include_router(router("before"))
    mount(app, TaskManager(loggers=[diary]))
    app.include_router(router("after"))

    with TestClient(app):
        up = sorted(diary.pages)

    assert up == ["after up", "before up", "startup"]
    assert sorted(diary.pages[3:]) == ["after down", "before down", "close"]


def test_tasks_may_use_what_the_app_opened_until_they_end(mount: Mount) -> None:
    pool: dict[str, bool] = {}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pool["open"] = True
        yield
        pool["open"] = False

    app = FastAPI(lifespan=lifespan)
    manager = TaskManager()
    mount(app, manager)
    seen: list[bool] = []

    async def nothing() -> None: ...

    async def body() -> None:
        with contextlib.suppress(ShuttingDownError):
            while True:
                await manager.execute(nothing)
        seen.append(pool["open"])

    @app.post("/")
    async def endpoint() -> None:
        app.state.running = asyncio.create_task(manager.execute(body))

    with TestClient(app) as client:
        client.post("/")

    assert seen == [True]


def test_of_nested_users_only_the_outermost_starts_and_stops(diary: Any) -> None:
    manager = TaskManager(loggers=[diary])
    first, second = FastAPI(), FastAPI()
    TaskAdmin(first, manager)
    manager.init_app(second)

    with TestClient(first):
        with TestClient(second):
            manager.run(task_log, "inside")
        manager.run(task_log, "outside")

    inside = ["running", "inside", "success"]
    assert diary.pages == ["startup", *inside, "running", "outside", "success", "close"]


def test_a_shutdown_too_many_does_nothing(diary: Any) -> None:
    manager = TaskManager(loggers=[diary])

    async def main() -> None:
        await manager.shutdown()
        await manager.startup()
        await manager.shutdown()
        await manager.shutdown()

    asyncio.run(main())

    assert diary.pages == ["startup", "close"]


def test_a_task_before_the_start_is_told_after_the_observers_one_startup(diary: Any) -> None:
    manager = TaskManager(loggers=[diary])

    async def main() -> None:
        await manager.execute(task_log, "early")
        async with manager:
            await manager.execute(task_log, "late")

    asyncio.run(main())

    assert diary.pages == [
        *["startup", "running", "early", "success"],
        *["running", "late", "success", "close"],
    ]


def test_events_still_queued_at_shutdown_come_before_close(diary: Any) -> None:
    manager = TaskManager(loggers=[diary])

    def body() -> None:
        for number in range(500):
            task_log(str(number))

    async def main() -> None:
        async with manager:
            running = asyncio.create_task(manager.execute(body))
            await asyncio.sleep(0)
        await running

    asyncio.run(main())

    assert diary.pages[:2] == ["startup", "running"]
    assert diary.pages[2:502] == [str(number) for number in range(500)]
    assert diary.pages[502:] == ["success", "close"]


@pytest.mark.parametrize("wrong", ["log_file", "snapshot_db"])
def test_a_path_that_cant_be_written_fails_the_apps_startup_by_name(
    mount: Mount, tmp_path: Path, wrong: str
) -> None:
    closed: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            closed.append("app")

    (tmp_path / "file").touch()
    path = tmp_path / "file" / "below"
    options: dict[str, Any] = {wrong: path}
    app = FastAPI(lifespan=lifespan)
    mount(app, TaskManager(**options))

    with pytest.raises((LogFileError, StoreError)) as caught, TestClient(app):
        pass

    assert f"{path}' can't be" in str(caught.value)
    assert closed == ["app"]


def test_a_start_that_failed_may_be_tried_again(tmp_path: Path) -> None:
    blocked = tmp_path / "logs"
    blocked.touch()
    manager = TaskManager(
        loggers=[FileLogger(tmp_path / "good.log"), FileLogger(blocked / "tasks.log")]
    )

    async def main() -> None:
        with pytest.raises(LogFileError):
            await manager.startup()
        blocked.unlink()
        async with manager:
            await manager.execute(task_log, "hello")

    asyncio.run(main())

    for path in (tmp_path / "good.log", blocked / "tasks.log"):
        assert path.read_text().endswith("hello\n")
