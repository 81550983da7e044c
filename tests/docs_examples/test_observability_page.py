"""The examples and tables of the project's observability contract, as they stand there."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time

from fastapi_taskflow import FileLogger, InMemoryLogger, StdoutLogger, TaskManager, task_log
from fastapi_taskflow.events import LifecycleEvent, LogEvent

FILE_LOGGER = """
from fastapi_taskflow import FileLogger, TaskManager

task_manager = TaskManager(
    snapshot_db="tasks.db",
    loggers=[FileLogger("tasks.log", log_lifecycle=True)],
)
"""

STDOUT_LOGGER = """
from fastapi_taskflow import StdoutLogger, TaskManager

task_manager = TaskManager(
    loggers=[StdoutLogger(log_lifecycle=True)],
)
"""

IN_MEMORY_LOGGER = """
from fastapi_taskflow import InMemoryLogger, TaskManager

mem_logger = InMemoryLogger()
task_manager = TaskManager(loggers=[mem_logger])
"""

IN_MEMORY_TEST = """
def test_charge_payment_logs_amount():
    mem_logger = InMemoryLogger()
    task_manager = TaskManager(loggers=[mem_logger])

    # run the task synchronously in your test setup ...
    run_the_task(task_manager)

    messages = [e.message for e in mem_logger.log_events]
    assert any("amount=99.0" in m for m in messages)

    statuses = [e.status.value for e in mem_logger.lifecycle_events]
    assert statuses == ["running", "success"]

    # clear between tests
    mem_logger.clear()
    assert mem_logger.log_events == [] and mem_logger.lifecycle_events == []
"""

SEVERAL = """
from fastapi_taskflow import FileLogger, StdoutLogger, TaskManager

task_manager = TaskManager(
    snapshot_db="tasks.db",
    loggers=[
        FileLogger("tasks.log", log_lifecycle=True),
        StdoutLogger(log_lifecycle=True, min_level="warning"),
    ],
)
"""

SHORTHAND = """
from fastapi_taskflow import TaskManager

# shorthand
task_manager = TaskManager(
    snapshot_db="tasks.db",
    log_file="tasks.log",
    log_file_max_bytes=5 * 1024 * 1024,
    log_file_backup_count=3,
    log_file_mode="rotate",
    log_lifecycle=True,
)
"""

LONGHAND = """
from fastapi_taskflow import FileLogger, TaskManager

task_manager = TaskManager(
    snapshot_db="tasks.db",
    loggers=[
        FileLogger(
            "tasks.log",
            max_bytes=5 * 1024 * 1024,
            backup_count=3,
            mode="rotate",
            log_lifecycle=True,
        )
    ],
)
"""

CUSTOM = """
from fastapi_taskflow import TaskManager, TaskObserver
from fastapi_taskflow.loggers.base import LifecycleEvent, LogEvent


class SlackAlerter(TaskObserver):
    async def on_log(self, event: LogEvent) -> None:
        # Available fields: task_id, func_name, message, level,
        # timestamp, attempt, tags, extra
        if event.level == "error":
            await slack.post(f"[{event.func_name}] {event.message}")

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        # Available fields: task_id, func_name, status, timestamp,
        # attempt, retries_used, duration, error, stacktrace, tags
        if event.status.value == "failed":
            await slack.post(
                f"Task {event.func_name} failed after "
                f"{event.retries_used} retries: {event.error}"
            )

    async def startup(self) -> None:
        # Called when TaskAdmin mounts the app.
        await slack.connect()

    async def close(self) -> None:
        # Called on shutdown.
        await slack.disconnect()


task_manager = TaskManager(loggers=[SlackAlerter()])
"""


class Slack:
    """Stands in for the far end of the network."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def connect(self) -> None:
        self.calls.append("connect")

    async def disconnect(self) -> None:
        self.calls.append("disconnect")

    async def post(self, text: str) -> None:
        self.calls.append(text)


def send_email(address: str) -> None:
    task_log("Connecting to SMTP server")
    task_log(f"Sending to {address}", level="warning")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _run_example(code: str, **names: Any) -> dict[str, Any]:
    exec(code, names)  # the page's own code
    return names


def _texts(lines: str) -> list[str]:
    """Lines without the id, which is new each time."""
    return [line[len("[abc12345] ") :] for line in lines.splitlines()]


ALL = [
    "[send_email] 2026-01-01T12:00:00 -- RUNNING",
    "[send_email] 2026-01-01T12:00:00 Connecting to SMTP server",
    "[send_email] 2026-01-01T12:00:00 Sending to user@example.com",
    "[send_email] 2026-01-01T12:00:00 -- SUCCESS",
]


