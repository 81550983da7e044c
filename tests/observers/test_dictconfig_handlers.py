"""The handlers and formatters named in a ``dictConfig``, and managers that it happens to."""

from __future__ import annotations

import asyncio
import json
import locale
import logging
import logging.config
import logging.handlers
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastapi_taskflow import (
    FileLogger,
    InMemoryLogger,
    LogEvent,
    StdoutLogger,
    TaskManager,
    TaskObserver,
    task_log,
)
from fastapi_taskflow.handlers import (
    ObserverHandler,
    TaskMemoryHandler,
    TaskRotatingFileHandler,
    TaskStreamHandler,
    TaskWatchedFileHandler,
)

FORMATTERS = {
    "text": {"class": "fastapi_taskflow.formatters.TaskFormatter"},
    "json": {"class": "fastapi_taskflow.formatters.TaskJsonFormatter"},
    "made text": {"()": "fastapi_taskflow.TaskFormatter"},
    "made json": {"()": "fastapi_taskflow.TaskJsonFormatter"},
    "validated": {"class": "fastapi_taskflow.TaskFormatter", "validate": True, "style": "{"},
}


@pytest.fixture(autouse=True)
def closed_afterwards() -> Iterator[None]:
    """The handlers that a configuration has made are the test's to close."""
    yield
    logging.config.dictConfig({"version": 1})


def configure(handler: dict[str, Any], **more: Any) -> logging.Handler:
    """Put one handler on the library's logger."""
    library = {"level": "DEBUG", "handlers": ["ours"], "propagate": False}
    config = {"version": 1, "formatters": FORMATTERS, "handlers": {"ours": handler}}
    logging.config.dictConfig({**config, "loggers": {"fastapi_taskflow": library}, **more})
    return logging.getLogger("fastapi_taskflow").handlers[-1]


async def greet(text: str = "hello") -> None:
    task_log(text, level="debug", amount=3)


def texts(path: Path) -> list[str]:
    return [line.split(" ", 3)[3] for line in path.read_text("utf-8").splitlines()]


