"""A body in a worker process is told of as one in a thread is, and its result comes back."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import sys
import threading
import types
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from fastapi_taskflow import (
    InMemoryLogger,
    LogEvent,
    TaskContext,
    TaskManager,
    TaskObserver,
    TaskStatus,
)
from fastapi_taskflow.errors import ConfigurationError, TaskArgumentError


@pytest.fixture
def memory() -> InMemoryLogger:
    return InMemoryLogger()


@pytest.fixture
def manager(memory: InMemoryLogger) -> TaskManager:
    return TaskManager(loggers=[memory], max_processes=2)


def _run(manager: TaskManager, body: Any, *args: Any, **options: Any) -> Any:
    """Run a body once in a worker process, which is ended afterwards."""
    return _run_all(manager, [(body, args)], **options)[0]


def _run_all(manager: TaskManager, calls: list[tuple[Any, tuple[Any, ...]]], **options: Any) -> Any:
    for body, _ in calls:
        manager.task(**{"executor": "process", **options})(body)

    async def main() -> Any:
        async with manager:
            return [await manager.execute(body, *args) for body, args in calls]

    return asyncio.run(main())


VALUES = [
    None,
    b"\x00" * 200_000,
    {"a": [1, (2, None)], "when": datetime(2026, 1, 1, tzinfo=UTC)},
    UUID(int=7),
    Decimal("1.10"),
    "\ud800 __main__",
    sys.maxsize**3,
]


def test_values_go_to_a_worker_and_come_back(manager: TaskManager, bodies: Any) -> None:
    records = _run_all(manager, [(bodies.give, (value,)) for value in VALUES])

    assert [record.result for record in records] == VALUES


def _seen(events: list[LogEvent]) -> list[dict[str, Any]]:
    own = ("task_id", "timestamp")
    return [
        {name: value for name, value in dataclasses.asdict(event).items() if name not in own}
        for event in events
    ]


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record)


@pytest.fixture
def pipeline() -> list[logging.LogRecord]:
    """What the handlers of the process's own logging configuration get; undone after the test."""
    handler = _Records()
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel("INFO")
    return handler.seen


def test_entries_are_those_of_a_body_in_a_thread(
    bodies: Any, pipeline: list[logging.LogRecord]
) -> None:
    logging.getLogger("fastapi_taskflow").setLevel("DEBUG")
    seen, stored, places = [], [], []
    for executor in ("thread", "process"):
        memory = InMemoryLogger()
        manager = TaskManager(loggers=[memory])
        pipeline.clear()
        record = _run(manager, bodies.speaks, executor=executor)

        seen.append(_seen(memory.log_events))
        stored.append(
            [
                (entry.seq, entry.level, entry.message, entry.extra)
                for entry in manager.store.entries(record.task_id) or ()
            ]
        )
        places.append(
            [(r.name, r.getMessage(), r.pathname, r.lineno, r.funcName) for r in pipeline]
        )

    assert seen[0] == seen[1]
    assert stored[0] == stored[1]
    assert places[0] == places[1]
    assert len(places[0]) == 5  # three entries, two changes of the status


def test_a_record_says_when_and_in_what_process_it_was_made(
    manager: TaskManager, bodies: Any, pipeline: list[logging.LogRecord]
) -> None:
    before = datetime.now(UTC).timestamp()
    calls = [(bodies.speaks, ()), (bodies.pid, ())]
    worker = _run_all(manager, calls)[1].result

    entry = next(record for record in pipeline if record.getMessage() == "100 % two")
    assert entry.process == worker != os.getpid()
    assert before < entry.created < datetime.now(UTC).timestamp()
    assert entry.relativeCreated > 0
    created = [record.created for record in pipeline if "fastapi_taskflow.task" in record.name]
    assert created == sorted(created)


