"""Handlers and formatters named by strings in ``dictConfig``; events awaited by hand; figures."""

from __future__ import annotations

import asyncio
import json
import logging
import logging.config
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fastapi_taskflow import (
    FileLogger,
    InMemoryLogger,
    LifecycleEvent,
    LogEvent,
    StdoutLogger,
    TaskManager,
    TaskObserver,
    TaskStatus,
    task_log,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ENTRY = LogEvent("abc12345-x", "send", "hello", "warning", NOON, 0, {"a": "b"}, {"n": 1}, 3)
END = LifecycleEvent("abc12345-x", "send", TaskStatus.FAILED, NOON, 1, 1, 2.0, "boom", "T", {}, 4)
LINES = [
    "[abc12345] [send] 2026-01-01T12:00:00 hello",
    "[abc12345] [send] 2026-01-01T12:00:00 -- FAILED",
]


@pytest.mark.parametrize("formatter", ["TaskFormatter", "TaskJsonFormatter"])
@pytest.mark.parametrize(
    "handler",
    [
        {"class": "fastapi_taskflow.handlers.TaskRotatingFileHandler", "maxBytes": 100_000},
        {"class": "fastapi_taskflow.handlers.TaskWatchedFileHandler", "delay": True},
        {"()": "fastapi_taskflow.handlers.TaskRotatingFileHandler", "backupCount": 1},
    ],
    ids=["rotating", "watched", "factory"],
)
def test_file_handlers_and_formatters_work_by_name(
    handler: dict[str, Any], formatter: str, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "all.log"
    config: dict[str, Any] = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"class": f"fastapi_taskflow.formatters.{formatter}"}},
        "handlers": {"file": {**handler, "filename": str(path), "formatter": "line"}},
        "root": {"level": "INFO", "handlers": ["file"]},
    }
    logging.config.dictConfig(config)

    TaskManager().run(task_log, "hello")
    logging.getLogger("shop").info("foreign")
    logging.config.dictConfig({"version": 1})

    lines = path.read_text().splitlines()
    assert len(lines) == 4
    if formatter == "TaskJsonFormatter":
        assert [json.loads(line)["message"] for line in lines][1::2] == ["hello", "foreign"]
    else:
        assert lines[1].endswith(" hello")
        assert lines[3].startswith("[-] [shop] ")


def test_stream_and_memory_handlers_work_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {
                "out": {"class": "fastapi_taskflow.handlers.TaskStreamHandler"},
                "memory": {"class": "fastapi_taskflow.handlers.TaskMemoryHandler", "capacity": 2},
            },
            "root": {"level": "INFO", "handlers": ["out", "memory"]},
        }
    )
    memory = logging.getHandlerByName("memory") if hasattr(logging, "getHandlerByName") else None

    TaskManager().run(task_log, "hello")

    assert capsys.readouterr().out.splitlines()[1].endswith(" hello")
    assert memory is None or [event.message for event in memory.log_events] == ["hello"]


def test_an_error_under_dict_config_goes_the_standard_librarys_way(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {
                "full": {
                    "class": "fastapi_taskflow.handlers.TaskRotatingFileHandler",
                    "filename": "/dev/full",
                }
            },
            "root": {"level": "INFO", "handlers": ["full"]},
        }
    )

    logging.getLogger("shop").info("lost")

    assert "--- Logging error ---" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["rotate", "watched"])
def test_events_given_to_a_file_by_hand_are_written_like_records(mode: str, tmp_path: Path) -> None:
    observer = FileLogger(tmp_path / "x.log", mode=mode, log_lifecycle=True)

    async def main() -> None:
        await observer.startup()
        await observer.on_log(ENTRY)
        await observer.on_lifecycle(END)
        await observer.close()

    asyncio.run(main())

    assert (tmp_path / "x.log").read_text().splitlines() == LINES


def test_events_given_by_hand_are_filtered_like_records(
    capsys: pytest.CaptureFixture[str],
) -> None:
    quiet = StdoutLogger(min_level="error")
    memory = InMemoryLogger(min_level="error")

    async def main() -> None:
        for observer in (quiet, memory):
            await observer.on_log(ENTRY)
            await observer.on_lifecycle(END)

    asyncio.run(main())

    assert capsys.readouterr().out == ""
    assert memory.log_events == []
    assert memory.lifecycle_events == [END]


def test_an_event_comes_back_from_its_record_as_it_was() -> None:
    memory = InMemoryLogger()

    asyncio.run(memory.on_log(ENTRY))

    assert memory.log_events == [ENTRY]


def test_figures_are_by_class_and_count_what_became_of_each_event() -> None:
    class Failing(TaskObserver):
        async def on_log(self, event: LogEvent) -> None:
            raise OSError("down")

    manager = TaskManager(loggers=[InMemoryLogger(), InMemoryLogger(min_level="error"), Failing()])

    manager.run(task_log, "hello", level="warning")

    stats = manager.observer_stats()
    assert list(stats) == ["InMemoryLogger", "InMemoryLogger-2", "Failing", "pipeline"]
    assert (stats["InMemoryLogger"].delivered, stats["InMemoryLogger-2"].delivered) == (3, 2)
    assert stats["InMemoryLogger-2"].filtered == 1
    failing = stats["Failing"]
    assert (failing.delivered, failing.errors, failing.queued) == (2, 1, 0)
    assert failing.last_error == "OSError: down"
    assert failing.high_water >= 1
