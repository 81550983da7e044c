"""Field names of the Elastic Common Schema.

Source: Elastic Common Schema 8.11 (field sets base, ecs, error, event, log, tracing), and the
specification of Elastic's logging libraries, github.com/elastic/ecs-logging, ``spec/spec.json``
version 1.0: ``@timestamp``, ``log.level`` and ``message`` come first; names have dots and stand
at the top level, where Elasticsearch reads them as nested objects; ``.``, ``*`` and a backslash
in a label's name become ``_``.
"""

from __future__ import annotations

import functools

from fastapi_taskflow.formatters.preset import (
    Facts,
    Fields,
    Preset,
    iso_time,
    labels,
    present,
    renamed,
)
from fastapi_taskflow.levels import level_name

ECS_VERSION = "8.11.0"

_FIELD_SETS = """
    agent as base client cloud code_signature container data_stream destination device dll dns ecs
    elf email error event faas file geo group hash host http interface labels log macho message
    network observer orchestrator organization os package pe process registry related risk rule
    server service source span tags taskflow threat tls trace transaction url user user_agent vlan
    volume vulnerability x509
"""
"""Names that stand for objects (or, the base fields, for something else) in the schema.

Elasticsearch refuses a whole document for a text where it expects an object. So an extra
``user="ada"`` becomes ``extra_user``, while one named ``user.name`` stays what it is.
"""

_OUTCOMES = {"success": "success", "failed": "failure"}
_ENDS = {*_OUTCOMES, "interrupted", "cancelled"}
_LABEL = str.maketrans(".*\\", "___")


_CONTEXT = {
    "trace_id": "trace.id",
    "span_id": "span.id",
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
    record, context, event = facts.record, facts.context, facts.event
    return {
        "@timestamp": iso_time(record.created),
        "log.level": level_name(record.levelno),
        "message": facts.message,
        "ecs.version": ECS_VERSION,
        "log.logger": record.name,
        "event.kind": "event",
        **({} if event is None else {"taskflow.event": event}),
        **renamed(context, _CONTEXT),
        **labels(context.get("tags"), "labels", "taskflow.tags", _label_name),
        **(_outcome(facts) if event == "lifecycle" else {}),
        **(_error(facts) if facts.tells_of_an_error else {}),
    }


def _outcome(facts: Facts) -> Fields:
    status = facts.outcome.get("status")
    return present(
        {
            "event.action": status and f"task-{status}",
            "event.outcome": _OUTCOMES.get(status, "unknown") if status in _ENDS else None,
            "event.duration": nanoseconds(facts.outcome.get("duration")),
            **renamed(facts.outcome, _OUTCOME),
        }
    )


def _error(facts: Facts) -> Fields:
    return present(
        {
            "error.type": facts.error_type and facts.error_type.__name__,
            "error.message": facts.error,
            "error.stack_trace": facts.stacktrace,
            "taskflow.stack_info": facts.stack_info,
        }
    )


def nanoseconds(seconds: object) -> int | None:
    """A duration as the schema has it."""
    return round(seconds * 1_000_000_000) if isinstance(seconds, (int, float)) else None


@functools.lru_cache(maxsize=64)
def _label_name(name: str) -> str:
    return name.translate(_LABEL)


ECS = Preset(fields=_fields, reserved=frozenset(_FIELD_SETS.split()))
