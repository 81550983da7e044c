"""Field names of OpenTelemetry's log data model.

Source: OpenTelemetry Specification 1.55, Logs Data Model (stable), for the fields, and Semantic
Conventions 1.36 for the attributes ``code.*`` and ``exception.*``. ``Timestamp`` counts
nanoseconds and is text, as 64-bit numbers are in the JSON of protocol buffers: many parsers
would round it. ``ObservedTimestamp`` and ``Resource`` are for the collector to set.
"""

from __future__ import annotations

import logging

from fastapi_taskflow.formatters.preset import Facts, Fields, Preset, present


def _fields(facts: Facts) -> Fields:
    record = facts.record
    context = facts.context.get
    return present(
        {
            "Timestamp": f"{round(record.created * 1_000_000)}000",
            "SeverityText": record.levelname,
            "SeverityNumber": severity_number(record.levelno),
            "Body": facts.message,
            "TraceId": context("trace_id"),
            "SpanId": context("span_id"),
            "EventName": "taskflow.lifecycle" if facts.event == "lifecycle" else None,
            "InstrumentationScope": {"name": record.name},
            "Attributes": _attributes(facts),
        }
    )


def _attributes(facts: Facts) -> Fields:
    record, context, outcome = facts.record, facts.context.get, facts.outcome.get
    return present(
        {
            "taskflow.task_id": context("task_id"),
            "taskflow.func_name": context("func_name"),
            "taskflow.attempt": context("attempt"),
            "taskflow.seq": context("seq"),
            "taskflow.tags": context("tags") or None,
            "taskflow.status": outcome("status"),
            "taskflow.retries_used": outcome("retries_used"),
            "taskflow.duration": outcome("duration"),
            "exception.type": facts.error_type and _full_name(facts.error_type),
            "exception.message": facts.error,
            "exception.stacktrace": facts.stacktrace,
            "code.stacktrace": facts.stack_info,
            **(_place(record) if record.lineno else {}),
        }
    )


def _place(record: logging.LogRecord) -> Fields:
    return {
        "code.file.path": record.pathname,
        "code.line.number": record.lineno,
        "code.function.name": record.funcName,
    }


def severity_number(levelno: int) -> int:
    """A level's number in the model: 10 is 5 (DEBUG), 20 is 9 (INFO), and so on to 24."""
    if levelno <= 0:
        return 0
    tens = min(levelno // 10, 5)
    return 1 + 4 * tens + min(levelno - 10 * tens, 3)


def _full_name(kind: type[BaseException]) -> str:
    name = kind.__qualname__
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"


OTEL = Preset(fields=_fields, inside="Attributes")
