"""A record has the place of the code that logged it, however that code came to be."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from fastapi_taskflow import InMemoryLogger, TaskManager, bind_task_context, task_log
from fastapi_taskflow.loggers import places

Where = tuple[str, int, str]


class Seen(logging.Handler):
    """Keeps the places of tasks' entries."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[Where] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("fastapi_taskflow.task."):
            self.places.append((record.filename, record.lineno, record.funcName))


@pytest.fixture
def seen() -> Seen:
    handler = Seen()
    logger = logging.getLogger("fastapi_taskflow")
    logger.addHandler(handler)
    logger.setLevel("DEBUG")
    return handler


@pytest.fixture
def manager(seen: Seen) -> TaskManager:
    return TaskManager(loggers=[InMemoryLogger()])


def compiled(filename: str, line: int) -> Callable[[], None]:
    """A function that logs in this file, on this line; else it is the same each time."""
    code = compile("\n" * (line - 2) + "def made():\n    log('x')", filename, "exec")
    names: dict[str, Any] = {"log": task_log}
    exec(code, names)  # as templates and notebooks do
    made: Callable[[], None] = names["made"]
    return made


def test_code_that_is_alike_but_for_its_place_is_told_apart(
    manager: TaskManager, seen: Seen
) -> None:
    expected = [(f"{name}.py", line, "made") for line in (2, 300) for name in "ab"]

    def body() -> None:
        for name, line, _ in expected:
            compiled(name, line)()  # gone again at once, and its id with it

    manager.run(body)

    assert seen.places == expected


def test_a_place_that_was_found_before_is_right_again(manager: TaskManager, seen: Seen) -> None:
    made = [compiled("a.py", line) for line in (2, 7)]

    manager.run(lambda: [each() for each in made * 3])

    assert seen.places == [("a.py", 2, "made"), ("a.py", 7, "made")] * 3


def test_no_more_places_are_remembered_than_a_bound(
    manager: TaskManager, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "MAX_KNOWN", 10)
    made = [compiled("a.py", line) for line in range(2, 52)]

    manager.run(lambda: [each() for each in made * 2])

    assert [line for _, line, _ in seen.places] == list(range(2, 52)) * 2
    assert len(places._known) <= 10  # noqa: SLF001  # what is to be bounded


def test_what_c_code_calls_has_the_place_of_the_function_that_runs(
    manager: TaskManager, seen: Seen
) -> None:
    def body() -> None:
        list(map(task_log, ["a", "b"]))

    manager.run(body)

    line = body.__code__.co_firstlineno + 1
    assert seen.places == [("test_places.py", line, "body")] * 2


def test_a_thread_that_runs_nothing_else_has_the_place_that_calls_it(
    manager: TaskManager, seen: Seen
) -> None:
    def body() -> None:
        thread = threading.Thread(target=bind_task_context(task_log), args=("x",))
        thread.start()
        thread.join()

    manager.run(body)

    assert seen.places[0][0] in ("context.py", "threading.py")


def test_a_print_has_the_place_where_it_is_printed(seen: Seen) -> None:
    manager = TaskManager(log_prints=True)

    def body() -> None:
        print("one")  # it becomes an entry
        print("two")

    manager.run(body)

    first = body.__code__.co_firstlineno + 1
    assert [line for _, line, _ in seen.places] == [first, first + 1]
