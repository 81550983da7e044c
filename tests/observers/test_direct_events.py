"""Events handed to a built-in observer directly do what a task's record does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
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
    task_log,
)

LogMaker = Callable[..., LogEvent]
StatusMaker = Callable[..., LifecycleEvent]
Event = LogEvent | LifecycleEvent
START = "[abc12345] [send_email] 2026-01-01T12:00:00 "


async def tell(observer: TaskObserver, *events: Event) -> None:
    for event in events:
        if isinstance(event, LogEvent):
            await observer.on_log(event)
        else:
            await observer.on_lifecycle(event)
    await observer.close()


@pytest.mark.parametrize("mode", ["rotate", "watched"])
def test_a_file_logger_has_all_of_it_on_disk_after_close(
    tmp_path: Path, log_event: LogMaker, status_event: StatusMaker, mode: str
) -> None:
    path = tmp_path / "logs" / "tasks.log"
    observer = FileLogger(path, mode=mode, log_lifecycle=True)
    events: list[Event] = [status_event("running"), log_event("one\ntwo"), status_event("success")]

    asyncio.run(tell(observer, *events))

    texts = ["-- RUNNING", r"one\ntwo", "-- SUCCESS"]
    assert path.read_text() == "".join(f"{START}{text}\n" for text in texts)


def test_a_stdout_logger_prints_it(
    capsys: pytest.CaptureFixture[str], log_event: LogMaker, status_event: StatusMaker
) -> None:
    asyncio.run(tell(StdoutLogger(log_lifecycle=True), status_event("failed"), log_event("hello")))

    assert capsys.readouterr().out == f"{START}-- FAILED\n{START}hello\n"


def test_a_memory_logger_keeps_it_as_it_is(log_event: LogMaker, status_event: StatusMaker) -> None:
    memory = InMemoryLogger()
    extra: dict[str, Any] = {
        "name": "bob",
        "args": (1,),
        "msg": None,
        "seq": "mine",
        "extra_name": "x",
        "a": [],
    }
    entry = log_event("100% %s", level="critical", attempt=2, tags={"a": "b"}, extra=extra, seq=9)
    ends = {"duration": 1.5, "error": "no", "stacktrace": "Traceback", "tags": {"a": "b"}}
    status = status_event("failed", attempt=3, retries_used=3, seq=10, **ends)

    asyncio.run(tell(memory, entry, status))

    assert memory.log_events == [entry]
    assert memory.lifecycle_events == [status]


@pytest.mark.parametrize("microsecond", [0, 1, 123_457, 999_999])
def test_the_time_of_an_event_is_kept_to_the_microsecond(
    log_event: LogMaker, microsecond: int
) -> None:
    memory = InMemoryLogger()
    event = log_event()
    moment = event.timestamp.replace(microsecond=microsecond)

    asyncio.run(tell(memory, log_event(timestamp=moment)))

    assert memory.log_events[0].timestamp == moment
    assert memory.log_events[0].timestamp.utcoffset() == event.timestamp.utcoffset()


def test_levels_and_status_changes_are_filtered_as_records_are(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    log_event: LogMaker,
    status_event: StatusMaker,
) -> None:
    file = FileLogger(tmp_path / "tasks.log", min_level="warning", log_lifecycle=True)
    stdout, memory = StdoutLogger(), InMemoryLogger(min_level="error")
    levels = [log_event(level, level=level) for level in ("debug", "info", "warning", "error")]
    names = ["running", "success", "cancelled", "interrupted", "failed"]
    statuses = [status_event(name) for name in names]

    for observer in (file, stdout, memory):
        asyncio.run(tell(observer, *levels, *statuses))

    lines = (tmp_path / "tasks.log").read_text().splitlines()
    texts = ["warning", "error", "-- INTERRUPTED", "-- FAILED"]
    assert [line.removeprefix(START) for line in lines] == texts
    printed = capsys.readouterr().out.splitlines()
    assert [line.removeprefix(START) for line in printed] == ["info", "warning", "error"]
    assert [event.message for event in memory.log_events] == ["error"]
    assert [event.status.value for event in memory.lifecycle_events] == names


def test_a_direct_event_has_the_json_line_of_its_record(tmp_path: Path) -> None:
    by_record, by_event = tmp_path / "record.log", tmp_path / "event.log"
    memory = InMemoryLogger()
    options: dict[str, Any] = {"formatter": "json", "log_lifecycle": True, "min_level": "debug"}
    manager = TaskManager(loggers=[FileLogger(by_record, **options), memory])

    @manager.task(retries=1)
    async def fail() -> None:
        task_log("hello", level="debug", name="bob", amount=9.5)
        raise ValueError("no")

    manager.run(fail, tags={"a": "b"})
    events: list[Event] = sorted(
        [*memory.log_events, *memory.lifecycle_events], key=lambda event: event.seq
    )

    asyncio.run(tell(FileLogger(by_event, **options), *events))

    lines = by_record.read_text().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [0, 1, 2, 3]
    assert by_event.read_text().splitlines() == lines


class Composite(TaskObserver):
    """Sends important entries to one observer and everything to another."""

    def __init__(self, important: TaskObserver, everything: TaskObserver) -> None:
        self.important = important
        self.everything = everything

    async def on_log(self, event: LogEvent) -> None:
        if event.level == "error":
            await self.important.on_log(event)
        await self.everything.on_log(event)

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        await self.everything.on_lifecycle(event)

    async def startup(self) -> None:
        await self.important.startup()
        await self.everything.startup()

    async def close(self) -> None:
        await self.important.close()
        await self.everything.close()


async def two_levels() -> None:
    task_log("fine")
    task_log("look", level="error")


def test_a_composite_of_built_ins_writes_through_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "logs" / "important.log"

    async def main() -> None:
        composite = Composite(FileLogger(path), StdoutLogger(log_lifecycle=True))
        async with TaskManager(loggers=[composite]) as manager:
            assert path.read_text() == ""
            await manager.execute(two_levels)

    asyncio.run(main())

    assert [line.split(" ", 3)[3] for line in path.read_text().splitlines()] == ["look"]
    printed = [line.split(" ", 3)[3] for line in capsys.readouterr().out.splitlines()]
    assert printed == ["-- RUNNING", "fine", "look", "-- SUCCESS"]


def test_a_part_of_a_composite_that_fails_is_the_composites_error() -> None:
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[Composite(FileLogger("/dev/full"), memory)])

    record = manager.run(two_levels)

    assert record.status == "success"
    assert [event.message for event in memory.log_events] == ["fine"]
    stats = manager.observer_stats()["Composite"]
    assert (stats.errors, stats.delivered) == (1, 3)
    assert "No space left" in str(stats.last_error)
