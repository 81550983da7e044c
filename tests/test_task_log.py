"""The birth of a record: its attributes, its caller, its time, and what can't go wrong."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time

from fastapi_taskflow import FileLogger, InMemoryLogger, TaskManager, get_task_context, task_log
from fastapi_taskflow.loggers import birth


@pytest.fixture
def memory() -> InMemoryLogger:
    return InMemoryLogger()


@pytest.fixture
def manager(memory: InMemoryLogger) -> TaskManager:
    return TaskManager(loggers=[memory])


def test_a_record_carries_the_task_as_plain_attributes(
    manager: TaskManager, records: list[logging.LogRecord]
) -> None:
    def send() -> None:
        task_log("100 % sent %s", user="ada")

    task = manager.run(send, tags={"kind": "mail"})

    _, entry, end = records
    assert entry.name == "fastapi_taskflow.task.send"
    assert (entry.getMessage(), entry.args, entry.levelno) == ("100 % sent %s", (), logging.INFO)
    attributes = vars(entry)
    wanted = {"task_id": task.task_id, "func_name": "send", "attempt": 0, "seq": 1, "user": "ada"}
    assert attributes.items() >= {**wanted, "tags": {"kind": "mail"}}.items()
    assert vars(end)["status"] == "success"
    assert vars(end)["duration"] == task.duration


TAKEN: dict[str, Any] = {
    "name": "bob",
    "args": 1,
    "msg": 2,
    "message": 3,
    "asctime": 4,
    "taskName": 5,
    "getMessage": 6,
    "__class__": 7,
    "__dict__": 8,
    "task_id": 9,
    "status": 10,
    "stacktrace": 11,
    "exc_info": 12,
    "self": 13,
}


def test_extras_whose_names_are_taken_get_a_prefix_and_the_event_keeps_them(
    manager: TaskManager, memory: InMemoryLogger, records: list[logging.LogRecord]
) -> None:
    def body() -> None:
        task_log("x", **TAKEN)

    task = manager.run(body)

    assert task.status == "success"
    assert memory.log_events[0].extra == TAKEN
    attributes = vars(records[1])
    assert attributes["name"] == "fastapi_taskflow.task.body"
    assert {name: attributes["extra_" + name] for name in TAKEN if name != "self"} == {
        name: value for name, value in TAKEN.items() if name != "self"
    }


def test_the_place_of_a_record_is_that_of_its_caller(
    manager: TaskManager, records: list[logging.LogRecord]
) -> None:
    def body() -> None:
        task_log("here")

    manager.run(body)

    assert records[1].pathname == __file__
    assert records[1].funcName == "body"
    assert records[1].lineno == inspect.getsourcelines(body)[1] + 1


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("message", "level", "text"),
    [
        (Unprintable(), "info", "<unprintable Unprintable: RuntimeError>"),
        ("kept", "bogus", "kept"),
        ("kept", Unprintable(), "kept"),
        ("kept", None, "kept"),
        ("kept", 12345, "kept"),
        ("kept", [], "kept"),
        (None, "INFO", "None"),
    ],
    ids=["message", "level name", "level object", "None", "number", "unhashable", "message None"],
)
def test_whatever_it_is_given_task_log_keeps_an_entry_and_never_raises(
    manager: TaskManager, memory: InMemoryLogger, message: object, level: Any, text: str
) -> None:
    def body() -> None:
        task_log(message, level=level)

    task = manager.run(body)

    assert task.status == "success"
    assert [(event.message, event.level) for event in memory.log_events] == [(text, "info")]


def test_a_level_that_is_none_is_warned_of_once(
    manager: TaskManager, caplog: pytest.LogCaptureFixture
) -> None:
    def body() -> None:
        for _ in range(3):
            task_log("x", level="shouting")

    manager.run(body)

    warnings = [r for r in caplog.records if r.name == "fastapi_taskflow.execution"]
    assert len(warnings) == 1
    assert "debug, info, warning, error, critical" in warnings[0].getMessage()


def test_a_record_factory_that_fails_costs_no_line(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    def broken(*args: Any, **kwargs: Any) -> logging.LogRecord:
        raise OSError("factory")

    def body() -> None:
        logging.setLogRecordFactory(broken)  # noqa: TID251  # a user's
        task_log("x")

    task = manager.run(body)

    assert task.status == "success"
    assert [event.message for event in memory.log_events] == ["x"]
    assert [event.status.value for event in memory.lifecycle_events] == ["running", "success"]


def test_a_record_factory_that_forgets_to_return_costs_no_line_and_is_reported_once(
    manager: TaskManager,
    memory: InMemoryLogger,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(birth, "_reported", set())

    def forgetful(*args: Any, **kwargs: Any) -> Any:
        logging.LogRecord(*args, **kwargs).shop = "north"

    def body() -> None:
        logging.setLogRecordFactory(forgetful)  # noqa: TID251  # a user's
        task_log("x", name="bob")
        task_log("y")

    task = manager.run(body)

    assert task.status == "success"
    assert [(event.message, event.extra) for event in memory.log_events] == [
        ("x", {"name": "bob"}),
        ("y", {}),
    ]
    assert [event.status.value for event in memory.lifecycle_events] == ["running", "success"]
    (report,) = [r for r in caplog.records if "record factory failed" in r.getMessage()]
    assert report.exc_info is not None
    assert "no LogRecord, but None" in str(report.exc_info[1])


@pytest.mark.parametrize(
    ("redact", "password"), [(None, "secret"), (["password"], "[redacted]")], ids=["", "redacted"]
)
def test_a_record_that_lets_nobody_set_an_attribute_is_sent_and_its_task_runs(
    tmp_path: Path, redact: list[str] | None, password: str
) -> None:
    class Shut(logging.LogRecord):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.__dict__["is_shut"] = True

        def __setattr__(self, name: str, value: object) -> None:
            if "is_shut" in self.__dict__:
                raise AttributeError(name)
            super().__setattr__(name, value)

    path, memory = tmp_path / "tasks.log", InMemoryLogger()
    manager = TaskManager(loggers=[memory, FileLogger(path, queued=True)], redact=redact)
    logging.setLogRecordFactory(Shut)  # noqa: TID251  # a user's

    task = manager.run(lambda: task_log("x", password="secret", name="bob"))

    assert task.status == "success"
    assert [event.status.value for event in memory.lifecycle_events] == ["running", "success"]
    assert memory.log_events[0].extra == {"password": password, "name": "bob"}
    assert path.read_text().endswith(" x\n")


def test_a_record_factory_of_the_users_is_honoured(
    manager: TaskManager, memory: InMemoryLogger, records: list[logging.LogRecord]
) -> None:
    class Marked(logging.LogRecord):
        marked = True

    logging.setLogRecordFactory(Marked)  # noqa: TID251  # a user's

    manager.run(lambda: task_log("x", name="bob"))

    assert all(isinstance(record, Marked) for record in records)
    assert memory.log_events[0].extra == {"name": "bob"}


class Echoing(logging.LogRecord):
    """Logs, once, when somebody reads its message."""

    said = False

    def getMessage(self) -> str:
        if self.msg == "outer" and not Echoing.said:
            Echoing.said = True
            task_log("inner")
        return super().getMessage()


class Numbered(logging.LogRecord):
    """Has attributes of its own where a task's record has others."""

    seq = property(lambda self: -1)
    task_id = property(lambda self: "mine")


