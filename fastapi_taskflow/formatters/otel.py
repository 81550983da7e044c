"""Field names of OpenTelemetry's log data model.

Source: OpenTelemetry Specification 1.55, Logs Data Model (stable), for the fields, and Semantic
Conventions 1.36 for the attributes ``code.*`` and ``exception.*``. ``Timestamp`` counts
nanoseconds and is text, as 64-bit numbers are in the JSON of protocol buffers: many parsers
would round it. ``ObservedTimestamp`` and ``Resource`` are for the collector to set.
"""

from __future__ import annotations

import logging

from fastapi_taskflow.formatters.preset import Facts, Fields, Preset, present, renamed

_TRACE = {"trace_id": "TraceId", "span_id": "SpanId"}
_CONTEXT = {
    "task_id": "taskflow.task_id",
    "func_name": "taskflow.func_name",
    "attempt": "taskflow.attempt",
    "seq": "taskflow.seq",
}
_OUTCOME = {
    "status": "taskflow.status",
    "retries_used": "taskflow.retries_used",
    "duration": "taskflow.duration",
}


def _fields(facts: Facts) -> Fields:
    record = facts.record
    return {
        "Timestamp": f"{round(record.created * 1_000_000)}000",
        "SeverityText": record.levelname,
        "SeverityNumber": severity_number(record.levelno),
        "Body": facts.message,
        **renamed(facts.context, _TRACE),
        **({"EventName": "taskflow.lifecycle"} if facts.event == "lifecycle" else {}),
        "InstrumentationScope": {"name": record.name},
        "Attributes": _attributes(facts),
    }


def _attributes(facts: Facts) -> Fields:
    record, context = facts.record, facts.context
    tags = context.get("tags")
    return {
        **renamed(context, _CONTEXT),
        **({"taskflow.tags": tags} if tags else {}),
        **(renamed(facts.outcome, _OUTCOME) if facts.event == "lifecycle" else {}),
        **(_error(facts) if facts.tells_of_an_error else {}),
        **(_place(record) if record.lineno else {}),
    }


def _error(facts: Facts) -> Fields:
    return present(
        {
            "exception.type": facts.error_type and _full_name(facts.error_type),
            "exception.message": facts.error,
            "exception.stacktrace": facts.stacktrace,
            "code.stacktrace": facts.stack_info,
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
