"""Field names of Google Cloud's structured logging.

Source: Cloud Logging, "Structured logging", special fields of the JSON payload, with the names
of ``LogSeverity`` from the v2 API; Error Reporting, "Format a log entry to report error events",
for ``stack_trace``. What has no special field keeps its default name in the payload.
"""

from __future__ import annotations

import functools
import logging

from fastapi_taskflow.errors import ConfigurationTypeError
from fastapi_taskflow.formatters.preset import (
    Facts,
    Fields,
    Preset,
    iso_time,
    labels,
    present,
    renamed,
)

_SEVERITIES = (
    (logging.CRITICAL, "CRITICAL"),
    (logging.ERROR, "ERROR"),
    (logging.WARNING, "WARNING"),
    (25, "NOTICE"),
    (logging.INFO, "INFO"),
    (1, "DEBUG"),
)
"""Levels and names, the highest first; levels of the user's own take the name below."""

_RESERVED = frozenset({"event", "timestamp", "timestampSeconds", "timestampNanos"})
"""Ours, and special fields that would replace ``time``."""


def google_cloud(project: str | None = None) -> Preset:
    """The preset "gcp", for one project.

    Args:
        project: The id of the project that has the traces. With it a line links to its trace
            whoever collects it. None writes the bare trace id, which is enough where Google
            Cloud itself reads standard output.

    Raises:
        ConfigurationError: It can't be an id.
    """
    given: object = project
    if given is not None and not (isinstance(given, str) and given.strip()):
        raise ConfigurationTypeError("project", given, 'a project\'s id, such as "shop-1234"')
    prefix = "" if project is None else f"projects/{project}/traces/"

    def fields(facts: Facts) -> Fields:
        return _fields(facts, prefix)

    return Preset(fields=fields, reserved=_RESERVED)


_CONTEXT = {
    "span_id": "logging.googleapis.com/spanId",
    "task_id": "task_id",
    "func_name": "func_name",
    "attempt": "attempt",
    "seq": "seq",
}
_OUTCOME = {"status": "status", "retries_used": "retries_used", "duration": "duration"}


def _fields(facts: Facts, prefix: str) -> Fields:
    record, context, event = facts.record, facts.context, facts.event
    trace_id = context.get("trace_id")
    return {
        "severity": severity(record.levelno),
        "message": facts.message,
        "time": iso_time(record.created),
        "logger": record.name,
        **({} if event is None else {"event": event}),
        **({"logging.googleapis.com/trace": f"{prefix}{trace_id}"} if trace_id else {}),
        **renamed(context, _CONTEXT),
        **labels(context.get("tags"), "logging.googleapis.com/labels", "tags"),
        **({"logging.googleapis.com/sourceLocation": _place(record)} if record.lineno else {}),
        **(renamed(facts.outcome, _OUTCOME) if event == "lifecycle" else {}),
        **(_error(facts) if facts.tells_of_an_error else {}),
    }


def _error(facts: Facts) -> Fields:
    return present(
        {
            "error": facts.error,
            "stack_trace": facts.stacktrace,
            "stack_info": facts.stack_info,
        }
    )


@functools.lru_cache(maxsize=64)
def severity(levelno: int) -> str:
    """The name that Google Cloud has for a level."""
    return next((name for lowest, name in _SEVERITIES if levelno >= lowest), "DEFAULT")


def _place(record: logging.LogRecord) -> Fields:
    # The line is text: it is an int64 in the API.
    return {"file": record.pathname, "line": str(record.lineno), "function": record.funcName}


GCP = google_cloud()
