"""Beside rich: its handler shows a task's lines once each."""

from __future__ import annotations

import logging
from io import StringIO

import pytest
from rich.console import Console
from rich.logging import RichHandler

from fastapi_taskflow import InMemoryLogger, TaskManager, task_log


def rich_to(stream: StringIO) -> RichHandler:
    return RichHandler(console=Console(file=stream, width=120, color_system=None))


def work() -> None:
    task_log("working on it")
    print("printed by hand")


def fail() -> None:
    raise LookupError("nothing there")


@pytest.fixture
def root() -> logging.Logger:
    logging.root.setLevel(logging.INFO)
    return logging.root


def test_on_root_each_line_is_shown_once(root: logging.Logger) -> None:
    shown = StringIO()
    root.addHandler(rich_to(shown))

    TaskManager().run(work)

    text = shown.getvalue()
    assert [text.count(line) for line in ("-- RUNNING", "working on it", "-- SUCCESS")] == [1] * 3
    assert "test_rich.py" in text


def test_as_an_observer_each_line_is_shown_once() -> None:
    shown = StringIO()

    TaskManager(loggers=[rich_to(shown)]).run(work)

    text = shown.getvalue()
    assert [text.count(line) for line in ("-- RUNNING", "working on it", "-- SUCCESS")] == [1] * 3


def test_in_both_places_each_line_is_shown_once(root: logging.Logger) -> None:
    shown = StringIO()
    handler = rich_to(shown)
    root.addHandler(handler)

    TaskManager(loggers=[handler]).run(work)

    assert shown.getvalue().count("working on it") == 1


def test_a_failure_is_shown_with_its_traceback(root: logging.Logger) -> None:
    shown = StringIO()
    root.addHandler(rich_to(shown))

    TaskManager().run(fail)

    text = shown.getvalue()
    assert text.count("-- FAILED") == 1
    assert "LookupError: nothing there" in text


def test_what_it_writes_to_stdout_is_no_print(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    root.addHandler(RichHandler(console=Console(width=120)))  # it looks sys.stdout up
    memory = InMemoryLogger()

    TaskManager(loggers=[memory], log_prints=True).run(work)

    assert [event.message for event in memory.log_events] == ["working on it", "printed by hand"]
    out = capsys.readouterr().out
    assert [out.count(line) for line in ("working on it", "printed by hand")] == [1, 1]


def test_nor_is_what_it_writes_in_the_task_itself(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    root.addHandler(RichHandler(console=Console(width=120)))
    memory = InMemoryLogger()

    def talk() -> None:
        logging.getLogger("shop").warning("stock is low")

    TaskManager(loggers=[memory], log_prints=True).run(talk)

    assert memory.log_events == []
    assert capsys.readouterr().out.count("stock is low") == 1
