"""Files and standard output that are written in batches, by a thread."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastapi_taskflow import (
    ConfigurationError,
    FileLogger,
    InMemoryLogger,
    LogEvent,
    StdoutLogger,
    TaskContextFilter,
    TaskManager,
    get_task_context,
    task_log,
)
from fastapi_taskflow.loggers import queued
from fastapi_taskflow.loggers.ledger import Ledger
from fastapi_taskflow.loggers.queued import CATCH_UP, QUEUE_SIZE

PATIENCE = 30.0
"""Seconds after which a test gives up on what should happen at once."""


def log_many(count: int) -> None:
    for number in range(count):
        task_log(f"line {number}")


def messages(text: str) -> list[str]:
    return [line.split(" ", 3)[3] for line in text.splitlines()]


class Gate(logging.Formatter):
    """A formatter that comes back when it is let, and only then."""

    def __init__(self, fmt: str = "%(message)s") -> None:
        super().__init__(fmt)
        self.entered, self.go_on = threading.Event(), threading.Event()

    def format(self, record: logging.LogRecord) -> str:
        self.entered.set()
        assert self.go_on.wait(PATIENCE)
        return super().format(record)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.go_on.set()


@pytest.mark.parametrize("mode", ["rotate", "watched"])
def test_all_lines_are_in_the_file_after_a_run(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "tasks.log"
    manager = TaskManager(loggers=[FileLogger(path, mode=mode, queued=True, log_lifecycle=True)])

    manager.run(log_many, 3000)

    expected = ["-- RUNNING", *(f"line {number}" for number in range(3000)), "-- SUCCESS"]
    assert messages(path.read_text()) == expected
    stats = manager.observer_stats()["FileLogger"]
    assert (stats.delivered, stats.errors, stats.queued) == (3002, 0, 0)


@pytest.fixture
def endless_gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread gathers until somebody waits for it."""
    monkeypatch.setattr(queued, "GATHERING", 3600.0)
    monkeypatch.setattr(queued, "BURST", 0)


@pytest.mark.usefixtures("endless_gathering")
@pytest.mark.parametrize("times", [1, 3])
def test_whoever_waits_for_the_lines_does_not_wait_for_more_of_them(
    tmp_path: Path, times: int
) -> None:
    path = tmp_path / "tasks.log"
    manager = TaskManager(loggers=[FileLogger(path, queued=True)], drain_timeout=PATIENCE)

    for _ in range(times):
        manager.run(log_many, 500)

    assert messages(path.read_text()) == [f"line {number}" for number in range(500)] * times


