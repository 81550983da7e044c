"""A task's attempts: bodies of every kind, retries, timeouts, limits, and one end."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import threading
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastapi_taskflow import (
    ConfigurationError,
    InMemoryLogger,
    TaskArgumentError,
    TaskManager,
    TaskStatus,
    task_log,
)
from fastapi_taskflow.execution.options import TaskOptions
from fastapi_taskflow.execution.retry import retry_delay


@pytest.fixture
def memory() -> InMemoryLogger:
    return InMemoryLogger()


@pytest.fixture
def manager(memory: InMemoryLogger) -> TaskManager:
    return TaskManager(loggers=[memory])


def _statuses(memory: InMemoryLogger) -> list[str]:
    return [event.status.value for event in memory.lifecycle_events]


def add(a: int, b: int = 1) -> int:
    return a + b


async def async_add(a: int, b: int = 1) -> int:
    await asyncio.sleep(0)
    return a + b


def map_async(_: int, a: int) -> Coroutine[Any, Any, int]:
    return async_add(a)


CALLABLES = ["sync", "async", "partial", "async partial", "lambda", "returns awaitable"]
CALLABLES += ["object", "method", "async object"]


class Adder:
    def __call__(self, a: int) -> int:
        return a + 1

    def method(self, a: int) -> int:
        return a + 1


class AsyncAdder:
    async def __call__(self, a: int) -> int:
        return a + 1


@pytest.mark.parametrize(
    "body",
    [
        add,
        async_add,
        functools.partial(add, b=1),
        functools.partial(async_add, b=1),
        lambda a: a + 1,
        functools.partial(map_async, 1),
        Adder(),
        Adder().method,
        AsyncAdder(),
    ],
    ids=CALLABLES,
)
def test_every_callable_can_be_a_task(manager: TaskManager, body: Callable[..., Any]) -> None:
    record = manager.run(body, 1)

    assert (record.status, record.result) == (TaskStatus.SUCCESS, 2)


def test_an_async_function_may_have_a_thread_of_its_own(manager: TaskManager) -> None:
    @manager.task(executor="thread")
    async def body() -> str:
        return threading.current_thread().name

    async def main() -> None:
        assert (await manager.execute(body)).result == "fastapi_taskflow-task"

    asyncio.run(main())


def test_a_sync_body_has_a_copy_of_the_context(manager: TaskManager) -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    def body() -> str:
        before = variable.get()
        variable.set("changed")
        return before

    variable.set("given")
    record = manager.run(body)

    assert (record.result, variable.get()) == ("given", "given")


def _raise(error: BaseException) -> None:
    raise error


async def _raise_async(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("body", [_raise, _raise_async], ids=["sync", "async"])
@pytest.mark.parametrize(
    "error",
    [
        ValueError("boom"),
        StopIteration(),
        SystemExit(3),
        GeneratorExit(),
        asyncio.CancelledError(),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_body_raises_fails_the_task_and_nothing_else(
    manager: TaskManager, memory: InMemoryLogger, body: Callable[..., Any], error: BaseException
) -> None:
    record = manager.run(body, error)
    after = manager.run(add, 1)

    assert (record.status, after.status) == (TaskStatus.FAILED, TaskStatus.SUCCESS)
    assert _statuses(memory)[:2] == ["running", "failed"]
    assert record.error


def test_a_failure_is_told_once_after_the_last_attempt_with_error_and_traceback(
    manager: TaskManager, memory: InMemoryLogger, caplog: pytest.LogCaptureFixture
) -> None:
    @manager.task(retries=2)
    def body() -> None:
        task_log("trying")
        raise ValueError("boom")

    record = manager.run(body)

    running, failed = memory.lifecycle_events
    assert (running.status, failed.status) == (TaskStatus.RUNNING, TaskStatus.FAILED)
    assert (failed.attempt, failed.retries_used, failed.error) == (2, 2, "boom")
    assert failed.stacktrace is not None
    assert failed.stacktrace.startswith("Traceback")
    assert "fastapi_taskflow/" not in failed.stacktrace
    assert [event.attempt for event in memory.log_events] == [0, 1, 2]
    assert [line for line in record.logs if line.startswith("---")] == [
        "--- Retry 1 ---",
        "--- Retry 2 ---",
    ]
    warnings = [r for r in caplog.records if r.name == "fastapi_taskflow.execution"]
    assert [r.levelno for r in warnings] == [logging.WARNING] * 3
    assert all(r.exc_info for r in warnings)


def test_only_errors_of_retry_on_are_tried_again(manager: TaskManager) -> None:
    manager.task(retries=5, retry_on=(OSError,))(_raise)

    assert manager.run(_raise, ValueError("x")).retries_used == 0
    assert manager.run(_raise, ConnectionError("x")).retries_used == 5


@given(
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.none() | st.floats(0, 1e6),
    st.floats(0, 100),
    st.integers(0, 2000),
)
def test_the_wait_before_a_retry_is_the_formulas(
    delay: float, backoff: float, max_delay: float | None, jitter: float, attempt: int
) -> None:
    options = TaskOptions(delay=delay, backoff=backoff, max_delay=max_delay, jitter=jitter)

    wait = retry_delay(options, attempt)

    try:
        exact = delay * backoff**attempt
    except OverflowError:
        exact = float("inf") if delay else 0.0
    lowest = min(exact, 366 * 86_400.0 if max_delay is None else max_delay, 366 * 86_400.0)
    assert lowest <= wait <= lowest + jitter + 1e-6


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_timeout_ends_an_attempt_and_its_late_end_changes_nothing(
    manager: TaskManager, memory: InMemoryLogger, kind: str
) -> None:
    release, ended = threading.Event(), threading.Event()

    @manager.task(timeout=0.05, name="body")
    def sync_body() -> str:
        release.wait(30)
        ended.set()
        return "late"

    @manager.task(timeout=timedelta(milliseconds=50), name="body")
    async def async_body() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        record = await manager.execute(sync_body if kind == "sync" else async_body)
        release.set()
        if kind == "sync":
            await asyncio.to_thread(ended.wait, 30)
            await asyncio.sleep(0)

        assert record.error == "body exceeded its timeout of 0.05 s"
        assert manager.get_task(record.task_id).status is TaskStatus.FAILED

    asyncio.run(main())
    assert _statuses(memory) == ["running", "failed"]


@pytest.mark.parametrize(
    "limits",
    [{"max_concurrent_tasks": 1}, {"max_sync_threads": 1}],
    ids=["tasks", "threads"],
)
def test_a_task_that_waits_for_a_slot_is_pending(limits: dict[str, int]) -> None:
    manager = TaskManager(**limits)  # type: ignore[arg-type]  # names and values of a case
    release, started = threading.Event(), threading.Event()

    def first() -> None:
        started.set()
        release.wait(30)

    async def main() -> None:
        one = asyncio.create_task(manager.execute(first))
        await asyncio.to_thread(started.wait, 30)
        two = asyncio.create_task(manager.execute(add, 1))
        await _until(lambda: sum(manager.store.totals().by_status.values()) == 2)
        counts = manager.store.totals().by_status
        release.set()
        await asyncio.gather(one, two)

        assert (counts[TaskStatus.RUNNING], counts[TaskStatus.PENDING]) == (1, 1)

    asyncio.run(main())
    assert manager.store.totals().by_status[TaskStatus.SUCCESS] == 2


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # the store has no event to wait for
            await asyncio.sleep(0)


def test_a_cancelled_request_does_not_end_its_task(manager: TaskManager) -> None:
    async def main() -> None:
        release, started = asyncio.Event(), asyncio.Event()

        async def body() -> None:
            started.set()
            await release.wait()

        request = asyncio.create_task(manager.execute(body))
        await started.wait()
        request.cancel()
        await asyncio.wait({request})
        release.set()
        await _until(lambda: manager.store.totals().by_status[TaskStatus.SUCCESS] == 1)

    asyncio.run(main())


def test_shutdown_interrupts_what_is_left_running_and_waiting(memory: InMemoryLogger) -> None:
    manager = TaskManager(loggers=[memory], shutdown_timeout=0.0, max_concurrent_tasks=1)
    started = threading.Event()

    async def main() -> None:
        async def stuck() -> None:
            started.set()
            await asyncio.Event().wait()

        async with manager:
            calls: list[Coroutine[Any, Any, Any]] = [manager.execute(stuck), manager.execute(stuck)]
            tasks = [asyncio.create_task(call) for call in calls]
            await asyncio.to_thread(started.wait, 30)
        records = await asyncio.gather(*tasks)

        assert [record.status for record in records] == [TaskStatus.INTERRUPTED] * 2

    asyncio.run(main())
    assert _statuses(memory) == ["running", "interrupted", "interrupted"]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "retries": ({"retries": -1}, "retries=-1"),
    "retries kind": ({"retries": "2"}, "retries='2'"),
    "delay": ({"delay": -0.5}, "delay=-0.5"),
    "backoff": ({"backoff": float("nan")}, "backoff=nan"),
    "jitter": ({"jitter": -1}, "jitter=-1"),
    "max_delay": ({"max_delay": -1}, "max_delay=-1"),
    "timeout": ({"timeout": 0}, "timeout=0"),
    "retry_on": ({"retry_on": "ValueError"}, "retry_on='ValueError'"),
    "executor": ({"executor": "fork"}, "executor='fork' can't be used; expected one of 'async'"),
    "executor for sync": ({"executor": "async"}, "executor='async'"),
    "name": ({"name": " "}, "name=' '"),
}


@pytest.mark.parametrize(("options", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_option_is_an_error_when_the_function_is_registered(
    manager: TaskManager, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        manager.task(**options)(add)

    assert str(caught.value).startswith(says)


@pytest.mark.parametrize(
    ("call", "arguments", "options", "says"),
    [
        ("text", (), {}, "expected a function"),
        (add, (), {}, "missing a required argument: 'a'"),
        (add, (1, 2, 3), {}, "too many positional arguments"),
        (add, (1,), {"tags": {"a": 1}}, "tags={'a': 1} is no dict[str, str]"),
        (add, (1,), {"tags": ["a"]}, "tags=['a'] is no dict[str, str]"),
    ],
    ids=["not callable", "too few", "too many", "tag value", "tags"],
)
def test_a_call_that_cant_be_made_is_an_error_at_once(
    manager: TaskManager, call: Any, arguments: Any, options: Any, says: str
) -> None:
    with pytest.raises(TaskArgumentError) as caught:
        manager.run(call, *arguments, **options)

    assert says in str(caught.value)


def test_an_idempotency_key_runs_once_until_it_fails(manager: TaskManager) -> None:
    first = manager.run(add, 1, idempotency_key="good")
    again = manager.run(add, 5, idempotency_key="good")
    failed = manager.run(_raise, ValueError("x"), idempotency_key="bad")
    retried = manager.run(add, 1, idempotency_key="bad")

    assert again.task_id == first.task_id
    assert retried.task_id != failed.task_id
    assert retried.status is TaskStatus.SUCCESS