@pytest.mark.parametrize(
    "example", [FILE_LOGGER, SHORTHAND, LONGHAND], ids=["list", "short", "long"]
)
@freeze_time("2026-01-01 12:00:00", real_asyncio=True)
def test_a_file_gets_each_entry_and_each_status(example: str, tmp_path: Path) -> None:
    manager: TaskManager = _run_example(example)["task_manager"]

    record = manager.run(send_email, "user@example.com")

    lines = (tmp_path / "tasks.log").read_text()
    assert lines.startswith(f"[{record.task_id[:8]}] ")
    assert _texts(lines) == ALL


@freeze_time("2026-01-01 12:00:00", real_asyncio=True)
def test_stdout_is_identical(capsys: pytest.CaptureFixture[str]) -> None:
    manager: TaskManager = _run_example(STDOUT_LOGGER)["task_manager"]

    manager.run(send_email, "user@example.com")

    assert _texts(capsys.readouterr().out) == ALL


def test_memory_has_the_events() -> None:
    names = _run_example(IN_MEMORY_LOGGER)

    names["task_manager"].run(send_email, "user@example.com")

    assert all(isinstance(event, LogEvent) for event in names["mem_logger"].log_events)
    assert len(names["mem_logger"].lifecycle_events) == 2


def test_the_pages_test_passes() -> None:
    def charge_payment(amount: float) -> None:
        task_log(f"charging amount={amount}")

    names = _run_example(
        IN_MEMORY_TEST,
        InMemoryLogger=InMemoryLogger,
        TaskManager=TaskManager,
        run_the_task=lambda manager: manager.run(charge_payment, 99.0),
    )

    names["test_charge_payment_logs_amount"]()


@freeze_time("2026-01-01 12:00:00", real_asyncio=True)
def test_each_of_several_observers_has_its_own_level(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    manager: TaskManager = _run_example(SEVERAL)["task_manager"]

    manager.run(send_email, "user@example.com")

    assert _texts((tmp_path / "tasks.log").read_text()) == ALL
    assert _texts(capsys.readouterr().out) == [ALL[2]]


def test_the_shorthand_makes_the_very_same_observer() -> None:
    short: TaskManager = _run_example(SHORTHAND)["task_manager"]
    long: TaskManager = _run_example(LONGHAND)["task_manager"]

    short.run(task_log, "x")
    long.run(task_log, "x")

    assert (
        short.observer_stats().keys() == long.observer_stats().keys() == {"FileLogger", "pipeline"}
    )


def test_a_custom_observer_is_started_told_and_closed() -> None:
    slack = Slack()
    manager: TaskManager = _run_example(CUSTOM, slack=slack)["task_manager"]

    @manager.task(retries=2)
    def charge() -> None:
        task_log("card refused", level="error")
        raise ValueError("no money")

    async def main() -> None:
        async with manager:
            await manager.execute(charge)

    asyncio.run(main())

    assert slack.calls == [
        "connect",
        *["[charge] card refused"] * 3,
        "Task charge failed after 2 retries: no money",
        "disconnect",
    ]


REQUIRED = inspect.Parameter.empty
TABLES: dict[Callable[..., object], dict[str, object]] = {
    FileLogger: {
        "path": REQUIRED,
        "max_bytes": 10485760,
        "backup_count": 5,
        "mode": "rotate",
        "log_lifecycle": False,
        "min_level": "info",
    },
    StdoutLogger: {"log_lifecycle": False, "min_level": "info"},
    InMemoryLogger: {"min_level": "debug"},
}


@pytest.mark.parametrize("observer", TABLES, ids=lambda observer: observer.__name__)
def test_parameters_have_the_defaults_of_the_tables(observer: Callable[..., object]) -> None:
    parameters = inspect.signature(observer).parameters

    table = TABLES[observer]
    assert {name: parameters[name].default for name in table} == table
    keyword_only = {name for name in table if name != "path"}
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in keyword_only)


@pytest.mark.parametrize(
    ("event", "names"),
    [
        (LogEvent, "task_id func_name message level timestamp attempt tags extra seq"),
        (
            LifecycleEvent,
            "task_id func_name status timestamp attempt retries_used duration error stacktrace "
            "tags seq",
        ),
    ],
)
def test_events_have_the_fields_of_the_reference(event: type[Any], names: str) -> None:
    assert [field.name for field in dataclasses.fields(event)] == names.split()
