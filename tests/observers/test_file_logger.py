"""FileLogger: its lines, and what becomes of them when files, paths and processes go wrong."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import warnings
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from freezegun import freeze_time

from fastapi_taskflow import (
    FileLogger,
    InMemoryLogger,
    LogEvent,
    LogFileError,
    TaskflowError,
    TaskManager,
    task_log,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MODES = ["rotate", "watched"]


async def greet(text: str = "hello") -> None:
    task_log(text)


def messages(path: Path) -> list[str]:
    """What stands after the time in each line."""
    return [line.split(" ", 3)[3] for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("mode", MODES)
def test_a_line_has_short_id_function_utc_time_and_message(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "tasks.log"
    manager = TaskManager(loggers=[FileLogger(str(path), mode=mode, log_lifecycle=True)])

    with freeze_time("2026-01-01 12:00:00.987654", real_asyncio=True):
        record = manager.run(greet, "Sending to user@example.com")

    start = f"[{record.task_id[:8]}] [greet] 2026-01-01T12:00:00 "
    expected = [f"{start}{text}" for text in ("-- RUNNING", "Sending to user@example.com")]
    assert path.read_bytes().decode() == "\n".join([*expected, f"{start}-- SUCCESS", ""])


def test_status_changes_have_no_line_unless_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "tasks.log"

    TaskManager(loggers=[FileLogger(path)]).run(greet)

    assert messages(path) == ["hello"]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        pytest.param("one\ntwo\r\nthree", r"one\ntwo\r\nthree", id="line ends"),
        pytest.param("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m", id="escape sequences"),
        pytest.param("\x00\x07\x7f\x85\x9f", r"\x00\x07\x7f\x85\x9f", id="other controls"),
        pytest.param("a\u2028b\u2029c", r"a\u2028b\u2029c", id="unicode line separators"),
        pytest.param("\u202eevil\u2066x\u2069", r"\u202eevil\u2066x\u2069", id="bidi overrides"),
        pytest.param("tab\tback\\slash", "tab\tback\\slash", id="tab and backslash stay"),
        pytest.param("lone \ud800 surrogate", r"lone \ud800 surrogate", id="lone surrogate"),
        pytest.param("100% %s %(x)s {y}", "100% %s %(x)s {y}", id="percent is text"),
        pytest.param("grüße 🎉 日本", "grüße 🎉 日本", id="other scripts stay"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_one_event_is_one_line_whatever_is_in_it(tmp_path: Path, text: str, written: str) -> None:
    path = tmp_path / "tasks.log"
    manager = TaskManager(loggers=[FileLogger(path)])

    manager.run(greet, text)

    assert path.read_bytes().count(b"\n") == 1
    assert path.read_bytes().decode().rstrip("\n").split(" ", 3)[3] == written
    assert manager.observer_stats()["FileLogger"].errors == 0


@pytest.mark.parametrize("mode", MODES)
def test_startup_makes_the_file_and_its_missing_directories(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "var" / "log" / "tasks.log"
    observer = FileLogger(path, mode=mode)
    made_by_constructor = path.parent.exists()

    asyncio.run(observer.startup())

    assert not made_by_constructor
    assert path.read_bytes() == b""
    asyncio.run(observer.close())


def test_an_existing_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "tasks.log"
    path.write_text("what was there\n")

    TaskManager(loggers=[FileLogger(path)]).run(greet)

    assert path.read_text().startswith("what was there\n[")


def test_a_relative_path_stays_where_it_was_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    manager = TaskManager(loggers=[FileLogger("logs/tasks.log")])

    manager.run(greet, "before")
    monkeypatch.chdir(tmp_path / "elsewhere")
    manager.run(greet, "after")
    asyncio.run(manager.shutdown())
    manager.run(greet, "reopened")

    assert messages(tmp_path / "logs" / "tasks.log") == ["before", "after", "reopened"]


@pytest.mark.parametrize("vanish", ["renamed", "deleted", "directory deleted"])
@pytest.mark.parametrize(("mode", "seconds"), [("watched", 0.0), ("rotate", 1.0)], ids=MODES[::-1])
def test_a_file_that_vanished_is_made_anew(
    tmp_path: Path, log_event: Callable[..., LogEvent], mode: str, seconds: float, vanish: str
) -> None:
    """At once in watched mode; within a second, by the records' time, in rotate mode."""
    path = tmp_path / "logs" / "tasks.log"
    observer = FileLogger(path, mode=mode)

    async def main() -> None:
        await observer.on_log(log_event("first"))
        if vanish == "renamed":
            path.rename(tmp_path / "renamed.log")
        else:
            path.unlink()
        if vanish == "directory deleted":
            path.parent.rmdir()
        await observer.on_log(log_event("second", timestamp=NOON + timedelta(seconds=seconds)))
        await observer.close()

    asyncio.run(main())

    assert messages(path) == ["second"]
    if vanish == "renamed":
        assert messages(tmp_path / "renamed.log") == ["first"]


def test_a_clock_set_back_does_not_keep_a_deleted_file_from_being_made_anew(
    tmp_path: Path, log_event: Callable[..., LogEvent]
) -> None:
    path = tmp_path / "tasks.log"
    observer = FileLogger(path)

    async def main() -> None:
        await observer.on_log(log_event("first"))
        path.unlink()
        await observer.on_log(log_event("second", timestamp=NOON - timedelta(hours=1)))
        await observer.close()

    asyncio.run(main())

    assert messages(path) == ["second"]


