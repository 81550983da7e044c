"""Enqueueing from endpoints: injection, order, what is refused, and whose tasks they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from fastapi_taskflow import (
    InMemoryLogger,
    ManagedBackgroundTasks,
    ShuttingDownError,
    TaskAdmin,
    TaskArgumentError,
    TaskManager,
    TaskStatus,
    task_log,
)
from fastapi_taskflow.store import Query

Statuses = Callable[[], list[str]]
INJECTIONS = ["Depends", "auto_install"]


@pytest.fixture(params=INJECTIONS)
def injection(request: pytest.FixtureRequest, manager: TaskManager) -> Any:
    """The annotation of a parameter that is given managed background tasks."""
    if request.param == "auto_install":
        return BackgroundTasks
    return Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]


@pytest.fixture
def app(manager: TaskManager) -> FastAPI:
    app = FastAPI()
    TaskAdmin(app, manager, auto_install=True)
    return app


def _post(app: FastAPI, annotation: Any, use: Callable[[Any], Any], *, sync: bool = False) -> Any:
    """Serve one request whose endpoint makes some use of its tasks; what it gives back."""
    answers: list[Any] = []

    def sync_endpoint(tasks: Any) -> None:
        answers.append(use(tasks))

    async def async_endpoint(tasks: Any) -> None:
        answers.append(use(tasks))

    endpoint = sync_endpoint if sync else async_endpoint
    endpoint.__annotations__["tasks"] = annotation
    app.post("/use")(endpoint)
    with TestClient(app) as client:
        client.post("/use").raise_for_status()
    return answers[0]


def greet(name: str) -> str:
    task_log(f"hello {name}")
    return name


@pytest.mark.parametrize("sync", [True, False], ids=["def", "async def"])
def test_a_task_is_enqueued_and_run(
    app: FastAPI, manager: TaskManager, injection: Any, sync: bool
) -> None:
    task_id = _post(app, injection, lambda tasks: tasks.add_task(greet, name="ada"), sync=sync)

    record = manager.get_task(task_id)
    assert (record.status, record.result, record.kwargs) == (
        TaskStatus.SUCCESS,
        "ada",
        {"name": "ada"},
    )


def test_tasks_run_after_the_response_and_in_the_order_of_their_addition(
    app: FastAPI, injection: Any
) -> None:
    order: list[str] = []

    async def stream() -> AsyncIterator[bytes]:
        order.append("streamed")
        yield b"x"

    async def endpoint(tasks: Any) -> StreamingResponse:
        for name in ("one", "two", "three"):
            tasks.add_task(order.append, name)
        order.append("answered")
        return StreamingResponse(stream())

    endpoint.__annotations__["tasks"] = injection
    app.get("/stream", response_model=None)(endpoint)

    with TestClient(app) as client:
        client.get("/stream")

    assert order == ["answered", "streamed", "one", "two", "three"]


def test_a_task_is_pending_until_the_response_is_out(
    app: FastAPI, manager: TaskManager, injection: Any, statuses: Statuses
) -> None:
    def use(tasks: Any) -> tuple[TaskStatus, list[str]]:
        return manager.get_task(tasks.add_task(greet, "ada")).status, statuses()

    assert _post(app, injection, use) == (TaskStatus.PENDING, [])
    assert statuses() == ["running", "success"]


def test_a_task_may_enqueue_the_next_one_of_its_request(
    app: FastAPI, injection: Any, memory: InMemoryLogger
) -> None:
    _post(app, injection, lambda tasks: tasks.add_task(tasks.add_task, greet, "ada"))

    assert [event.message for event in memory.log_events] == ["hello ada"]


def test_a_dependency_and_its_endpoint_share_one_order(app: FastAPI, injection: Any) -> None:
    order: list[str] = []

    def dependency(tasks: Any) -> None:
        tasks.add_task(order.append, "dependency")

    async def endpoint(tasks: Any, _: Annotated[None, Depends(dependency)]) -> None:
        tasks.add_task(order.append, "endpoint")

    dependency.__annotations__["tasks"] = injection
    endpoint.__annotations__.update(tasks=injection, _=Annotated[None, Depends(dependency)])
    app.post("/both")(endpoint)

    with TestClient(app) as client:
        client.post("/both").raise_for_status()

    assert order == ["dependency", "endpoint"]


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (lambda tasks: tasks.add_task(None), "can't enqueue None"),
        (lambda tasks: tasks.add_task(greet("ada")), "can't enqueue 'ada'"),
        (lambda tasks: tasks.add_task(greet, nome="a"), "can't enqueue greet"),
        (lambda tasks: tasks.add_task(greet, "a", tags=[("a", "b")]), "is no dict[str, str]"),
        (lambda tasks: tasks.add_task(greet, "a", tags={1: "b"}), "is no dict[str, str]"),
        (lambda tasks: tasks.add_task(greet, "a", tags={"a": None}), "is no dict[str, str]"),
        (lambda tasks: tasks.add_task(greet, "a", tags="a:b"), "is no dict[str, str]"),
        (lambda tasks: tasks.add_task(greet, "a", idempotency_key=[1]), "idempotency_key=[1]"),
        (lambda tasks: tasks.add_task(greet, "a", idempotency_key=""), "idempotency_key=''"),
    ],
    ids=[
        "None",
        "called",
        "keyword",
        "pairs",
        "key",
        "value",
        "tags",
        "idempotency key",
        "empty idempotency key",
    ],
)
def test_what_cant_be_enqueued_is_an_error_at_once(
    app: FastAPI, manager: TaskManager, injection: Any, use: Callable[[Any], Any], says: str
) -> None:
    def refused(tasks: Any) -> str:
        with pytest.raises(TaskArgumentError) as caught:
            use(tasks)
        return str(caught.value)

    assert says in _post(app, injection, refused)
    assert sum(manager.store.totals().by_status.values()) == 0


def test_a_reused_idempotency_key_gives_the_first_tasks_id_and_runs_nothing(
    app: FastAPI, injection: Any, memory: InMemoryLogger
) -> None:
    def use(tasks: Any) -> list[str]:
        keys = ("k", "k", "other", None, None)
        return [tasks.add_task(greet, str(key), idempotency_key=key) for key in keys]

    first, again, *others = _post(app, injection, use)

    assert first == again
    assert len({first, *others}) == 4
    assert len(memory.log_events) == 4


@pytest.mark.parametrize("raised", [asyncio.CancelledError, SystemExit])
def test_tasks_of_a_request_that_is_cut_short_are_cancelled_with_a_reason(
    app: FastAPI, manager: TaskManager, injection: Any, statuses: Statuses, raised: Any
) -> None:
    async def endpoint(tasks: Any) -> None:
        tasks.add_task(greet, "nobody")
        tasks.add_task(greet, "nobody")
        raise raised

    endpoint.__annotations__["tasks"] = injection
    app.post("/raise")(endpoint)
    scope = {"type": "http", "method": "POST", "path": "/raise", "headers": [], "query_string": b""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None: ...

    async def main() -> BaseException | None:
        try:
            await app(scope, receive, send)
        except BaseException as error:  # noqa: BLE001  # it is what is looked at
            return error
        return None

    error = asyncio.run(main())

    assert isinstance(error, raised)
    assert statuses() == ["cancelled", "cancelled"]
    left = manager.store.query(Query(status=TaskStatus.CANCELLED))
    assert [str(record.error).split(" without ")[0] for record in left] == ["the request ended"] * 2


def test_a_plain_list_of_tasks_stays_plain_where_nothing_is_installed(
    manager: TaskManager, statuses: Statuses
) -> None:
    app, ran = FastAPI(), list[str]()
    TaskAdmin(app, manager)

    def use(tasks: BackgroundTasks) -> object:
        return tasks.add_task(ran.append, "x")  # type: ignore[func-returns-value]  # None it is

    assert _post(app, BackgroundTasks, use) is None
    assert (ran, statuses()) == (["x"], [])


def _adder(name: str) -> Callable[[Any], Any]:
    return lambda tasks: tasks.add_task(greet, name)


def test_two_apps_with_a_manager_each_keep_their_tasks_apart() -> None:
    memories = [InMemoryLogger(), InMemoryLogger()]
    apps = [FastAPI(), FastAPI()]
    for app, memory in zip(apps, memories, strict=True):
        TaskAdmin(app, TaskManager(loggers=[memory]), auto_install=True)

    for number, app in enumerate(apps):
        _post(app, BackgroundTasks, _adder(str(number)))

    seen = [[event.message for event in memory.log_events] for memory in memories]
    assert seen == [["hello 0"], ["hello 1"]]


def test_two_managers_in_one_endpoint_keep_their_tasks_apart(
    app: FastAPI, memory: InMemoryLogger
) -> None:
    other_memory = InMemoryLogger()
    other = TaskManager(loggers=[other_memory])
    other.init_app(app)

    async def endpoint(mine: BackgroundTasks, others: Any) -> None:
        mine.add_task(greet, "mine")
        others.add_task(greet, "theirs")

    injected = Annotated[ManagedBackgroundTasks, Depends(other.get_tasks)]
    endpoint.__annotations__["others"] = injected
    app.post("/two")(endpoint)

    with TestClient(app) as client:
        client.post("/two").raise_for_status()

    assert [event.message for event in memory.log_events] == ["hello mine"]
    assert [event.message for event in other_memory.log_events] == ["hello theirs"]


def test_while_it_shuts_down_a_manager_takes_no_tasks(manager: TaskManager) -> None:
    refused: list[str] = []

    async def last(started: asyncio.Event) -> None:
        started.set()
        while not refused:
            try:
                await manager.execute(greet, "ada")
            except ShuttingDownError as error:
                refused.append(str(error))

    async def main() -> None:
        async with manager:
            started = asyncio.Event()
            running = asyncio.create_task(manager.execute(last, started))
            await started.wait()
        await running

    asyncio.run(main())

    assert len(refused) == 1
    assert refused[0].startswith("can't enqueue greet: the task manager is shutting down")
