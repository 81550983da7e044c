"""The task's context in threads of one's own, and on other libraries' records."""

from __future__ import annotations

import asyncio
import functools
import logging
import logging.config
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import pytest

from fastapi_taskflow import (
    ConfigurationError,
    InMemoryLogger,
    TaskManager,
    bind_task_context,
    get_task_context,
    task_log,
)

_colour: ContextVar[str] = ContextVar("colour", default="none")


def test_a_bound_function_logs_for_its_task_from_any_thread() -> None:
    memory = InMemoryLogger()
    barrier = threading.Barrier(3)

    def work(n: int) -> int:
        barrier.wait(10)  # all three calls run at once
        task_log(f"part {n}")
        return n * n

    def body() -> list[int]:
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(bind_task_context(work), range(3)))

    record = TaskManager(loggers=[memory]).run(body)

    assert record.result == [0, 1, 4]
    assert sorted(event.message for event in memory.log_events) == ["part 0", "part 1", "part 2"]
    assert {event.task_id for event in memory.log_events} == {record.task_id}


def test_an_unbound_function_does_not() -> None:
    found: list[object] = []

    def body() -> None:
        thread = threading.Thread(target=lambda: found.append(get_task_context()))
        thread.start()
        thread.join()

    TaskManager().run(body)

    assert found == [None]


def test_all_context_variables_come_along_and_changes_stay_there() -> None:
    _colour.set("red")

    def paint() -> str:
        before = _colour.get()
        _colour.set("blue")
        return before

    bound = bind_task_context(paint)
    _colour.set("green")

    assert [bound(), bound(), _colour.get()] == ["red", "red", "green"]
    assert bound.__name__ == "paint"


def test_a_bound_coroutine_function_runs_in_its_task_on_another_loop() -> None:
    memory = InMemoryLogger()

    async def work(word: str) -> str:
        await asyncio.sleep(0)
        task_log(word)
        return word.upper()

    def body() -> Any:
        bound = bind_task_context(work)
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: asyncio.run(bound("hi"))).result()

    record = TaskManager(loggers=[memory]).run(body)

    assert record.result == "HI"
    assert [event.message for event in memory.log_events] == ["hi"]


def generator() -> Any:
    yield 1


@pytest.mark.parametrize("thing", [5, generator], ids=["no function", "generator"])
def test_what_cannot_be_bound_is_refused(thing: Any) -> None:
    with pytest.raises(ConfigurationError, match="a function or a coroutine function"):
        bind_task_context(thing)


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def test_the_filter_puts_the_task_on_any_record_of_a_handler() -> None:
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"task": {"()": "fastapi_taskflow.TaskContextFilter"}},
            "formatters": {
                "line": {"format": "%(task_id)s %(func_name)s %(attempt)s %(tags)s %(message)s"}
            },
            "handlers": {"lines": {"()": Lines, "filters": ["task"], "formatter": "line"}},
            "root": {"level": "INFO", "handlers": ["lines"]},
        }
    )
    (handler,) = logging.root.handlers

    def body() -> None:
        logging.getLogger("httpx").info("inside")
        task_log("own")

    record = TaskManager().run(body, tags={"kind": "test"})
    logging.getLogger("httpx").info("outside")

    assert isinstance(handler, Lines)
    inside = f"{record.task_id} body 0 {{'kind': 'test'}}"
    assert handler.lines == [
        f"{inside} -- RUNNING",
        f"{inside} inside",
        f"{inside} own",
        f"{inside} -- SUCCESS",
        "- - - - outside",
    ]


class Asynchronous:
    async def __call__(self) -> object:
        return get_task_context()


async def _context() -> object:
    return get_task_context()


@pytest.mark.parametrize(
    "fn",
    [Asynchronous(), lambda *_: _context(), functools.partial(_context)],
    ids=["object", "lambda", "partial"],
)
def test_whatever_gives_a_coroutine_is_bound(fn: Any) -> None:
    seen: list[Any] = []

    def body() -> None:
        bound = bind_task_context(fn)
        thread = threading.Thread(target=lambda: seen.append(asyncio.run(run(bound))))
        thread.start()
        thread.join()

    async def run(bound: Any) -> Any:
        return await bound()

    TaskManager().run(body)

    assert seen[0].func_name == "body"


class Generating:
    def __call__(self) -> Any:
        yield


def test_an_object_that_generates_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a function or a coroutine function"):
        bind_task_context(Generating())
