"""StdoutLogger: the file's lines, on standard output as it is when a line is written."""

from __future__ import annotations

import contextlib
import io
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time

from fastapi_taskflow import FileLogger, InMemoryLogger, StdoutLogger, TaskManager, task_log


async def greet(text: str = "hello") -> None:
    task_log(text)


async def fail() -> None:
    raise ValueError("no")


def test_the_lines_are_those_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tasks.log"
    manager = TaskManager(
        loggers=[FileLogger(path, log_lifecycle=True), StdoutLogger(log_lifecycle=True)]
    )

    with freeze_time("2026-01-01 12:00:00", real_asyncio=True):
        record = manager.run(greet, "a\nb\x1b \u202e ü")

    captured = capsys.readouterr()
    start = f"[{record.task_id[:8]}] [greet] 2026-01-01T12:00:00 "
    texts = ["-- RUNNING", r"a\nb\x1b \u202e ü", "-- SUCCESS"]
    assert captured.out == "".join(f"{start}{text}\n" for text in texts)
    assert captured.out == path.read_text("utf-8")
    assert captured.err == ""


def test_status_changes_have_no_line_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    TaskManager(loggers=[StdoutLogger()]).run(greet)

    assert [line[-5:] for line in capsys.readouterr().out.splitlines()] == ["hello"]


def test_min_level_filters_entries_and_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    manager = TaskManager(loggers=[StdoutLogger(log_lifecycle=True, min_level="warning")])

    manager.run(greet)
    manager.run(fail)

    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" ", 3)[3] for line in lines] == ["-- FAILED"]


def test_output_that_is_redirected_later_is_followed() -> None:
    manager = TaskManager(loggers=[StdoutLogger()])
    first, second = io.StringIO(), io.StringIO()

    for stream in (first, second):
        with contextlib.redirect_stdout(stream):
            manager.run(greet)

    assert first.getvalue().endswith(" hello\n")
    assert second.getvalue().endswith(" hello\n")


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        pytest.param("ascii", rb"gr\xfc\xdfe \U0001f389 \udc80", id="ascii"),
        pytest.param("latin-1", b"gr\xfc\xdfe " + rb"\U0001f389 \udc80", id="latin-1"),
        pytest.param("utf-8", "grüße 🎉 ".encode() + rb"\udc80", id="utf-8"),
    ],
)
def test_characters_that_the_stream_lacks_are_written_out(
    monkeypatch: pytest.MonkeyPatch, encoding: str, written: bytes
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding, newline=""))
    manager = TaskManager(loggers=[StdoutLogger()])

    manager.run(greet, "grüße 🎉 \udc80")

    assert raw.getvalue().endswith(b" " + written + b"\n")
    assert manager.observer_stats()["StdoutLogger"].errors == 0


class _Tee:
    """All that ``print()`` needs of a stream: no encoding, no name, no buffer."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("text", ["hello", "grüße"])
def test_a_stream_that_can_only_write_is_enough(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    stream = _Tee()
    monkeypatch.setattr(sys, "stdout", stream)
    manager = TaskManager(loggers=[StdoutLogger()])

    manager.run(greet, text)

    assert stream.text.endswith(f" {text}\n")


class _Empty(_Tee):
    """A stream that is false while it is empty, as one with a length is."""

    def __len__(self) -> int:
        return len(self.text)


class Tee:
    """Passes all that it doesn't have on to another stream, as tees and notebooks do."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.seen: list[str] = []

    def write(self, text: str) -> int:
        self.seen.append(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class Counting(io.TextIOWrapper):
    """Is a text file, but for what it does with a text."""

    seen: list[str]

    def write(self, text: str) -> int:
        self.seen.append(text)
        return len(text)


class CountingBuffer(io.BufferedWriter):
    """Is a binary file, but for what it does with bytes."""

    seen: list[str]

    def write(self, data: Any) -> int:
        self.seen.append(bytes(data).decode())
        return len(data)


def tee(path: Path) -> tuple[Any, list[str]]:
    stream = Tee(path.open("w"))
    return stream, stream.seen


def text_wrapper(path: Path) -> tuple[Any, list[str]]:
    stream = Counting(path.open("wb"))
    stream.seen = []
    return stream, stream.seen


def buffer(path: Path) -> tuple[Any, list[str]]:
    binary = CountingBuffer(io.FileIO(path, "w"))
    binary.seen = []
    return io.TextIOWrapper(binary), binary.seen


@pytest.mark.parametrize("queued", [False, True], ids=["sync", "queued"])
@pytest.mark.parametrize("prints", [False, True], ids=["", "log_prints"])
@pytest.mark.parametrize("make", [tee, text_wrapper, buffer], ids=lambda make: make.__name__)
def test_what_stands_in_for_standard_output_gets_the_lines_itself(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], tuple[Any, list[str]]],
    prints: bool,
    queued: bool,
) -> None:
    """Though it may have a file descriptor."""
    stream, seen = make(tmp_path / "below")
    with contextlib.closing(stream):
        monkeypatch.setattr(sys, "stdout", stream)

        TaskManager(loggers=[StdoutLogger(queued=queued)], log_prints=prints).run(greet)

        assert "".join(seen).endswith(" hello\n")
        monkeypatch.undo()
    assert (tmp_path / "below").read_text() == ""


def test_the_handlers_own_stream_is_used_even_if_it_is_empty(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stream = _Empty()
    observer = StdoutLogger()
    observer.handler.setStream(stream)  # type: ignore[arg-type]  # enough of a text stream

    TaskManager(loggers=[observer]).run(greet)

    assert stream.text.endswith(" hello\n")
    assert capsys.readouterr().out == ""


def closed_stream() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [closed_stream(), None], ids=["closed", "none at all"])
def test_a_closed_stdout_is_counted_and_reported_and_nobody_else_notices(
    monkeypatch: pytest.MonkeyPatch, reports: list[logging.LogRecord], stream: io.StringIO | None
) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[StdoutLogger(), memory])

    record = manager.run(greet, "grüße")

    assert record.status == "success"
    assert [event.message for event in memory.log_events] == ["grüße"]
    assert manager.observer_stats()["StdoutLogger"].errors == 1
    assert len(reports) == 1


PROGRAM = """
import os, sys
from fastapi_taskflow import StdoutLogger, TaskManager, task_log

async def greet():
    task_log("hello")
    task_log("gr\\u00fc\\u00dfe")
    if len(sys.argv) > 1:
        os._exit(0)

record = TaskManager(loggers=[StdoutLogger()]).run(greet)
sys.stderr.write(record.status.value)
"""


def test_a_process_whose_reader_has_gone_runs_its_tasks() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", f"{PROGRAM}\nsys.stderr.flush(); os._exit(0)"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, errors = process.communicate(timeout=60)

    assert errors.endswith(b"success")
    assert process.returncode == 0


def test_a_line_has_left_the_process_before_task_log_returns(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    outcome = run_python(PROGRAM, "exit at once")

    assert [line[-5:] for line in outcome.stdout.splitlines()] == ["hello", "grüße"]