@pytest.mark.parametrize(
    ("factory", "expected"),
    [(Echoing, ["outer", "inner", "last"]), (Numbered, ["outer", "last"])],
    ids=["one that logs", "one with a number of its own"],
)
def test_whatever_the_users_record_does_events_are_kept_and_sent_in_order(
    manager: TaskManager, memory: InMemoryLogger, factory: Any, expected: list[str]
) -> None:
    def body() -> None:
        task_log("outer")
        task_log("last")

    Echoing.said = False
    logging.setLogRecordFactory(factory)  # noqa: TID251  # a user's
    task = manager.run(body)

    assert task.status == "success"
    assert [event.message for event in memory.log_events] == expected
    assert [event.seq for event in memory.log_events] == list(range(1, len(expected) + 1))
    assert [line.split(" ", 1)[1] for line in task.logs] == expected
    assert [event.status.value for event in memory.lifecycle_events] == ["running", "success"]


def test_containers_are_as_they_were_when_logged(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    def body() -> None:
        rows: list[Any] = [{"n": 1}]
        cycle: list[Any] = []
        cycle.append(cycle)
        task_log("x", rows=rows, cycle=cycle)
        rows[0]["n"] = 2
        rows.append(3)

    manager.run(body)

    extra = memory.log_events[0].extra
    assert extra["rows"] == [{"n": 1}]
    assert extra["cycle"][0] is extra["cycle"]


def test_outside_a_task_it_is_a_plain_record(records: list[logging.LogRecord]) -> None:
    task_log("alone", user="ada")

    (record,) = records
    assert record.name == "fastapi_taskflow.task"
    assert not hasattr(record, "task_id")
    assert vars(record)["user"] == "ada"
    assert get_task_context() is None


@pytest.mark.parametrize("kind", ["sync", "async"])
@freeze_time("2026-01-01 12:00:00", real_asyncio=True)
def test_all_times_of_a_task_are_the_frozen_clocks(
    manager: TaskManager, memory: InMemoryLogger, kind: str
) -> None:
    def sync_body() -> None:
        task_log("x")

    async def async_body() -> None:
        task_log("x")

    record = manager.run(sync_body if kind == "sync" else async_body)

    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert {event.timestamp for event in memory.log_events} == {noon}
    assert {event.timestamp for event in memory.lifecycle_events} == {noon}
    assert {record.created_at, record.start_time, record.end_time} == {noon}
    assert record.logs == ["2026-01-01T12:00:00Z x"]


def test_one_tasks_events_are_in_order_whatever_threads_they_come_from(
    manager: TaskManager, memory: InMemoryLogger
) -> None:
    barrier = threading.Barrier(4)

    def burst(name: int) -> None:
        barrier.wait()
        for n in range(200):
            task_log(f"{name}.{n}")

    def body() -> None:
        with ThreadPoolExecutor(4) as pool:
            for name in range(4):
                pool.submit(copy_context().run, burst, name)

    manager.run(body)

    assert [event.seq for event in memory.log_events] == list(range(1, 801))
    # Between threads, the number is what orders: the time is read before a record's turn comes.
    for name in range(4):
        own = [event for event in memory.log_events if event.message.startswith(f"{name}.")]
        assert own == sorted(own, key=lambda event: (event.timestamp, event.seq))


def test_the_context_is_right_in_children_and_threads(manager: TaskManager) -> None:
    seen: list[str] = []

    def note() -> None:
        context = get_task_context()
        seen.append("none" if context is None else context.task_id)

    async def child() -> None:
        await asyncio.sleep(0)
        note()

    async def body() -> None:
        await asyncio.gather(child(), child(), asyncio.to_thread(note))

    task = manager.run(body)

    assert seen == [task.task_id] * 3