class _Answering(TaskObserver):
    """Answers a body's entry by a file, for which the body waits."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def on_log(self, event: LogEvent) -> None:
        self.path.touch()


def test_entries_come_while_the_body_runs(tmp_path: Path, bodies: Any) -> None:
    answer = tmp_path / "answer"
    manager = TaskManager(loggers=[_Answering(answer)])

    assert _run(manager, bodies.logs_and_waits, str(answer)).result == "seen"


@pytest.mark.parametrize("name", ["tells_context", "tells_context_in_a_thread"])
def test_the_context_is_there(manager: TaskManager, bodies: Any, name: str) -> None:
    body = getattr(bodies, name)
    manager.task(executor="process")(body)

    async def main() -> Any:
        async with manager:
            return await manager.execute(body, tags={"kind": "test"})

    record = asyncio.run(main())

    assert record.result == TaskContext(record.task_id, name, 0, {"kind": "test"})


def test_what_captured_loggers_say_is_captured_and_goes_on_once(
    memory: InMemoryLogger, bodies: Any, pipeline: list[logging.LogRecord]
) -> None:
    manager = TaskManager(loggers=[memory], capture_loggers=["process_bodies.captured"])

    _run(manager, bodies.captures)

    entries = [(event.level, event.message) for event in memory.log_events]
    assert entries == [
        ("info", "captured one"),
        ("warning", "odd an unpicklable thing"),
        ("error", "with a traceback"),
    ]
    extra = memory.log_events[0].extra
    assert extra == {
        "who": "bob",
        "odd": "an unpicklable thing",
        "logger_name": "process_bodies.captured",
    }
    heard = [record for record in pipeline if record.name == "process_bodies.captured"]
    assert [record.getMessage() for record in heard] == [message for _, message in entries]
    assert "ValueError: inside" in (heard[2].exc_text or "")


@pytest.mark.parametrize("everywhere", [True, False], ids=["manager's", "function's"])
def test_prints_become_entries(memory: InMemoryLogger, bodies: Any, everywhere: bool) -> None:
    manager = TaskManager(loggers=[memory], log_prints=everywhere)

    _run(manager, bodies.prints, log_prints=None if everywhere else True)

    messages = [event.message for event in memory.log_events]
    assert messages == ["printed", "in two lines", "and a rest"]


def test_secrets_stay_in_the_worker(bodies: Any, pipeline: list[logging.LogRecord]) -> None:
    memory = InMemoryLogger()
    manager = TaskManager(
        loggers=[memory],
        redact=["api_key", "password"],
        capture_loggers=["process_bodies.captured"],
    )

    record = _run(manager, bodies.tells_secrets)

    assert record.status is TaskStatus.FAILED
    assert len(memory.log_events) == 2
    told = [event.message + str(event.extra) for event in memory.log_events]
    ours = [r.getMessage() + str(vars(r)) for r in pipeline if r.name.startswith("fastapi_")]
    texts = [*told, *ours, record.error, record.stacktrace, *record.logs]
    assert not [text for text in texts if bodies.TOKEN in text]
    assert "tells_secrets" in record.stacktrace


def test_a_limit_on_entries_holds(memory: InMemoryLogger, bodies: Any) -> None:
    _run(TaskManager(loggers=[memory], log_limit=3), bodies.floods, 10)

    messages = [event.message for event in memory.log_events]
    assert messages[:3] == ["line 0", "line 1", "line 2"]
    assert len(messages) == 4
    assert messages[3].startswith("7 more suppressed from process_bodies.py:")


def test_a_level_on_the_tree_filters_at_the_source(
    manager: TaskManager, memory: InMemoryLogger, bodies: Any
) -> None:
    logging.getLogger("fastapi_taskflow.task.speaks").setLevel("INFO")

    _run(manager, bodies.speaks)

    assert [event.message for event in memory.log_events] == ["100 % two", "three"]


def test_what_the_library_reports_in_a_worker_is_heard(
    manager: TaskManager, memory: InMemoryLogger, bodies: Any, pipeline: list[logging.LogRecord]
) -> None:
    _run(manager, bodies.logs_at_no_level)

    assert [(event.level, event.message) for event in memory.log_events] == [("info", "kept")]
    reports = [r.getMessage() for r in pipeline if r.name == "fastapi_taskflow.execution"]
    assert len(reports) == 1
    assert reports[0].startswith("task_log(level='bogus'): no such level")


def test_an_extra_that_cannot_be_sent_becomes_text(
    manager: TaskManager, memory: InMemoryLogger, bodies: Any
) -> None:
    record = _run(manager, bodies.odd_extras)

    extra = memory.log_events[0].extra
    assert record.status is TaskStatus.SUCCESS
    assert extra["thing"] == "an unpicklable thing"
    assert extra["nested"]["fine"] == [1]
    assert extra["nested"]["lock"][0].startswith("<unlocked _thread.lock")
    assert extra["unreadable"].startswith("<unreadable: ValueError")


def test_an_error_comes_back_with_its_class_and_traceback(
    manager: TaskManager, memory: InMemoryLogger, bodies: Any, pipeline: list[logging.LogRecord]
) -> None:
    record = _run(manager, bodies.fails_with_cause)

    event = memory.lifecycle_events[-1]
    assert (record.status, event.error) == (TaskStatus.FAILED, "config.toml is wrong in line 7")
    lines = record.stacktrace.splitlines()
    assert event.stacktrace == record.stacktrace
    assert "process_bodies.py" in lines[1]
    assert any(line.startswith("FileNotFoundError: ") for line in lines)
    assert lines[-1] == "process_bodies.TwoFactError: config.toml is wrong in line 7"
    failed = pipeline[-1]
    assert failed.exc_info is not None
    assert failed.exc_info[0] is bodies.TwoFactError
    assert failed.exc_text == record.stacktrace.rstrip("\n")


@pytest.mark.parametrize(("kind", "retries"), [("TwoFactError", 1), (ValueError, 1), (OSError, 0)])
def test_an_error_is_retried_by_its_class(
    manager: TaskManager, bodies: Any, kind: Any, retries: int
) -> None:
    retry_on = getattr(bodies, kind) if isinstance(kind, str) else kind

    record = _run(manager, bodies.fails_with_cause, retries=1, retry_on=retry_on)

    assert record.retries_used == retries


def test_an_error_that_cannot_be_sent_has_a_stand_in(manager: TaskManager, bodies: Any) -> None:
    record = _run(manager, bodies.fails_with_a_class_of_its_own, retries=1)

    assert (record.status, record.retries_used) == (TaskStatus.FAILED, 1)
    assert record.error.startswith("(<unlocked _thread.lock")
    assert "LocalError" in record.stacktrace


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("exits", "enough"),
        ("gives_a_lock", "what gives_a_lock returned can't be sent back from its worker process"),
        ("gives_what_is_unreadable", "what gives_what_is_unreadable returned can't be sent back"),
    ],
)
def test_what_is_no_result_fails_the_task(
    manager: TaskManager, bodies: Any, name: str, error: str
) -> None:
    record = _run(manager, getattr(bodies, name))

    assert record.status is TaskStatus.FAILED
    assert record.error.startswith(error)


def test_an_argument_that_cannot_be_sent_is_named_at_once(
    manager: TaskManager, bodies: Any
) -> None:
    manager.task(executor="process")(bodies.give)

    with pytest.raises(TaskArgumentError, match=r"argument 'value' \(lock\) can't be sent"):
        manager.run(bodies.give, threading.Lock())
    assert not any(manager.store.totals().by_status.values())


def test_a_function_that_cannot_be_sent_is_an_error_at_once(
    manager: TaskManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)  # as if it was not installed
    body: Callable[[], int] = lambda: 7  # noqa: E731  # that is the point
    manager.task(executor="process", name="seven")(body)

    with pytest.raises(TaskArgumentError, match="can't enqueue seven: a worker process can't find"):
        manager.run(body)


def test_with_cloudpickle_a_closure_is_a_body(manager: TaskManager) -> None:
    pytest.importorskip("cloudpickle")
    number = 7

    assert _run(manager, lambda: number).result == 7


def test_a_module_that_a_worker_cannot_import_fails_the_task(
    manager: TaskManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("made_by_hand")
    exec("def body(): pass", vars(module))
    monkeypatch.setitem(sys.modules, "made_by_hand", module)

    record = _run(manager, module.body)

    assert record.status is TaskStatus.FAILED
    assert record.error.startswith(
        "a worker process can't load body and its arguments: ModuleNotFoundError: No module named"
    )


def test_a_thread_that_a_body_left_behind_still_logs(
    tmp_path: Path, bodies: Any, wait_until: Any
) -> None:
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[memory])
    for body in (bodies.leaves_a_thread, bodies.pid):
        manager.task(executor="process")(body)

    async def main() -> None:
        async with manager:
            await manager.execute(bodies.leaves_a_thread, str(tmp_path / "go"))
            await manager.execute(bodies.pid)
            (tmp_path / "go").touch()
            await asyncio.to_thread(wait_until, lambda: len(memory.log_events) == 1)

    asyncio.run(main())

    assert memory.log_events[0].func_name == "leaves_a_thread"


def test_records_have_the_ids_of_the_tasks_span(manager: TaskManager, bodies: Any) -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    records = _Records()
    logging.getLogger("fastapi_taskflow").addHandler(records)
    logging.getLogger("fastapi_taskflow").setLevel("INFO")
    context = trace.SpanContext(7, 8, is_remote=False, trace_flags=trace.TraceFlags(1))

    with trace.use_span(trace.NonRecordingSpan(context)):
        record = _run(manager, bodies.tells_trace)

    ids = (f"{7:032x}", f"{8:016x}")
    traced = [vars(each) for each in records.seen if each.getMessage() == "traced"]
    assert [(each["trace_id"], each["span_id"]) for each in traced] == [ids]
    assert record.result in (ids, ("0" * 32, "0" * 16))


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "two"])
def test_a_wrong_number_of_processes_is_refused(number: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_processes="):
        TaskManager(max_processes=number)