@pytest.mark.parametrize("mode", MODES)
def test_a_closed_logger_writes_again(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "tasks.log"
    observer = FileLogger(path, mode=mode)
    manager = TaskManager(loggers=[observer])

    for text in ("one", "two", "three"):
        manager.run(greet, text)
        asyncio.run(observer.close())
        asyncio.run(observer.close())

    assert messages(path) == ["one", "two", "three"]


@pytest.mark.parametrize("mode", MODES)
def test_two_managers_share_one_logger_and_the_first_shutdown_stops_neither(
    tmp_path: Path, mode: str
) -> None:
    path = tmp_path / "tasks.log"
    observer = FileLogger(path, mode=mode)

    async def main() -> None:
        first, second = TaskManager(loggers=[observer]), TaskManager(loggers=[observer])
        async with second:
            async with first:
                await first.execute(greet, "of the first")
            await second.execute(greet, "of the second")

    asyncio.run(main())

    assert messages(path) == ["of the first", "of the second"]


@pytest.mark.parametrize("mode", MODES)
def test_two_loggers_on_one_path_share_the_file(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "tasks.log"
    one, two = FileLogger(path, mode=mode), FileLogger(path, mode=mode)
    manager = TaskManager(loggers=[one, two])

    manager.run(greet, "both")
    asyncio.run(one.close())
    TaskManager(loggers=[two]).run(greet, "two alone")

    assert messages(path) == ["both", "both", "two alone"]


def _first_use(observer: FileLogger) -> None:
    TaskManager(loggers=[observer]).run(greet)


def _manager_startup(observer: FileLogger) -> None:
    asyncio.run(TaskManager(loggers=[observer]).startup())


def _own_startup(observer: FileLogger) -> None:
    asyncio.run(observer.startup())


@pytest.mark.parametrize("open_it", [_first_use, _manager_startup, _own_startup])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["directory", "below a file", "name too long", "null character"])
def test_a_path_that_cannot_be_written_is_a_clear_error(
    tmp_path: Path, kind: str, mode: str, open_it: Callable[[FileLogger], None]
) -> None:
    (tmp_path / "file").touch()
    names = {"directory": ".", "below a file": "file/tasks.log", "name too long": "x" * 300}
    path = str(tmp_path / names.get(kind, "null\0character"))

    with pytest.raises(TaskflowError) as caught:
        open_it(FileLogger(path, mode=mode))

    assert f"path={path!r}" in str(caught.value)
    assert "expected" in str(caught.value)


def test_a_log_file_error_is_an_os_error_with_its_number(tmp_path: Path) -> None:
    with pytest.raises(LogFileError) as caught:
        asyncio.run(FileLogger(tmp_path).startup())

    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value.errno, int)
    assert str(tmp_path) in str(caught.value)


def test_a_manager_whose_path_was_repaired_starts_after_all(tmp_path: Path) -> None:
    path = tmp_path / "tasks.log"
    path.mkdir()
    manager = TaskManager(loggers=[FileLogger(tmp_path / "good.log"), FileLogger(path)])
    with pytest.raises(LogFileError):
        manager.run(greet)
    path.rmdir()

    manager.run(greet)

    assert messages(path) == messages(tmp_path / "good.log") == ["hello"]


@pytest.mark.parametrize("mode", MODES)
def test_a_full_disk_is_reported_and_counted_and_nobody_else_notices(
    reports: list[logging.LogRecord], mode: str
) -> None:
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[FileLogger("/dev/full", mode=mode), memory])

    record = manager.run(greet)

    assert record.status == "success"
    assert [event.message for event in memory.log_events] == ["hello"]
    stats = manager.observer_stats()["FileLogger"]
    assert (stats.errors, stats.delivered) == (1, 0)
    assert "No space left" in str(stats.last_error)
    assert ["FileLogger" in report.getMessage() for report in reports] == [True]


def test_a_pipe_in_place_of_the_file_takes_lines_without_errors(tmp_path: Path) -> None:
    """Such as ``/dev/stdout`` in a container."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    manager = TaskManager(loggers=[FileLogger(fifo)])

    manager.run(greet)

    assert os.read(reader, 1000).endswith(b" hello\n")
    os.close(reader)
    stats = manager.observer_stats()["FileLogger"]
    assert (stats.delivered, stats.errors, stats.last_error) == (1, 0, None)


def test_a_line_is_in_the_kernel_before_task_log_returns(
    tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    path = tmp_path / "tasks.log"
    program = """
import os, signal, sys
from fastapi_taskflow import TaskManager, task_log

async def die():
    task_log("last words")
    os.kill(os.getpid(), signal.SIGKILL)

TaskManager(log_file=sys.argv[1]).run(die)
"""

    outcome = run_python(program, str(path))

    assert outcome.returncode == -9, outcome.stderr
    assert messages(path) == ["last words"]


@pytest.mark.parametrize("mode", MODES)
def test_a_dropped_manager_takes_its_file_with_it_quietly(tmp_path: Path, mode: str) -> None:
    gc.collect()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        manager = TaskManager(loggers=[FileLogger(tmp_path / "tasks.log", mode=mode)])
        manager.run(greet)
        gone = weakref.ref(manager)
        del manager
        gc.collect()

    assert gone() is None
    assert [str(warning.message) for warning in caught] == []
