"""Beside the OpenTelemetry SDK: spans, ids on records, and records as its own log records."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.testclient import TestClient
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler, export
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fastapi_taskflow import (
    FileLogger,
    InMemoryLogger,
    ManagedBackgroundTasks,
    TaskAdmin,
    TaskContextFilter,
    TaskManager,
    task_log,
)

Spans = Callable[[], list[ReadableSpan]]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """The spans that have ended since the test began."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # In public, the global provider can be set once, and never be taken back.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return lambda: list(exporter.get_finished_spans())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def logged(tmp_path: Path) -> TaskManager:
    file = FileLogger(tmp_path / "tasks.json", formatter="json", log_lifecycle=True)
    return TaskManager(loggers=[file])


def note() -> None:
    task_log("noted", trace_id="mine")


def fail() -> None:
    raise LookupError("nothing there")


def test_records_carry_the_ids_of_the_current_span(tmp_path: Path, spans: Spans) -> None:
    manager = logged(tmp_path)

    manager.run(note)

    (span,) = spans()
    context = span.context
    assert context is not None
    ids = {f"{context.trace_id:032x} {context.span_id:016x}"}
    assert {
        f"{line['trace_id']} {line['span_id']}" for line in lines(tmp_path / "tasks.json")
    } == ids
    assert lines(tmp_path / "tasks.json")[1]["extra_trace_id"] == "mine"


def test_without_a_span_there_are_no_ids(tmp_path: Path, run_python: Any) -> None:
    program = """
import sys
from fastapi_taskflow import FileLogger, TaskManager, task_log
TaskManager(loggers=[FileLogger(sys.argv[1], formatter="json")]).run(lambda: task_log("hi"))
"""

    done = run_python(program, str(tmp_path / "tasks.json"))

    assert done.returncode == 0, done.stderr
    assert "trace_id" not in lines(tmp_path / "tasks.json")[0]


def test_a_tasks_span_links_to_the_one_it_was_enqueued_in(spans: Spans) -> None:
    tracer = trace.get_tracer("test")

    with tracer.start_as_current_span("request") as request:
        record = TaskManager().run(note)

    task, _ = spans()
    assert task.name == "task note"
    assert task.attributes == {
        "fastapi_taskflow.task_id": record.task_id,
        "fastapi_taskflow.func_name": "note",
    }
    assert [link.context for link in task.links] == [request.get_span_context()]


def test_a_failed_tasks_span_says_so(spans: Spans) -> None:
    manager = TaskManager()
    manager.task(retries=1)(fail)

    record = manager.run(fail)

    (span,) = spans()
    (event,) = span.events
    assert (span.status.status_code, span.status.description) == (
        trace.StatusCode.ERROR,
        "nothing there",
    )
    assert event.attributes == {
        "exception.type": "builtins.LookupError",
        "exception.message": "nothing there",
        "exception.stacktrace": record.stacktrace,
    }


@pytest.mark.parametrize("auto_install", [False, True], ids=["get_tasks", "auto_install"])
def test_in_an_app_each_task_has_one_span_with_a_link_into_its_request(
    auto_install: bool, spans: Spans
) -> None:
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[memory])
    app = FastAPI()
    TaskAdmin(app, manager, auto_install=auto_install)
    injected: Any = (
        BackgroundTasks
        if auto_install
        else Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]
    )

    async def endpoint(tasks: Any) -> None:
        tasks.add_task(note)
        tasks.add_task(fail)

    endpoint.__annotations__["tasks"] = injected
    app.post("/")(endpoint)

    with TestClient(app) as client, trace.get_tracer("test").start_as_current_span("client"):
        client.post("/")

    ended = {span.context.span_id: span for span in spans() if span.context is not None}
    tasks = [
        span for span in ended.values() if "fastapi_taskflow.task_id" in (span.attributes or {})
    ]
    ids = [(span.attributes or {})["fastapi_taskflow.task_id"] for span in tasks]
    assert ids == [event.task_id for event in memory.lifecycle_events[::2]]
    names = [span.name for span in ended.values()]
    assert sum("task" in name for name in names) == 2, names
    for span in tasks:
        (link,) = span.links
        assert span.context is not None
        assert link.context.trace_id == span.context.trace_id
        assert link.context.span_id != span.context.span_id