ALL = ["-- RUNNING", "hello", "-- SUCCESS"]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        pytest.param("TaskRotatingFileHandler", {}, id="rotating"),
        pytest.param("TaskWatchedFileHandler", {}, id="watched"),
        pytest.param(
            "TaskRotatingFileHandler",
            {
                "mode": "a",
                "maxBytes": 10_000,
                "backupCount": 3,
                "encoding": "utf-8",
                "delay": True,
                "errors": "backslashreplace",
            },
            id="rotating with all arguments",
        ),
        pytest.param(
            "TaskWatchedFileHandler",
            {"mode": "a", "encoding": "utf-8", "delay": True, "errors": "backslashreplace"},
            id="watched with all arguments",
        ),
    ],
)
def test_a_file_handler_writes_our_lines(
    tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    path = tmp_path / "logs" / "tasks.log"
    configure({"class": f"fastapi_taskflow.handlers.{kind}", "filename": str(path), **options})

    TaskManager().run(greet)

    assert texts(path) == ALL


def test_a_rotating_handler_has_the_observers_defaults(tmp_path: Path) -> None:
    kind = "fastapi_taskflow.handlers.TaskRotatingFileHandler"

    handler = configure({"class": kind, "filename": str(tmp_path / "tasks.log")})

    assert isinstance(handler, TaskRotatingFileHandler)
    assert isinstance(handler, logging.handlers.RotatingFileHandler)
    assert (handler.maxBytes, handler.backupCount) == (10_485_760, 5)


def test_a_rotating_handler_rolls_over(tmp_path: Path) -> None:
    path = tmp_path / "tasks.log"
    kind = "fastapi_taskflow.handlers.TaskRotatingFileHandler"
    configure({"class": kind, "filename": str(path), "maxBytes": 1, "backupCount": 1})

    TaskManager().run(greet)

    assert (texts(tmp_path / "tasks.log.1"), texts(path)) == (["hello"], ["-- SUCCESS"])


@pytest.mark.parametrize("stream", [None, "ext://sys.stdout"], ids=repr)
def test_a_stream_handler_writes_our_lines(
    capsys: pytest.CaptureFixture[str], stream: str | None
) -> None:
    options = {} if stream is None else {"stream": stream}
    configure({"class": "fastapi_taskflow.handlers.TaskStreamHandler", **options})

    TaskManager().run(greet)

    assert [line.split(" ", 3)[3] for line in capsys.readouterr().out.splitlines()] == ALL


def test_a_stream_handler_writes_to_the_stream_it_was_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind = "fastapi_taskflow.handlers.TaskStreamHandler"
    configure({"class": kind, "stream": "ext://sys.stderr"})

    TaskManager().run(greet)

    captured = capsys.readouterr()
    assert [line.split(" ", 3)[3] for line in captured.err.splitlines()] == ALL
    assert captured.out == ""


@pytest.mark.parametrize("capacity", [None, 1], ids=repr)
def test_a_memory_handler_keeps_events(capacity: int | None) -> None:
    options = {} if capacity is None else {"capacity": capacity}
    handler = configure({"class": "fastapi_taskflow.handlers.TaskMemoryHandler", **options})

    TaskManager().run(greet)

    assert isinstance(handler, TaskMemoryHandler)
    assert [event.message for event in handler.log_events] == ["hello"]
    statuses = [event.status.value for event in handler.lifecycle_events]
    assert statuses == (["success"] if capacity else ["running", "success"])


class Listening(TaskObserver):
    """Named in a configuration, through its module."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def on_log(self, event: LogEvent) -> None:
        self.heard.append(event.message)


def test_an_observer_handler_carries_events_to_its_observer() -> None:
    observer = Listening()
    kind = "fastapi_taskflow.handlers.ObserverHandler"
    handler = configure({"()": kind, "observer": observer, "queue_size": 5, "timeout": 1.0})

    async def main() -> None:
        async with TaskManager() as manager:
            await manager.execute(greet)
        assert isinstance(handler, ObserverHandler)
        await handler.drain()
        await handler.stop()

    asyncio.run(main())

    assert observer.heard == ["hello"]


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_a_formatter_is_named_by_class_or_factory(tmp_path: Path, formatter: str) -> None:
    path = tmp_path / "tasks.log"
    configure({"class": "logging.FileHandler", "filename": str(path), "formatter": formatter})

    TaskManager().run(greet)

    if "json" in formatter:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [line["message"] for line in lines] == ALL
        assert (lines[1]["amount"], lines[1]["level"], lines[1]["event"]) == (3, "debug", "log")
    else:
        assert texts(path) == ALL


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("TaskRotatingFileHandler", {"filename": "tasks.log"}),
        ("TaskWatchedFileHandler", {"filename": "tasks.log"}),
        ("TaskStreamHandler", {}),
    ],
)
def test_a_level_and_a_formatter_of_the_standard_librarys_count(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    options: dict[str, Any],
) -> None:
    monkeypatch.chdir(tmp_path)
    formats = {"plain": {"format": "%(levelname)s %(name)s %(task_id)s %(message)s"}}
    handler = {"class": f"fastapi_taskflow.handlers.{kind}", "formatter": "plain", "level": "INFO"}
    configure({**handler, **options}, formatters=formats)

    record = TaskManager().run(greet)

    written = Path("tasks.log").read_text() if options else capsys.readouterr().out
    start = f"INFO fastapi_taskflow.lifecycle.greet {record.task_id}"
    assert written.splitlines() == [f"{start} -- RUNNING", f"{start} -- SUCCESS"]


@pytest.mark.parametrize("option", ["format", "datefmt"])
@pytest.mark.parametrize("kind", ["TaskFormatter", "TaskJsonFormatter"])
def test_a_format_for_a_formatter_whose_line_is_fixed_is_refused(kind: str, option: str) -> None:
    formatter = {"class": f"fastapi_taskflow.formatters.{kind}", option: "%(message)s"}

    with pytest.raises(ValueError, match="formatter 'ours'") as caught:
        logging.config.dictConfig({"version": 1, "formatters": {"ours": formatter}})

    assert f"{option}='%(message)s'" in str(caught.value.__cause__)


@pytest.mark.parametrize("kind", ["TaskRotatingFileHandler", "TaskWatchedFileHandler"])
def test_a_mode_that_would_cut_the_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "tasks.log"

    with pytest.raises(ValueError, match="handler 'ours'") as caught:
        configure({"class": f"fastapi_taskflow.handlers.{kind}", "filename": path, "mode": "w"})

    assert "mode='w'" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"version": 1}, id="bare"),
        pytest.param({"version": 1, "disable_existing_loggers": True}, id="disabling"),
        pytest.param({"version": 1, "disable_existing_loggers": False}, id="not disabling"),
        pytest.param({"version": 1, "incremental": True}, id="incremental"),
    ],
)
@pytest.mark.parametrize("threaded", [False, True], ids=["async", "thread"])
def test_a_configuration_while_a_task_runs_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: dict[str, Any], threaded: bool
) -> None:
    rotate, watched = tmp_path / "rotate.log", tmp_path / "watched.log"
    memory, listening = InMemoryLogger(), Listening()

    def reconfigure() -> None:
        for number in range(3):
            task_log(f"before {number}")
            logging.config.dictConfig(config)
            task_log(f"after {number}")

    async def reconfigure_async() -> None:
        reconfigure()

    async def main() -> TaskManager:
        observers = [
            FileLogger(rotate),
            FileLogger(watched, mode="watched"),
            StdoutLogger(),
            memory,
            listening,
        ]
        async with TaskManager(loggers=observers) as manager:
            await manager.execute(reconfigure if threaded else reconfigure_async)
        return manager

    stats = asyncio.run(main()).observer_stats()

    expected = [f"{when} {number}" for number in range(3) for when in ("before", "after")]
    printed = [line.split(" ", 3)[3] for line in capsys.readouterr().out.splitlines()]
    messages = [event.message for event in memory.log_events]
    assert texts(rotate) == texts(watched) == printed == messages == listening.heard == expected
    assert len(memory.lifecycle_events) == 2
    assert sum(entry.errors for entry in stats.values()) == 0


@pytest.mark.parametrize("kind", ["TaskRotatingFileHandler", "TaskWatchedFileHandler"])
def test_an_error_goes_the_standard_librarys_way(
    capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    configure({"class": f"fastapi_taskflow.handlers.{kind}", "filename": "/dev/full"})
    manager = TaskManager()

    record = manager.run(greet)

    assert record.status == "success"
    assert capsys.readouterr().err.count("--- Logging error ---") == 3


def test_the_handlers_are_the_standard_librarys() -> None:
    assert issubclass(TaskWatchedFileHandler, logging.handlers.WatchedFileHandler)
    assert issubclass(TaskStreamHandler, logging.StreamHandler)
    assert issubclass(TaskMemoryHandler, logging.handlers.MemoryHandler)


@pytest.mark.parametrize("encoding", [None, "locale"])
@pytest.mark.parametrize("handler", [TaskRotatingFileHandler, TaskWatchedFileHandler])
def test_without_an_encoding_lines_are_in_the_locales(
    handler: type[logging.FileHandler], encoding: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "tasks.log"
    writer = handler(path, encoding=encoding)
    manager = TaskManager(loggers=[writer])
    manager.run(greet)
    asyncio.run(manager.shutdown())
    writer.close()

    lines = path.read_text(locale.getpreferredencoding(do_setlocale=False)).splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["RUNNING", "hello", "SUCCESS"]


@pytest.mark.parametrize("queued", [False, True])
def test_a_handler_of_a_class_that_filters_by_itself_is_asked(tmp_path: Path, queued: bool) -> None:
    class Choosy(TaskRotatingFileHandler):
        def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:  # type: ignore[override]
            return record.getMessage() != "1" and super().filter(record)

    path = tmp_path / "tasks.log"
    logger = FileLogger(path, queued=queued)
    logger.handler.__class__ = Choosy
    manager = TaskManager(loggers=[logger])

    def body() -> None:
        for number in range(3):
            task_log(str(number))

    manager.run(body)
    asyncio.run(manager.shutdown())

    assert [line[-1] for line in path.read_text().splitlines()] == ["0", "2"]
