"""Whatever a sink does, the task, its status and the other sinks don't notice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time

from fastapi_taskflow import (
    FileLogger,
    InMemoryLogger,
    LogEvent,
    ObserverHandler,
    StdoutLogger,
    TaskManager,
    TaskObserver,
    TaskRecord,
    task_log,
)


class _Outside(BaseException):
    """No Exception, such as what ``pytest.fail()`` raises."""


class _Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


ERRORS = [
    ValueError("no"),
    OSError(5, "Input/output error"),
    asyncio.CancelledError(),
    RecursionError(),
    SystemExit(3),
    StopIteration(),
    _Unprintable(),
    _Outside(),
]

SINKS: dict[str, Callable[[Path], TaskObserver]] = {
    "rotate": lambda folder: FileLogger(folder / "broken.log", log_lifecycle=True),
    "watched": lambda folder: FileLogger(folder / "broken.log", mode="watched", log_lifecycle=True),
    "stdout": lambda _: StdoutLogger(log_lifecycle=True),
    "memory": lambda _: InMemoryLogger(),
    "async": lambda _: TaskObserver(),
}


async def greet() -> str:
    task_log("hello")
    task_log("again", level="error")
    return "greeted"


def greet_in_thread() -> str:
    task_log("hello")
    task_log("again", level="error")
    return "greeted"


def break_emit(handler: logging.Handler, error: BaseException) -> None:
    def emit(record: logging.LogRecord) -> None:
        raise error

    handler.emit = emit  # type: ignore[method-assign]  # a handler of the user's, made short


def break_filter(handler: logging.Handler, error: BaseException) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        raise error

    handler.addFilter(refuse)


def break_format(handler: logging.Handler, error: BaseException) -> None:
    class Broken(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            raise error

    handler.setFormatter(Broken())


BREAKS = [break_emit, break_filter, break_format]
MATRIX = [
    pytest.param(sink, breaks, id=f"{sink}-{breaks.__name__}")
    for sink in SINKS
    for breaks in BREAKS
    if breaks is not break_format or sink not in ("memory", "async")
]


def check_all_is_well(record: TaskRecord, file: Path, *memories: InMemoryLogger) -> None:
    assert (record.status, record.result, record.error) == ("success", "greeted", None)
    assert [line.split(" ", 1)[1] for line in record.logs] == ["hello", "again"]
    for memory in memories:
        assert [event.message for event in memory.log_events] == ["hello", "again"]
        assert [event.status.value for event in memory.lifecycle_events] == ["running", "success"]
    lines = [line.split(" ", 3)[3] for line in file.read_text().splitlines()]
    assert lines == ["-- RUNNING", "hello", "again", "-- SUCCESS"]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("sink", "breaks"), MATRIX)
def test_a_failing_sink_never_stops_the_task_or_the_next_sink(
    tmp_path: Path,
    reports: list[logging.LogRecord],
    sink: str,
    breaks: Callable[[logging.Handler, BaseException], None],
    error: BaseException,
) -> None:
    before, after = InMemoryLogger(), InMemoryLogger()
    file = FileLogger(tmp_path / "tasks.log", log_lifecycle=True)
    broken = SINKS[sink](tmp_path)
    breaks(broken.handler, error)
    manager = TaskManager(loggers=[before, broken, after, file])

    record = manager.run(greet)

    check_all_is_well(record, tmp_path / "tasks.log", before, after)
    stats = manager.observer_stats()
    name = type(broken).__name__ + ("-2" if sink == "memory" else "")
    assert (stats[name].errors, stats[name].delivered) == (4, 0)
    assert type(error).__name__ in str(stats[name].last_error)
    assert [name in report.getMessage() for report in reports] == [True]
    assert sum(entry.errors for entry in stats.values()) == 4


@pytest.mark.parametrize("function", [greet, greet_in_thread])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("breaks", BREAKS)
def test_a_failing_handler_of_the_users_never_stops_the_task_or_the_next_sink(
    tmp_path: Path,
    breaks: Callable[[logging.Handler, BaseException], None],
    error: BaseException,
    function: Callable[[], Any],
) -> None:
    memory = InMemoryLogger()
    path = tmp_path / "tasks.log"
    broken, sound = logging.FileHandler(tmp_path / "broken.log"), InMemoryLogger().handler
    # One that doesn't call handleError(), as many handlers of third parties don't.
    broken.handleError = _reraise  # type: ignore[method-assign]
    breaks(broken, error)
    for handler in (broken, sound):
        logging.getLogger("fastapi_taskflow").addHandler(handler)
    logging.getLogger("fastapi_taskflow").setLevel("INFO")
    manager = TaskManager(loggers=[memory, FileLogger(path, log_lifecycle=True)])

    record = manager.run(function)
    broken.close()

    check_all_is_well(record, path, memory)
    assert [event.message for event in sound.log_events] == ["hello", "again"]
    assert len(sound.lifecycle_events) == 2
    assert manager.observer_stats()["pipeline"].errors == 4


def _reraise(record: logging.LogRecord) -> None:
    raise  # noqa: PLE0704  # the exception that emit is handling


@pytest.mark.parametrize("text", [None, 3, b"bytes"], ids=repr)
def test_a_formatter_that_gives_no_text_harms_nobody(tmp_path: Path, text: object) -> None:
    class Wrong(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return text  # type: ignore[return-value]  # the mistake

    memory = InMemoryLogger()
    wrong = [FileLogger(tmp_path / "x.log", formatter=Wrong()), StdoutLogger(formatter=Wrong())]
    file = FileLogger(tmp_path / "tasks.log", log_lifecycle=True)
    manager = TaskManager(loggers=[*wrong, memory, file])

    record = manager.run(greet)

    check_all_is_well(record, tmp_path / "tasks.log", memory)
    stats = manager.observer_stats()
    assert [stats[name].errors for name in ("FileLogger", "StdoutLogger")] == [2, 2]


def test_reports_are_one_a_minute_and_observer_with_a_count(
    reports: list[logging.LogRecord],
) -> None:
    one, two = InMemoryLogger(), InMemoryLogger()
    for observer in (one, two):
        break_emit(observer.handler, ValueError("no"))

    with freeze_time("2026-01-01 12:00:00", real_asyncio=True) as clock:
        manager = TaskManager(loggers=[one, two])
        for wait in (0, 1, 58, 2):
            clock.tick(wait)
            manager.run(greet)

    texts = [report.getMessage() for report in reports]
    assert [text.split(" ")[1] for text in texts] == ["InMemoryLogger", "InMemoryLogger-2"] * 2
    assert ["1 since" in text for text in texts] == [True, True, False, False]
    assert all("12 since" in text for text in texts[2:])
    assert [report.levelname for report in reports] == ["ERROR"] * 4
    assert all(report.exc_info is not None for report in reports)


def test_a_report_to_a_handler_that_fails_ends_there(tmp_path: Path) -> None:
    memory, broken = InMemoryLogger(), InMemoryLogger()
    break_emit(broken.handler, ValueError("no"))
    handler = logging.Handler()
    break_emit(handler, ValueError("nor this"))
    logging.getLogger("fastapi_taskflow").addHandler(handler)
    file = FileLogger(tmp_path / "tasks.log", log_lifecycle=True)

    record = TaskManager(loggers=[broken, memory, file]).run(greet)

    check_all_is_well(record, tmp_path / "tasks.log", memory)


def test_a_report_that_the_failing_handler_gets_itself_ends_there(tmp_path: Path) -> None:
    memory, handler = InMemoryLogger(), logging.Handler()

    def emit(record: logging.LogRecord) -> None:
        logging.getLogger("fastapi_taskflow.task").error("about my own failure")
        raise ValueError("no")

    handler.emit = emit  # type: ignore[method-assign]  # a handler of the user's, made short
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel("INFO")
    file = FileLogger(tmp_path / "tasks.log", log_lifecycle=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger("fastapi_taskflow.task"), "propagate", False)
        record = TaskManager(loggers=[memory, file], propagate=True).run(greet)

    check_all_is_well(record, tmp_path / "tasks.log", memory)


class Chatty(logging.Formatter):
    """Logs an entry of its own for each line."""

    def format(self, record: logging.LogRecord) -> str:
        task_log(f"formatted {record.getMessage()}")
        return super().format(record)


def test_a_sink_that_logs_is_not_fed_its_own_output_and_the_others_keep_the_order(
    tmp_path: Path,
) -> None:
    before, after = InMemoryLogger(), InMemoryLogger()
    chatty = FileLogger(tmp_path / "chatty.log", formatter=Chatty())
    told: list[int] = []

    class Telling(TaskObserver):
        async def on_log(self, event: LogEvent) -> None:
            told.append(event.seq)

    TaskManager(loggers=[before, chatty, after, Telling()]).run(greet)

    assert (tmp_path / "chatty.log").read_text() == "hello\nagain\n"
    texts = ["hello", "formatted hello", "again", "formatted again"]
    for memory in (before, after):
        assert [event.message for event in memory.log_events] == texts
        assert [event.seq for event in memory.log_events] == [1, 2, 3, 4]
    assert told == [1, 2, 3, 4]


def test_the_pipeline_keeps_the_order_too_where_a_sink_logs(tmp_path: Path) -> None:
    pipeline = InMemoryLogger().handler
    logging.getLogger("fastapi_taskflow").addHandler(pipeline)
    logging.getLogger("fastapi_taskflow").setLevel("INFO")

    TaskManager(loggers=[FileLogger(tmp_path / "x.log", formatter=Chatty())]).run(greet)

    assert [event.seq for event in pipeline.log_events] == [1, 2, 3, 4]


def test_a_handler_that_is_an_observers_and_the_pipelines_gets_a_record_once() -> None:
    observer, memory = TaskObserver(), InMemoryLogger()
    handler = ObserverHandler(observer)
    for either in (memory.handler, handler):
        logging.getLogger("fastapi_taskflow").addHandler(either)
    logging.getLogger("fastapi_taskflow").setLevel("INFO")
    manager = TaskManager(loggers=[memory, handler])

    manager.run(greet)

    assert [event.message for event in memory.log_events] == ["hello", "again"]
    assert manager.observer_stats()["TaskObserver"].high_water <= 4
