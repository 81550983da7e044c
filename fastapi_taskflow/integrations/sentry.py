"""A task's tags, id and function as the tags of its Sentry event."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, TypeVar

from fastapi_taskflow.records import is_lifecycle, is_log

EventT = TypeVar("EventT", bound=Mapping[str, object])


def task_tags(event: EventT, hint: Mapping[str, Any]) -> EventT:
    """Tag a Sentry event that came from a task's record.

    Sentry's logging integration leaves a record's ``tags`` out. Give this as ``before_send``
    to ``sentry_sdk.init()``, or to ``sentry_sdk.scope.add_global_event_processor()``. Tags
    that the event has already stay as they are; events from elsewhere do too.

    Args:
        event: The event, which is changed in place.
        hint: Where it came from; only its ``log_record`` is used.

    Returns:
        The event.
    """
    record = hint.get("log_record")
    if isinstance(record, logging.LogRecord) and (is_log(record) or is_lifecycle(record)):
        fields: Any = event  # Sentry's type is a TypedDict, which only Mapping fits
        fields["tags"] = {**_tags_of(record), **dict(fields.get("tags") or {})}
    return event


def _tags_of(record: logging.LogRecord) -> dict[str, Any]:
    """What the record says; a user's tag doesn't hide the task's own id or function."""
    attributes = record.__dict__
    own = {name: attributes[name] for name in ("task_id", "func_name")}
    return {**attributes["tags"], **own}
