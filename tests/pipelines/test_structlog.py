"""Beside structlog: its lines become entries, and it renders task records in its stream."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import structlog

from fastapi_taskflow import InMemoryLogger, TaskManager, task_log

SHARED: list[Any] = [
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
]


@pytest.fixture
def stream() -> Iterator[StringIO]:
    """Where structlog, through one handler on root, writes everybody's lines as JSON."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    written = StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    logging.root.addHandler(handler)
    logging.root.setLevel(logging.INFO)
    yield written
    structlog.reset_defaults()


def lines(stream: StringIO) -> list[dict[str, Any]]:
    """What was written, without what the event loop says of itself."""
    parsed = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [line for line in parsed if line["logger"] != "asyncio"]


def sell() -> None:
    task_log("selling", amount=9)
    structlog.get_logger("shop").warning("stock is low", left=2)


def test_its_lines_become_entries(stream: StringIO) -> None:
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[memory], capture_loggers=["shop"])

    manager.run(sell)

    first, second = memory.log_events
    assert (first.message, first.level) == ("selling", "info")
    assert second.level == "warning"
    assert "stock is low" in second.message


def test_a_rendered_line_is_the_entrys_message() -> None:
    structlog.configure(
        processors=[structlog.processors.KeyValueRenderer(key_order=["event"])],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    memory = InMemoryLogger()
    try:
        TaskManager(loggers=[memory], capture_loggers=["shop"]).run(sell)
    finally:
        structlog.reset_defaults()

    assert [event.message for event in memory.log_events] == [
        "selling",
        "event='stock is low' left=2",
    ]


def test_its_fields_become_those_of_the_entry() -> None:
    structlog.configure(
        processors=[structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    memory = InMemoryLogger()
    try:
        TaskManager(loggers=[memory], capture_loggers=["shop"]).run(sell)
    finally:
        structlog.reset_defaults()

    entry = memory.log_events[1]
    assert (entry.message, entry.extra["left"]) == ("stock is low", 2)


def test_a_task_and_structlog_share_one_stream(stream: StringIO) -> None:
    task = TaskManager().run(sell, tags={"kind": "sale"})

    running, selling, low, success = lines(stream)
    assert [line["event"] for line in (running, selling, low, success)] == [
        "-- RUNNING",
        "selling",
        "stock is low",
        "-- SUCCESS",
    ]
    assert {line["task_id"] for line in (running, selling, success)} == {task.task_id}
    assert (selling["amount"], selling["tags"]) == (9, {"kind": "sale"})
    assert (low["logger"], low["level"], low["left"]) == ("shop", "warning", 2)


def test_captured_lines_come_once_into_the_stream(stream: StringIO) -> None:
    TaskManager(capture_loggers=["shop"]).run(sell)

    texts = [line["event"] for line in lines(stream)]
    assert len([text for text in texts if "stock is low" in str(text)]) == 1
    assert len(texts) == 4


def test_a_failure_is_one_line_with_its_traceback(stream: StringIO) -> None:
    def fail() -> None:
        raise LookupError("nothing there")

    TaskManager().run(fail)

    failed = lines(stream)[-1]
    assert (failed["status"], failed["level"]) == ("failed", "error")
    assert "LookupError: nothing there" in str(failed["exception"])
