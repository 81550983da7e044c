"""Field names of Google Cloud's structured logging.

Source: Cloud Logging, "Structured logging", special fields of the JSON payload, with the names
of ``LogSeverity`` from the v2 API; Error Reporting, "Format a log entry to report error events",
for ``stack_trace``. What has no special field keeps its default name in the payload.
"""

from __future__ import annotations

import logging

from fastapi_taskflow.formatters.preset import (
    Facts,
    Fields,
    Preset,
    iso_time,
    labels,
    no_labels,
    present,
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
    """
    prefix = "" if project is None else f"projects/{project}/traces/"

    def fields(facts: Facts) -> Fields:
        return _fields(facts, prefix)

    return Preset(fields=fields, reserved=_RESERVED)


def _fields(facts: Facts, prefix: str) -> Fields:
    record, context, outcome = facts.record, facts.context.get, facts.outcome.get
    trace_id = context("trace_id")
    return present(
        {
            "severity": severity(record.levelno),
            "message": facts.message,
            "time": iso_time(record.created),
            "logging.googleapis.com/labels": labels(context("tags")),
            "logging.googleapis.com/trace": f"{prefix}{trace_id}" if trace_id else None,
            "logging.googleapis.com/spanId": context("span_id"),
            "logging.googleapis.com/sourceLocation": _place(record) if record.lineno else None,
            "stack_trace": facts.stacktrace,
            "logger": record.name,
            "event": facts.event,
            "task_id": context("task_id"),
            "func_name": context("func_name"),
            "attempt": context("attempt"),
            "seq": context("seq"),
            "tags": no_labels(context("tags")),
            "status": outcome("status"),
            "retries_used": outcome("retries_used"),
            "duration": outcome("duration"),
            "error": facts.error,
            "stack_info": facts.stack_info,
        }
    )


def severity(levelno: int) -> str:
    """The name that Google Cloud has for a level."""
    return next((name for lowest, name in _SEVERITIES if levelno >= lowest), "DEFAULT")


def _place(record: logging.LogRecord) -> Fields:
    # The line is text: it is an int64 in the API.
    return {"file": record.pathname, "line": str(record.lineno), "function": record.funcName}


GCP = google_cloud()