@pytest.mark.usefixtures("endless_gathering")
def test_what_has_gathered_is_written_when_the_queue_is_half_full(tmp_path: Path) -> None:
    path = tmp_path / "tasks.log"
    manager = TaskManager(loggers=[FileLogger(path, queued=True)], drain_timeout=PATIENCE)

    def body() -> None:
        log_many(QUEUE_SIZE // 2 + 1)
        until = time.monotonic() + PATIENCE
        while manager.observer_stats()["FileLogger"].queued and time.monotonic() < until:
            time.sleep(0.001)
        assert len(messages(path.read_text())) > QUEUE_SIZE // 2

    record = manager.run(body)

    assert record.error is None
    assert manager.observer_stats()["FileLogger"].delivered == QUEUE_SIZE // 2 + 1


def test_a_single_line_is_written_though_nobody_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "tasks.log"
    manager = TaskManager(loggers=[FileLogger(path, queued=True)])

    def body() -> None:
        for number in range(20):
            task_log(f"line {number}")
            until = time.monotonic() + PATIENCE
            while manager.observer_stats()["FileLogger"].queued and time.monotonic() < until:
                time.sleep(0.0001)
            assert len(messages(path.read_text())) == number + 1

    assert manager.run(body).error is None


def test_standard_output_gets_all_lines(capfd: pytest.CaptureFixture[str]) -> None:
    manager = TaskManager(loggers=[StdoutLogger(queued=True, log_lifecycle=True)])

    manager.run(log_many, 500)

    printed = messages(capfd.readouterr().out)
    assert printed == ["-- RUNNING", *(f"line {number}" for number in range(500)), "-- SUCCESS"]


def test_an_output_without_a_descriptor_gets_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    manager = TaskManager(loggers=[StdoutLogger(queued=True)])

    manager.run(log_many, 500)

    assert messages(output.getvalue()) == [f"line {number}" for number in range(500)]


def test_what_the_output_can_not_encode_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with open(writing, "w", encoding="ascii") as output, open(reading, "rb") as pipe:
        monkeypatch.setattr(sys, "stdout", output)
        TaskManager(loggers=[StdoutLogger(queued=True)]).run(lambda: task_log("caf\xe9 \ud800"))
        output.close()

        assert pipe.read().endswith(b" caf\\xe9 \\ud800\n")


def test_an_output_that_nobody_reads_any_more_is_an_error_a_line(
    monkeypatch: pytest.MonkeyPatch, reports: list[logging.LogRecord]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as output:
        monkeypatch.setattr(sys, "stdout", output)
        manager = TaskManager(loggers=[StdoutLogger(queued=True)])

        record = manager.run(log_many, 10)

    stats = manager.observer_stats()["StdoutLogger"]
    assert (record.status.value, stats.errors, stats.delivered) == ("success", 10, 0)
    assert stats.last_error is not None
    assert stats.last_error.startswith("BrokenPipeError")
    assert len(reports) == 1


class Listener(logging.Handler):
    """Has what is reported of observers."""

    def __init__(self, hears: Callable[[], None]) -> None:
        super().__init__()
        self.hears = hears

    def emit(self, record: logging.LogRecord) -> None:
        self.hears()


@contextlib.contextmanager
def full_output() -> Iterator[None]:
    """A standard output that takes nothing."""
    with open("/dev/full", "w", encoding="utf-8") as output, contextlib.redirect_stdout(output):
        yield


def test_an_error_is_reported_before_anyone_is_told_that_the_line_was_dealt_with() -> None:
    manager = TaskManager(loggers=[StdoutLogger(queued=True)])
    returned, heard = threading.Event(), []

    def hears() -> None:
        stats = manager.observer_stats()["StdoutLogger"]
        heard.append((returned.wait(0.2), stats.errors, stats.delivered, stats.queued))

    logging.getLogger("fastapi_taskflow.observers").addHandler(Listener(hears))
    with full_output():
        manager.run(task_log, "line")
    returned.set()

    assert heard == [(False, 1, 0, 0)]


def test_a_report_that_ends_the_thread_leaves_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: ended.set())
    manager = TaskManager(loggers=[StdoutLogger(queued=True)], drain_timeout=2 * PATIENCE)

    def hears() -> None:
        raise KeyboardInterrupt

    logging.getLogger("fastapi_taskflow.observers").addHandler(Listener(hears))
    start = time.monotonic()
    with full_output():
        for _ in range(2):
            manager.run(task_log, "line")

    assert time.monotonic() - start < PATIENCE
    assert manager.observer_stats()["StdoutLogger"].errors == 2
    assert ended.wait(PATIENCE)


def test_a_script_that_ends_says_how_much_was_lost_by_then() -> None:
    program = """
import logging
from fastapi_taskflow import StdoutLogger, TaskManager, task_log

logging.basicConfig()
manager = TaskManager(loggers=[StdoutLogger(queued=True)])
manager.run(lambda: [task_log("x") for _ in range(3000)])
"""
    with open("/dev/full", "w", encoding="utf-8") as output:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )

    told = [int(number) for number in re.findall(r"\((\d+) since the last report", done.stderr)]
    assert sum(told) == 3000
    assert "is closed; in all 3000 errors, the last one OSError" in done.stderr


@pytest.mark.parametrize("given", [1, 40], ids=["one event", "many"])
def test_a_report_counts_events(given: int, reports: list[logging.LogRecord]) -> None:
    ledger = Ledger("Some")

    ledger.drop("shutdown", ["info"] * given)
    ledger.settle()

    (report,) = reports
    assert f"lost events: shutdown ({given} since the last report" in report.getMessage()


