"""Beside loguru: task records reach its sinks, and its lines reach a task's log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import loguru
import pytest

from fastapi_taskflow import InMemoryLogger, TaskManager, task_log

Shown = list[tuple[str, str]]


class InterceptHandler(logging.Handler):
    """Hands records on to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        known = record.levelname in logging.getLevelNamesMapping()
        level = record.levelname if known else record.levelno
        fields = {"task_id": getattr(record, "task_id", None)}
        loguru.logger.bind(**fields).opt(exception=record.exc_info).log(level, record.getMessage())


@pytest.fixture
def add_sink() -> Iterator[Callable[..., Any]]:
    """Loguru without its standard sink, and nothing left of it afterwards."""
    loguru.logger.remove()
    yield loguru.logger.add
    loguru.logger.remove()


@pytest.fixture
def shown(add_sink: Callable[..., Any]) -> list[dict[str, Any]]:
    """The records that loguru has shown."""
    records: list[dict[str, Any]] = []
    add_sink(lambda message: records.append(dict(message.record)), level="DEBUG", catch=False)
    return records


def of_ours(shown: list[dict[str, Any]]) -> Shown:
    """Level and message of what tasks said; the event loop talks too."""
    return [
        (record["level"].name, record["message"]) for record in shown if record["extra"]["task_id"]
    ]


def to_logging(message: Any) -> None:
    """A sink of loguru's that hands its lines to ``logging``."""
    record = message.record
    error = record["exception"]
    logging.getLogger(record["name"]).log(
        record["level"].no,
        "%s",
        record["message"],
        exc_info=(error.type, error.value, error.traceback) if error else None,
        extra=record["extra"],
    )


def intercepted(record: Any) -> bool:
    """Whether a line of loguru's came from ``logging``, and must not go back there."""
    return "task_id" in record["extra"]


def sell() -> None:
    task_log("stock is {low}", level="warning")
    task_log("selling")


def fail() -> None:
    raise LookupError("nothing there")


def say() -> None:
    task_log("by us")
    loguru.logger.bind(left=2).warning("by loguru, {} %s", 5)


WAYS = ["on-root", "as-observer", "both"]


@pytest.mark.parametrize("way", WAYS)
def test_task_records_reach_a_sink_of_its(shown: list[dict[str, Any]], way: str) -> None:
    intercept = InterceptHandler(level=logging.INFO)
    if way != "as-observer":
        logging.root.addHandler(intercept)
        logging.root.setLevel(logging.INFO)
    loggers = [intercept] if way != "on-root" else []

    task = TaskManager(loggers=loggers).run(sell)

    assert of_ours(shown) == [
        ("INFO", "-- RUNNING"),
        ("WARNING", "stock is {low}"),
        ("INFO", "selling"),
        ("INFO", "-- SUCCESS"),
    ]
    assert {record["extra"]["task_id"] for record in shown} - {None} == {task.task_id}


def test_a_failure_brings_its_exception(shown: list[dict[str, Any]]) -> None:
    TaskManager(loggers=[InterceptHandler(level=logging.INFO)]).run(fail)

    level, message = of_ours(shown)[-1]
    assert (level, message) == ("ERROR", "-- FAILED")
    assert isinstance(shown[-1]["exception"].value, LookupError)


def test_its_lines_become_entries_once(add_sink: Callable[..., Any]) -> None:
    add_sink(to_logging, level="DEBUG", catch=False)
    memory = InMemoryLogger()

    TaskManager(loggers=[memory], capture_loggers=[__name__]).run(say)

    first, second = memory.log_events
    assert first.message == "by us"
    assert (second.message, second.level) == ("by loguru, 5 %s", "warning")
    assert second.extra["left"] == 2


def test_its_lines_reach_a_task_through_capture_of_root(add_sink: Callable[..., Any]) -> None:
    add_sink(to_logging, level="WARNING", catch=False)
    memory = InMemoryLogger()

    TaskManager(loggers=[memory], capture_loggers=["root"]).run(say)

    assert [event.message for event in memory.log_events] == ["by us", "by loguru, 5 %s"]


@pytest.mark.parametrize("way", ["on-root", "as-observer"])
def test_both_directions_at_once_do_not_loop(add_sink: Callable[..., Any], way: str) -> None:
    shown: list[dict[str, Any]] = []
    add_sink(to_logging, filter=lambda record: not intercepted(record), catch=False)
    add_sink(lambda message: shown.append(dict(message.record)), filter=intercepted, catch=False)
    memory, intercept = InMemoryLogger(), InterceptHandler(level=logging.INFO)
    if way == "on-root":
        logging.root.addHandler(intercept)
        logging.root.setLevel(logging.INFO)
    adopted = [intercept] if way == "as-observer" else []

    TaskManager(loggers=[memory, *adopted], capture_loggers=["root"]).run(say)

    assert [event.message for event in memory.log_events] == ["by us", "by loguru, 5 %s"]
    assert [record["message"] for record in shown].count("by loguru, 5 %s") == 1
    assert [line for line in of_ours(shown) if line[1] != "by loguru, 5 %s"] == [
        ("INFO", "-- RUNNING"),
        ("INFO", "by us"),
        ("INFO", "-- SUCCESS"),
    ]
