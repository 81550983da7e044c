"""Retries: which errors are tried again, and what is told of it where."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from fastapi_taskflow import InMemoryLogger, TaskManager, TaskStatus, get_task_context, task_log
from fastapi_taskflow.store import Query

DIAGNOSTICS = "fastapi_taskflow.execution"


class Flaky:
    """A body that raises the errors it is given, one a call, and then returns."""

    __name__ = "flaky"

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        task_log(f"call {self.calls}")
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.mark.parametrize(
    ("retry_on", "error", "calls"),
    [
        (Exception, ValueError(), 2),
        (ValueError, ValueError(), 2),
        (LookupError, KeyError("k"), 2),
        ((OSError, ValueError), ValueError(), 2),
        (OSError, ValueError(), 1),
        ((), ValueError(), 1),
        (Exception, SystemExit(1), 1),
        (BaseException, SystemExit(1), 2),
        (SystemExit, SystemExit(1), 2),
        (Exception, asyncio.CancelledError(), 1),
        (asyncio.CancelledError, asyncio.CancelledError(), 2),
        (StopIteration, StopIteration(), 2),
        (ExceptionGroup, ExceptionGroup("two", [ValueError()]), 2),
    ],
    ids=str,
)
def test_an_error_of_retry_on_is_tried_again_and_no_other(
    manager: TaskManager, retry_on: Any, error: BaseException, calls: int
) -> None:
    body = Flaky(error)
    manager.task(retries=3, retry_on=retry_on)(body)

    record = manager.run(body)

    assert body.calls == calls
    assert record.status is (TaskStatus.SUCCESS if calls == 2 else TaskStatus.FAILED)


def test_a_retry_that_succeeds_leaves_no_error_behind(
    manager: TaskManager, statuses: Callable[[], list[str]]
) -> None:
    body = Flaky(ValueError("one"), ValueError("two"))
    manager.task(retries=2)(body)

    record = manager.run(body)

    assert (record.status, record.result) == (TaskStatus.SUCCESS, "done")
    assert (record.error, record.stacktrace) == (None, None)
    assert (record.attempt, record.retries_used) == (2, 2)
    assert statuses() == ["running", "success"]


def test_a_failure_tells_of_the_last_attempts_error(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    body = Flaky(ValueError("first"), OSError("last"))
    manager.task(retries=1)(body)

    record = manager.run(body)

    event = memory.lifecycle_events[-1]
    assert (event.status, event.error) == (TaskStatus.FAILED, "last")
    assert event.stacktrace is not None
    assert event.stacktrace.endswith("OSError: last\n")
    assert "in __call__" in event.stacktrace
    assert (record.error, record.stacktrace) == ("last", event.stacktrace)
    assert event.duration == record.duration


def test_events_of_all_attempts_are_in_one_order(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    body = Flaky(ValueError(), ValueError())
    manager.task(retries=2)(body)

    manager.run(body)

    assert [(event.seq, event.attempt) for event in memory.log_events] == [(1, 0), (2, 1), (3, 2)]
    running, success = memory.lifecycle_events
    assert (running.seq, running.attempt, running.retries_used) == (0, 0, 0)
    assert (success.seq, success.attempt, success.retries_used) == (4, 2, 2)


def test_a_separator_stands_between_the_attempts_lines_and_is_no_event(
    manager: TaskManager,
) -> None:
    body = Flaky(ValueError(), ValueError())
    manager.task(retries=2)(body)

    record = manager.run(body)

    assert [line.rpartition("Z ")[2] for line in record.logs] == [
        "call 0",
        "--- Retry 1 ---",
        "call 1",
        "--- Retry 2 ---",
        "call 2",
    ]
    entries = manager.store.entries(record.task_id)
    assert entries is not None
    assert [entry.seq for entry in entries] == [1, None, 2, None, 3]


def test_each_failed_attempt_is_a_warning_with_its_own_traceback(
    manager: TaskManager, caplog: pytest.LogCaptureFixture
) -> None:
    body = Flaky(ValueError("one"), ValueError("two"))
    manager.task(retries=2)(body)

    record = manager.run(body)

    warnings = [entry for entry in caplog.records if entry.name == DIAGNOSTICS]
    assert [entry.levelno for entry in warnings] == [logging.WARNING] * 2
    for entry, error in zip(warnings, ("one", "two"), strict=True):
        assert record.task_id in entry.getMessage()
        assert "flaky" in entry.getMessage()
        assert entry.exc_info is not None
        assert str(entry.exc_info[1]) == error
        assert f"ValueError: {error}" in logging.Formatter().format(entry)


def test_the_context_knows_the_attempt(manager: TaskManager) -> None:
    seen: list[int] = []

    @manager.task(retries=2)
    async def body() -> None:
        context = get_task_context()
        assert context is not None
        seen.append(context.attempt)
        raise ValueError

    manager.run(body)

    assert seen == [0, 1, 2]


def test_an_error_that_cant_be_printed_fails_its_task_all_the_same(
    manager: TaskManager, statuses: Callable[[], list[str]]
) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    body = Flaky(Unprintable(), Unprintable())
    manager.task(retries=1)(body)

    record = manager.run(body)

    assert (record.status, record.error, body.calls) == (TaskStatus.FAILED, "Unprintable", 2)
    assert statuses() == ["running", "failed"]


def test_while_a_task_waits_for_its_retry_it_is_running(manager: TaskManager) -> None:
    failed = threading.Event()

    @manager.task(retries=1, delay=60)
    async def body() -> None:
        failed.set()
        raise ValueError

    async def main() -> TaskStatus:
        call = asyncio.create_task(manager.execute(body))
        await asyncio.to_thread(failed.wait, 30)
        (record,) = manager.store.query(Query())
        call.cancel()
        return record.status

    assert asyncio.run(main()) is TaskStatus.RUNNING


def test_a_body_that_turns_its_interruption_into_an_error_is_not_tried_again(
    memory: InMemoryLogger, statuses: Callable[[], list[str]]
) -> None:
    manager = TaskManager(loggers=[memory], shutdown_timeout=0)
    calls: list[int] = []

    async def main() -> None:
        started = asyncio.Event()

        @manager.task(retries=3)
        async def body() -> None:
            calls.append(1)
            started.set()
            if len(calls) > 1:
                return
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ConnectionError("closed under me") from None

        async with manager:
            call = asyncio.create_task(manager.execute(body))
            await started.wait()
        await call

    asyncio.run(main())

    assert len(calls) == 1
    assert statuses() == ["running", "interrupted"]


def test_a_body_that_makes_an_error_of_its_interruption_is_not_tried_again() -> None:
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[memory])
    attempts: list[int] = []
    running = asyncio.Event()

    @manager.task(retries=3)
    async def body() -> None:
        attempts.append(1)
        running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError("gone") from None

    async def main() -> None:
        task = asyncio.ensure_future(manager.execute(body))
        await running.wait()
        task.cancel()

    asyncio.run(main())  # its end cancels what is left on the loop

    assert len(attempts) == 1
    assert [event.status.value for event in memory.lifecycle_events] == ["running", "interrupted"]