def test_a_thread_that_is_stuck_is_waited_for_but_a_moment(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever logs lets a thread catch up that has half of a full queue before it."""
    begun = now = 1000.0

    def give_way(seconds: float) -> None:
        nonlocal now
        now += seconds

    def body() -> None:
        task_log("first")
        assert gate.entered.wait(PATIENCE)
        clock = SimpleNamespace(monotonic=lambda: now, sleep=time.sleep)
        monkeypatch.setattr(queued, "time", clock)
        monkeypatch.setattr(queued, "give_way", give_way)
        for number in range(QUEUE_SIZE):
            task_log(f"line {number}")
        gate.go_on.set()

    observer = FileLogger(tmp_path / "tasks.log", formatter=gate, queued=True)
    TaskManager(loggers=[observer]).run(body)

    assert begun < now <= begun + CATCH_UP


@pytest.mark.parametrize("make", [FileLogger, StdoutLogger], ids=lambda make: make.__name__)
def test_only_true_and_false_say_whether_it_is_queued(make: Any, tmp_path: Path) -> None:
    path = (tmp_path / "a.log",) if make is FileLogger else ()

    with pytest.raises(ConfigurationError, match=r"queued='yes'.*True, False"):
        make(*path, queued="yes")


def test_a_writer_that_hangs_holds_up_no_task_and_what_is_too_much_is_counted(
    tmp_path: Path, gate: Gate
) -> None:
    path = tmp_path / "tasks.log"
    observer = FileLogger(path, formatter=gate, queued=True, log_lifecycle=True)
    manager = TaskManager(loggers=[observer], drain_timeout=0.05)

    def body() -> None:
        task_log("first")
        assert gate.entered.wait(PATIENCE)
        for number in range(QUEUE_SIZE):
            task_log(f"line {number}")
        task_log("one too many", level="warning")
        task_log("one too many", level="error")
        task_log("one too many")

    record = manager.run(body)

    assert record.status.value == "success"
    stats = manager.observer_stats()["FileLogger"]
    lost = stats.dropped["overflow"]
    assert lost >= 3
    assert stats.dropped == {"overflow": lost}
    assert stats.dropped_by_level == {"info": lost - 2, "warning": 1, "error": 1}
    gate.go_on.set()
    asyncio.run(observer.close())
    lines = path.read_text().splitlines()
    assert len(lines) == QUEUE_SIZE + 6 - lost
    assert (lines[0], lines[1], lines[-1]) == ("-- RUNNING", "first", "-- SUCCESS")
    assert "one too many" not in lines


def test_what_waits_when_the_time_is_over_is_counted_as_lost_by_shutdown(
    tmp_path: Path, gate: Gate, reports: list[logging.LogRecord]
) -> None:
    observer = FileLogger(tmp_path / "tasks.log", formatter=gate, queued=True)
    manager = TaskManager(loggers=[observer], drain_timeout=0.05)
    manager.run(lambda: task_log("first"))
    assert gate.entered.wait(PATIENCE)
    manager.run(log_many, 7)

    asyncio.run(manager.shutdown())

    stats = manager.observer_stats()["FileLogger"]
    assert stats.dropped == {"shutdown": 7}
    assert stats.dropped_by_level == {"info": 7}
    assert [report.getMessage().split(" (")[0] for report in reports] == [
        "Observer FileLogger lost events: shutdown"
    ]


class Refusing(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        if record.getMessage() == "line 3":
            raise ValueError("not this one")
        return record.getMessage()


@pytest.mark.parametrize("sink", ["file", "stdout"])
def test_a_line_that_can_not_be_formatted_is_the_only_one_lost(
    sink: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tasks.log"
    observer: FileLogger | StdoutLogger = StdoutLogger(formatter=Refusing(), queued=True)
    if sink == "file":
        observer = FileLogger(path, formatter=Refusing(), queued=True)
    manager = TaskManager(loggers=[observer])

    manager.run(log_many, 6)

    written = path.read_text() if sink == "file" else capfd.readouterr().out
    assert written.split() == [part for n in (0, 1, 2, 4, 5) for part in ("line", str(n))]
    stats = manager.observer_stats()[type(observer).__name__]
    assert (stats.delivered, stats.errors) == (5, 1)


def test_filters_run_where_the_task_logs(tmp_path: Path) -> None:
    seen: list[tuple[str, Any]] = []

    def look(record: logging.LogRecord) -> bool:
        seen.append((threading.current_thread().name, get_task_context()))
        return record.getMessage() != "line 1"

    path = tmp_path / "tasks.log"
    observer = FileLogger(path, queued=True)
    observer.handler.addFilter(look)
    observer.handler.addFilter(TaskContextFilter())
    manager = TaskManager(loggers=[observer])

    async def body() -> None:
        log_many(3)

    manager.run(body)

    assert messages(path.read_text()) == ["line 0", "line 2"]
    names, contexts = zip(*seen, strict=True)
    assert set(names) == {threading.current_thread().name}
    assert [context.func_name for context in contexts] == ["body"] * 3
    assert manager.observer_stats()["FileLogger"].filtered == 3  # RUNNING and SUCCESS, too


def test_a_line_is_what_the_record_was_when_it_was_logged(tmp_path: Path) -> None:
    gate = Gate("%(message)s %(note)s")
    path = tmp_path / "tasks.log"

    def change(record: logging.LogRecord) -> bool:
        record.note = "changed"  # as a filter of another handler's may
        return True

    logger = logging.getLogger("fastapi_taskflow.task")
    handler = logging.NullHandler()
    later = logging.StreamHandler(io.StringIO())
    later.addFilter(change)
    logger.addHandler(handler)
    logger.addHandler(later)
    try:
        manager = TaskManager(loggers=[FileLogger(path, formatter=gate, queued=True)])

        def body() -> None:
            task_log("x", level="error", note="given")
            gate.go_on.set()

        manager.run(body)
    finally:
        logger.removeHandler(handler)
        logger.removeHandler(later)

    assert path.read_text() == "x given\n"


def test_a_line_is_what_the_record_was_whatever_the_next_observer_does_to_it(
    tmp_path: Path,
) -> None:
    gate = Gate("%(message)s %(note)s")
    path, next_one = tmp_path / "tasks.log", InMemoryLogger()

    def change(record: logging.LogRecord) -> bool:
        record.note = "changed"
        return True

    def body() -> None:
        task_log("x", note="given")
        gate.go_on.set()

    next_one.handler.addFilter(change)
    TaskManager(loggers=[FileLogger(path, formatter=gate, queued=True), next_one]).run(body)

    assert path.read_text() == "x given\n"


def test_an_observer_closed_by_hand_has_written_everything(
    tmp_path: Path, log_event: Callable[..., LogEvent]
) -> None:
    path = tmp_path / "tasks.log"
    observer = FileLogger(path, queued=True)

    async def use() -> None:
        await observer.startup()
        for number in range(100):
            await observer.on_log(log_event(f"line {number}"))
        await observer.on_log(log_event("too low", level="debug"))
        await observer.close()
        assert messages(path.read_text()) == [f"line {number}" for number in range(100)]
        await observer.on_log(log_event("again"))
        await observer.close()

    asyncio.run(use())

    assert messages(path.read_text())[100:] == ["again"]


def test_a_subclass_that_is_queued_writes_what_it_passes_on(tmp_path: Path) -> None:
    class Shouting(FileLogger):
        async def on_log(self, event: LogEvent) -> None:
            if event.message != "line 1":
                await super().on_log(event)

    path = tmp_path / "tasks.log"
    manager = TaskManager(loggers=[Shouting(path, queued=True)])

    manager.run(log_many, 3)
    asyncio.run(manager.shutdown())

    assert messages(path.read_text()) == ["line 0", "line 2"]


def threads_of(sink: str) -> list[threading.Thread]:
    name = f"fastapi_taskflow-{sink}"
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_the_thread_is_there_before_the_first_record_and_ends_at_shutdown(tmp_path: Path) -> None:
    """Python 3.12 starts none at exit, when the first record may come."""
    path = tmp_path / "tasks.log"
    manager = TaskManager(loggers=[FileLogger(path, queued=True)])
    before = set(threads_of("FileLogger"))

    async def use() -> None:
        async with manager:
            (thread,) = set(threads_of("FileLogger")) - before
            await manager.execute(log_many, 2)
            assert thread.is_alive()
        thread.join(PATIENCE)
        assert not thread.is_alive()

    for _ in range(2):
        asyncio.run(use())

    assert messages(path.read_text()) == ["line 0", "line 1"] * 2


def test_a_manager_that_nobody_has_any_more_leaves_no_thread_and_loses_no_line(
    tmp_path: Path, gate: Gate
) -> None:
    path = tmp_path / "tasks.log"
    before = set(threads_of("FileLogger"))
    manager = TaskManager(
        loggers=[FileLogger(path, formatter=gate, queued=True)], drain_timeout=0.0
    )
    manager.run(log_many, 5)
    (thread,) = set(threads_of("FileLogger")) - before

    del manager
    gc.collect()
    gate.go_on.set()

    deadline = time.monotonic() + PATIENCE
    while thread.is_alive():  # what ran the body may have had the manager's parts for a moment more
        assert time.monotonic() < deadline
        thread.join(0.05)
        gc.collect()
    assert path.read_text().splitlines() == [f"line {number}" for number in range(5)]


@contextlib.contextmanager
def no_thread_for(sink: str) -> Iterator[None]:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == f"fastapi_taskflow-{sink}":
            raise RuntimeError("can't start new thread")
        start(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        yield


def test_where_no_thread_can_be_had_lines_wait_for_one(tmp_path: Path) -> None:
    path = tmp_path / "tasks.log"
    manager = TaskManager(loggers=[FileLogger(path, queued=True)], drain_timeout=PATIENCE)

    with no_thread_for("FileLogger"):
        manager.run(log_many, 3)
        waiting = manager.observer_stats()["FileLogger"].queued, path.read_text()
    manager.run(log_many, 1)

    assert waiting == (3, "")
    assert messages(path.read_text()) == ["line 0", "line 1", "line 2", "line 0"]


def test_where_no_thread_can_be_had_what_waits_at_shutdown_is_counted_as_lost(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tasks.log"
    manager = TaskManager(loggers=[FileLogger(path, queued=True)], drain_timeout=PATIENCE)

    with no_thread_for("FileLogger"):
        manager.run(log_many, 3)
        asyncio.run(manager.shutdown())

    stats = manager.observer_stats()["FileLogger"]
    assert (stats.dropped, stats.queued, stats.delivered) == ({"shutdown": 3}, 0, 0)
    assert path.read_text() == ""


class Stuck(Gate):
    """Gets stuck at one line."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.at = at

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record) if record.getMessage() == self.at else record.getMessage()


