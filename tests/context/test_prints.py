"""``print()`` in a task, made entries."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import pprint
import sys
import threading
from typing import Any

import pytest

from fastapi_taskflow import (
    ConfigurationError,
    InMemoryLogger,
    StdoutLogger,
    TaskManager,
    bind_task_context,
)


@pytest.fixture
def memory() -> InMemoryLogger:
    return InMemoryLogger()


@pytest.fixture
def manager(memory: InMemoryLogger) -> TaskManager:
    return TaskManager(loggers=[memory], log_prints=True)


def messages(memory: InMemoryLogger) -> list[str]:
    return [event.message for event in memory.log_events]


def test_each_printed_line_is_an_entry_and_no_output(
    manager: TaskManager, memory: InMemoryLogger, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        print("one", 2, sep="-")
        print("  three\n\n\t\nfour")
        print()
        print("fi", end="")
        print("ve")
        print("to stderr", file=sys.stderr)
        pprint.pprint({"six": 6})
        print("seven, never ended", end="")

    manager.run(body)

    shown = capsys.readouterr()
    assert messages(memory) == [
        "one-2",
        "  three",
        "four",
        "five",
        "{'six': 6}",
        "seven, never ended",
    ]
    assert {event.level for event in memory.log_events} == {"info"}
    assert (shown.out, shown.err) == ("", "to stderr\n")


def test_an_entry_has_the_place_of_the_print(memory: InMemoryLogger) -> None:
    records: list[logging.LogRecord] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logging.getLogger("fastapi_taskflow.task").addHandler(Keeper())
    logging.getLogger("fastapi_taskflow").setLevel("INFO")

    def body() -> None:
        print("here")

    TaskManager(log_prints=True).run(body)

    (record,) = records
    assert (record.filename, record.funcName) == ("test_prints.py", "body")
    assert record.lineno == body.__code__.co_firstlineno + 1


def test_async_bodies_and_their_children_print_entries_too(
    manager: TaskManager, memory: InMemoryLogger, capsys: pytest.CaptureFixture[str]
) -> None:
    async def child(name: str) -> None:
        await asyncio.sleep(0)
        print(name)

    async def body() -> None:
        await asyncio.gather(child("a"), asyncio.to_thread(print, "b"))
        thread = threading.Thread(target=bind_task_context(print), args=("c",))
        thread.start()
        thread.join()

    manager.run(body)

    assert sorted(messages(memory)) == ["a", "b", "c"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("of_manager", "of_function", "logged"),
    [(False, True, True), (True, False, False), (False, None, False), (True, None, True)],
)
def test_a_functions_option_comes_before_the_managers(
    of_manager: bool,
    of_function: bool | None,
    logged: bool,
    memory: InMemoryLogger,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manager = TaskManager(loggers=[memory], log_prints=of_manager)

    @manager.task(log_prints=of_function)
    def body() -> None:
        print("hello")

    manager.run(body)

    assert messages(memory) == (["hello"] if logged else [])
    assert capsys.readouterr().out == ("" if logged else "hello\n")


def test_others_print_as_ever_while_a_task_runs(
    manager: TaskManager, memory: InMemoryLogger, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        thread = threading.Thread(target=print, args=("no task",))
        thread.start()
        thread.join()
        TaskManager().run(lambda: print("a quiet manager's"))

    manager.run(body)
    print("after")

    assert messages(memory) == []
    assert capsys.readouterr().out == "no task\na quiet manager's\nafter\n"


def test_standard_output_is_as_before_once_no_task_runs(manager: TaskManager) -> None:
    before = sys.stdout
    during: list[Any] = []

    manager.run(lambda: during.append(sys.stdout))

    assert sys.stdout is before
    assert during[0].encoding == before.encoding


def test_a_task_may_redirect_its_output(manager: TaskManager, memory: InMemoryLogger) -> None:
    output = io.StringIO()

    def body() -> None:
        with contextlib.redirect_stdout(output):
            print("redirected")
        print("logged")

    manager.run(body)

    assert output.getvalue() == "redirected\n"
    assert messages(memory) == ["logged"]


def test_handlers_that_write_to_standard_output_still_do(
    memory: InMemoryLogger, capsys: pytest.CaptureFixture[str]
) -> None:
    manager = TaskManager(loggers=[memory, StdoutLogger()], log_prints=True)

    def body() -> None:
        handler = logging.StreamHandler(sys.stdout)
        logging.getLogger("shop").addHandler(handler)
        logging.getLogger("shop").error("sold out")
        print("done")

    manager.run(body)

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "sold out"
    assert lines[1].endswith(" done")
    assert len(lines) == 2
    assert messages(memory) == ["done"]


def test_a_line_without_end_becomes_an_entry_before_it_fills_the_memory(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    def body() -> None:
        for _ in range(100):
            print("x" * 1000, end="")

    manager.run(body)

    assert sum(map(len, messages(memory))) == 100_000
    assert len(messages(memory)) == 2


@pytest.mark.parametrize("make", [TaskManager, TaskManager().task], ids=["manager", "task"])
def test_what_is_neither_true_nor_false_is_refused(make: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"log_prints='yes'.*True, False"):
        make(log_prints="yes")


def test_what_a_handler_prints_in_its_own_thread_is_no_line_of_the_task(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Printing(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            print("handled", record.getMessage())
            return True

    memory = InMemoryLogger()
    manager = TaskManager(loggers=[memory, Printing()], log_prints=True)

    manager.run(lambda: print("hello"))

    assert messages(memory) == ["hello"]
    assert capsys.readouterr().out.count("handled") == 3
