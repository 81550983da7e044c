"""The tables, sample lines and promises of the observability contract, held against the package."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import typing
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from freezegun import freeze_time

from fastapi_taskflow import (
    FileLogger,
    InMemoryLogger,
    LifecycleEvent,
    LogEvent,
    ManagedBackgroundTasks,
    StdoutLogger,
    TaskAdmin,
    TaskManager,
    TaskObserver,
    TaskStatus,
    task_log,
)

PARAMETERS: dict[Callable[..., Any], str] = {
    FileLogger: """
path str required File path to write to. Created if it does not exist.
max_bytes int 10485760 File size limit (10 MB) before rotating. Ignored in watched mode.
backup_count int 5 Number of rotated backup files to keep. Ignored in watched mode.
mode str "rotate" "rotate" for automatic rotation, "watched" for external rotation via logrotate.
log_lifecycle bool False Write a line on each task status transition.
min_level str "info" Minimum log level to write. Entries below this level are silently dropped.
""",
    StdoutLogger: """
log_lifecycle bool False Print a line on each task status transition.
min_level str "info" Minimum log level to print.
""",
    InMemoryLogger: """
min_level str "debug" Minimum log level to capture. The default captures everything.
""",
}
ROWS = [
    pytest.param(call, *row.split(" ")[:3], id=f"{call.__name__}-{row.split(' ')[0]}")
    for call, table in PARAMETERS.items()
    for row in table.strip().splitlines()
]

FIELDS: dict[type, dict[str, object]] = {
    LogEvent: {
        "task_id": str,
        "func_name": str,
        "message": str,
        "level": str,
        "timestamp": datetime,
        "attempt": int,
        "tags": dict[str, str],
        "extra": dict[str, Any],
        "seq": int,
    },
    LifecycleEvent: {
        "task_id": str,
        "func_name": str,
        "status": TaskStatus,
        "timestamp": datetime,
        "attempt": int,
        "retries_used": int,
        "duration": float | None,
        "error": str | None,
        "stacktrace": str | None,
        "tags": dict[str, str],
        "seq": int,
    },
}

SAMPLE = """\
[abc12345] [send_email] 2026-01-01T12:00:00 -- RUNNING
[abc12345] [send_email] 2026-01-01T12:00:00 Connecting to SMTP server
[abc12345] [send_email] 2026-01-01T12:00:01 -- SUCCESS
"""
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(("call", "name", "kind", "default"), ROWS)
def test_a_parameter_has_the_type_and_default_of_its_row(
    call: Callable[..., Any], name: str, kind: str, default: str
) -> None:
    parameter = inspect.signature(call).parameters[name]
    hint = typing.get_type_hints(vars(call)["__init__"])[name]

    takes = typing.get_args(hint) or (hint,)
    assert {"str": str, "int": int, "bool": bool}[kind] in takes
    if default == "required":
        assert parameter.default is inspect.Parameter.empty
        assert parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    else:
        assert str(parameter.default) == default.strip('"')
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("event", FIELDS, ids=lambda event: event.__name__)
def test_an_event_has_the_fields_and_types_of_the_reference(event: type[Any]) -> None:
    assert typing.get_type_hints(event) == FIELDS[event]
    assert [field.name for field in dataclasses.fields(event)] == list(FIELDS[event])
    assert event.__dataclass_params__.frozen


@pytest.mark.parametrize("where", ["file", "stdout"])
def test_events_of_the_sample_give_its_lines_to_the_letter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    path = tmp_path / "tasks.log"
    observer: FileLogger | StdoutLogger = (
        FileLogger(path, log_lifecycle=True)
        if where == "file"
        else StdoutLogger(log_lifecycle=True)
    )
    task = ("abc12345-6789-4abc-8def-0123456789ab", "send_email")
    end = NOON + timedelta(seconds=1)

    async def tell() -> None:
        await observer.on_lifecycle(LifecycleEvent(*task, TaskStatus.RUNNING, NOON, 0, 0))
        await observer.on_log(LogEvent(*task, "Connecting to SMTP server", "info", NOON, 0))
        await observer.on_lifecycle(LifecycleEvent(*task, TaskStatus.SUCCESS, end, 0, 0, 1.0))
        await observer.close()

    asyncio.run(tell())

    assert (path.read_text() if where == "file" else capsys.readouterr().out) == SAMPLE


def test_a_task_whose_second_passes_gives_the_samples_lines(tmp_path: Path) -> None:
    path = tmp_path / "tasks.log"
    manager = TaskManager(loggers=[FileLogger(path, log_lifecycle=True)])

    with freeze_time("2026-01-01 12:00:00", real_asyncio=True) as clock:

        async def send_email() -> None:
            task_log("Connecting to SMTP server")
            clock.tick(1)

        record = manager.run(send_email)

    assert path.read_text() == SAMPLE.replace("abc12345", record.task_id[:8])


async def succeed() -> None:
    task_log("working")


async def fail() -> None:
    raise ValueError("no such address")


@pytest.mark.parametrize(
    ("function", "status", "error"),
    [(succeed, "success", None), (fail, "failed", "no such address")],
)
def test_a_transition_has_what_the_reference_says_of_its_status(
    function: Callable[..., Any], status: str, error: str | None
) -> None:
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[memory])
    manager.task(retries=2)(function)

    manager.run(function, tags={"to": "bob"})

    running, end = memory.lifecycle_events
    assert (running.status, running.duration, running.error) == ("running", None, None)
    assert (end.status, end.error, end.tags) == (status, error, {"to": "bob"})
    assert isinstance(end.duration, float)
    assert end.retries_used == end.attempt == (2 if error else 0)
    assert (end.stacktrace is None) == (error is None)
    assert running.timestamp.tzinfo is UTC


def test_a_task_that_shutdown_cuts_short_is_interrupted() -> None:
    memory = InMemoryLogger()

    async def main() -> None:
        running = asyncio.Event()

        async def hang() -> None:
            running.set()
            await asyncio.Event().wait()

        async with TaskManager(loggers=[memory], shutdown_timeout=0.0) as manager:
            call = asyncio.ensure_future(manager.execute(hang))
            await running.wait()
        await call

    asyncio.run(main())

    assert [event.status.value for event in memory.lifecycle_events] == ["running", "interrupted"]
    assert [event.error for event in memory.lifecycle_events] == [None, None]


def test_the_hooks_run_when_task_admin_mounts_the_app_and_on_its_shutdown() -> None:
    told: list[str] = []

    class Alerter(TaskObserver):
        async def startup(self) -> None:
            told.append("startup")

        async def on_lifecycle(self, event: LifecycleEvent) -> None:
            told.append(event.status.value)

        async def close(self) -> None:
            told.append("close")

    manager, app = TaskManager(loggers=[Alerter()]), FastAPI()
    TaskAdmin(app, manager)

    @app.post("/")
    def enqueue(tasks: ManagedBackgroundTasks = Depends(manager.get_tasks)) -> str:  # noqa: B008, FAST002
        return tasks.add_task(succeed)

    with TestClient(app) as client:
        before = told[:]
        client.post("/")

    assert before == ["startup"]
    assert told == ["startup", "running", "success", "close"]


def test_one_that_fails_does_not_prevent_the_others_from_receiving(tmp_path: Path) -> None:
    class Failing(TaskObserver):
        async def on_log(self, event: LogEvent) -> None:
            raise ConnectionError("gone")

    memory = InMemoryLogger()
    observers = [FileLogger("/dev/full"), Failing(), FileLogger(tmp_path / "tasks.log"), memory]

    record = TaskManager(loggers=observers).run(succeed)

    assert record.status == "success"
    assert (tmp_path / "tasks.log").read_text().endswith(" working\n")
    assert [event.message for event in memory.log_events] == ["working"]


async def write_a_lot() -> None:
    for number in range(30):
        task_log(f"{number:03d}")


@pytest.mark.parametrize("mode", ["rotate", "watched"])
def test_the_shorthand_writes_the_very_files_of_the_long_form(tmp_path: Path, mode: str) -> None:
    for name in ("short", "long"):
        (tmp_path / name).mkdir()
    short = TaskManager(
        log_file=str(tmp_path / "short" / "tasks.log"),
        log_file_max_bytes=300,
        log_file_backup_count=3,
        log_file_mode=mode,
        log_lifecycle=True,
    )
    path = str(tmp_path / "long" / "tasks.log")
    file = FileLogger(path, max_bytes=300, backup_count=3, mode=mode, log_lifecycle=True)

    with freeze_time("2026-01-01 12:00:00", real_asyncio=True):
        for manager in (short, TaskManager(loggers=[file])):
            manager.run(write_a_lot)

    written = [
        {file.name: file.read_bytes()[10:50] for file in (tmp_path / name).iterdir()}
        for name in ("short", "long")
    ]
    assert written[0] == written[1]
    assert len(written[0]) == (4 if mode == "rotate" else 1)