@pytest.mark.parametrize("sink", ["file", "stdout"])
def test_what_was_not_begun_at_shutdown_is_counted_as_lost_and_not_written_later(
    sink: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, stuck = tmp_path / "tasks.log", Stuck("line 3")
    observer: FileLogger | StdoutLogger = StdoutLogger(formatter=stuck, queued=True)
    if sink == "file":
        observer = FileLogger(path, formatter=stuck, queued=True)
    name = type(observer).__name__
    manager = TaskManager(loggers=[observer], drain_timeout=0.05)
    manager.run(log_many, 900)
    assert stuck.entered.wait(PATIENCE)

    asyncio.run(manager.shutdown())

    stats = manager.observer_stats()[name]
    assert stats.dropped == {"shutdown": 896}
    assert stats.delivered + stats.queued == 4
    stuck.go_on.set()
    asyncio.run(observer.close())
    assert manager.observer_stats()[name].delivered == 4
    written = path.read_text() if sink == "file" else capfd.readouterr().out
    assert written.splitlines() == [f"line {number}" for number in range(4)]


def test_a_pipe_that_nobody_reads_has_one_write_in_hand_at_shutdown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    with open(writing, "w", encoding="utf-8") as output, open(reading, "rb") as pipe:
        monkeypatch.setattr(sys, "stdout", output)
        observer = StdoutLogger(queued=True, formatter=logging.Formatter())
        manager = TaskManager(loggers=[observer], drain_timeout=0.05)
        count = 3000

        def body() -> None:
            for number in range(count):
                task_log(f"{number:0999}")

        manager.run(body)
        asyncio.run(manager.shutdown())
        stats = manager.observer_stats()["StdoutLogger"]
        monkeypatch.undo()
        written = [int(pipe.readline()) for _ in range(stats.delivered + stats.queued)]

        assert stats.delivered + stats.queued + stats.dropped["shutdown"] == count
        assert stats.queued <= 5  # four in the write, and the one that was too much for it
        assert written == list(range(len(written)))
        asyncio.run(observer.close())


def test_two_managers_may_share_a_queued_observer(tmp_path: Path) -> None:
    path = tmp_path / "tasks.log"
    observer = FileLogger(path, queued=True)
    managers = [TaskManager(loggers=[observer]), TaskManager(loggers=[observer])]

    for manager in managers:
        manager.run(log_many, 50)
        asyncio.run(manager.shutdown())

    assert messages(path.read_text()) == [f"line {number}" for number in range(50)] * 2


RUNS_AWAY = """
import sys
from fastapi_taskflow import FileLogger, TaskManager, task_log

manager = TaskManager(loggers=[FileLogger(sys.argv[1], queued=True)])

def runs_away(depth=0):
    task_log(f"depth {depth}")
    runs_away(depth + 1)

def runs_away_from(offset):
    runs_away_from(offset - 1) if offset else runs_away()

ends = [manager.run(runs_away_from, offset).status.value for offset in range(6)]
print(*ends, manager.observer_stats()["FileLogger"].queued)
"""


def test_a_task_that_runs_away_and_logs_leaves_nobody_waiting(
    tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    done = run_python(RUNS_AWAY, str(tmp_path / "tasks.log"))

    assert done.stdout == "failed failed failed failed failed failed 0\n"