@pytest.mark.parametrize("step", ["on_start", "on_end"])
def test_a_broken_span_processor_is_no_tasks_business(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no exporter")

    processor = SpanProcessor()
    monkeypatch.setattr(processor, step, broken)
    provider = TracerProvider()
    provider.add_span_processor(processor)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    manager = TaskManager()

    succeeded, failed = manager.run(lambda: 5), manager.run(fail)

    assert (succeeded.status.value, succeeded.result) == ("success", 5)
    assert (failed.status.value, failed.error) == ("failed", "nothing there")


LogRecords = Callable[[], list[Any]]


@pytest.fixture
def log_handler() -> Iterator[tuple[logging.Handler, LogRecords]]:
    """The SDK's handler, and a way to read the records of tasks that it has exported."""
    memory: Any = getattr(export, "InMemoryLogRecordExporter", None) or export.InMemoryLogExporter
    exporter, provider = memory(), LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(export.SimpleLogRecordProcessor(exporter))
    with warnings.catch_warnings():
        # Later SDKs want the one of opentelemetry-instrumentation-logging, which old ones lack.
        warnings.filterwarnings("ignore", ".*LoggingHandler", DeprecationWarning)
        handler = LoggingHandler(logger_provider=provider)

    def of_tasks() -> list[Any]:
        records = [each.log_record for each in exporter.get_finished_logs()]
        return [record for record in records if "seq" in record.attributes]

    yield handler, of_tasks

    provider.shutdown()


@pytest.mark.parametrize("place", ["root", "observers"])
def test_entries_and_statuses_are_log_records_of_their_spans(
    place: str, spans: Spans, log_handler: tuple[logging.Handler, LogRecords]
) -> None:
    """As an observer the handler works in a thread of its own: the span must be there as well."""

    def charge() -> None:
        with trace.get_tracer("test").start_as_current_span("inner"):
            task_log("100% charged", level="warning", user="ada")
        fail()

    handler, log_records = log_handler
    if place == "root":
        logging.getLogger().addHandler(handler)
    logging.getLogger("fastapi_taskflow").setLevel("INFO")
    manager = TaskManager(loggers=[handler] if place == "observers" else [])

    task = manager.run(charge, tags={"kind": "card"})

    records = log_records()
    assert [record.body for record in records] == ["-- RUNNING", "100% charged", "-- FAILED"]
    assert [record.severity_text for record in records] == ["INFO", "WARN", "ERROR"]
    assert [record.severity_number.name for record in records] == ["INFO", "WARN", "ERROR"]
    inner, outer = [span.context for span in spans()]
    assert inner is not None
    assert outer is not None
    ids = [(context.trace_id, context.span_id) for context in (outer, inner, outer)]
    assert [(record.trace_id, record.span_id) for record in records] == ids
    context = {"task_id": task.task_id, "func_name": "charge", "attempt": 0}
    for seq, record in enumerate(records):
        assert record.attributes.items() >= {**context, "seq": seq}.items()
        # SDKs that take no mapping as an attribute leave it out.
        assert record.attributes.get("tags") in ({"kind": "card"}, None)
    assert records[1].attributes["user"] == "ada"
    failed = records[2].attributes
    assert (failed["status"], failed["error"]) == ("failed", "nothing there")
    assert (failed["exception.type"], failed["exception.message"]) == (
        "LookupError",
        "nothing there",
    )
    assert failed["exception.stacktrace"].endswith("LookupError: nothing there\n")


class BrokenSpan(trace.NonRecordingSpan):
    def get_span_context(self) -> trace.SpanContext:
        raise RuntimeError("no context")


@pytest.mark.usefixtures("spans")
def test_a_broken_span_costs_no_line_no_print_and_no_task() -> None:
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[memory], log_prints=True)

    def body() -> None:
        with trace.use_span(BrokenSpan(trace.INVALID_SPAN_CONTEXT)):
            task_log("logged")
            print("printed")

    with trace.use_span(BrokenSpan(trace.INVALID_SPAN_CONTEXT)):
        record = manager.run(body)

    assert record.status == "success"
    assert [event.message for event in memory.log_events] == ["logged", "printed"]


def test_a_task_within_a_task_has_a_span_of_its_own(spans: Spans) -> None:
    manager = TaskManager()

    async def outer() -> None:
        await manager.execute(fail)

    with trace.get_tracer("fastapi").start_as_current_span("fastapi.background_task"):
        asyncio.run(manager.execute(outer))

    inner, background = spans()
    assert inner.name == "task fail"
    assert background.attributes is not None
    assert background.attributes["fastapi_taskflow.func_name"] == "outer"
    assert background.status.status_code is not trace.StatusCode.ERROR


def test_an_interruption_has_the_ids_of_the_tasks_span(tmp_path: Path, spans: Spans) -> None:
    manager = TaskManager(
        loggers=[FileLogger(tmp_path / "tasks.json", formatter="json", log_lifecycle=True)],
        shutdown_timeout=0,
    )

    async def use() -> None:
        begun = asyncio.Event()

        async def body() -> None:
            begun.set()
            await asyncio.Event().wait()

        async with manager:
            task = asyncio.create_task(manager.execute(body))
            await begun.wait()
        await task

    asyncio.run(use())

    running, interrupted = lines(tmp_path / "tasks.json")
    assert interrupted["status"] == "interrupted"
    assert interrupted["span_id"] == running["span_id"]
    assert len(spans()) == 1


def test_third_party_records_carry_the_ids_too(spans: Spans) -> None:
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(logging.Formatter("%(trace_id)s %(span_id)s %(message)s"))
    handler.addFilter(TaskContextFilter())
    logger = logging.getLogger("shop")
    logger.addHandler(handler)

    TaskManager().run(lambda: logger.warning("inside"))
    logger.warning("outside")
    logger.removeHandler(handler)

    context = spans()[0].context
    assert context is not None
    ids = f"{context.trace_id:032x} {context.span_id:016x}"
    assert handler.stream.getvalue() == f"{ids} inside\n- - outside\n"
