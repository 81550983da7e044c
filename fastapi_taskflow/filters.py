"""Filters for handlers: what an observer is told, beyond its level."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable

from fastapi_taskflow.context import TaskContext, get_task_context
from fastapi_taskflow.records import GIVEN, TRACE, copy_record, is_lifecycle, set_given
from fastapi_taskflow.redact import DEFAULT_KEYS, Redactor
from fastapi_taskflow.redact.record import redact_record
from fastapi_taskflow.tracing import current_ids

NONE = "-"
"""What ``TaskContextFilter`` puts where no task runs, or no span is current."""

_NO_TRACE = dict.fromkeys(TRACE, NONE)

_CONTEXT = tuple(TaskContext.__dataclass_fields__)


class NoLifecycleFilter(logging.Filter):
    """Turn status changes away; everything else passes."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is no status change."""
        return not is_lifecycle(record)


class LogLevelFilter(logging.Filter):
    """Turn log entries below a level away; status changes pass, whatever their level."""

    def __init__(self, levelno: int) -> None:
        super().__init__()
        self.levelno = levelno

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is a status change, or of the level or above."""
        return record.levelno >= self.levelno or is_lifecycle(record)


class TaskContextFilter(logging.Filter):
    """Put the running task on every record that passes, so that any formatter can show it.

    A record of any library gets ``task_id``, ``func_name``, ``attempt`` and ``tags``, as
    ``get_task_context()`` has them where the record is handled, and the ``trace_id`` and
    ``span_id`` of the OpenTelemetry span that is current there; "-" where there is none.
    What a record has already stays; no record is turned away. For a handler that works in
    another thread, put the filter on the handler that feeds it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add what is missing; always True."""
        attributes = record.__dict__
        context = get_task_context()
        for name in _CONTEXT:
            if name not in attributes:
                attributes[name] = NONE if context is None else getattr(context, name)
        if TRACE[0] not in attributes:
            attributes.update(current_ids() or _NO_TRACE)
        return True


class ReplacingFilter(logging.Filter):
    """Pass another record on than was given, and leave that one to the other handlers.

    Up to Python 3.11 the standard library doesn't take a record from a filter: there the given
    one is changed. This library's dispatch gives a handler with such a filter a record of its
    own; other libraries' records then change for the handlers that come later, too.
    """

    def replace(self, record: logging.LogRecord) -> logging.LogRecord:
        """The record to pass on: the given one itself, or a changed copy."""
        return record

    def filter(  # type: ignore[override]  # since Python 3.12 a filter may replace the record
        self, record: logging.LogRecord
    ) -> bool | logging.LogRecord:
        """Pass what ``replace`` made of the record."""
        replaced = self.replace(record)
        if sys.version_info >= (3, 12):
            return replaced
        if replaced is not record:
            _overwrite(record, replaced)
        return True


def _overwrite(record: logging.LogRecord, source: logging.LogRecord) -> None:
    attributes = record.__dict__
    attributes.update(source.__dict__)
    for name in attributes.keys() - source.__dict__.keys():
        del attributes[name]
    given = getattr(source, GIVEN, None)
    if given is not None:
        set_given(record, given)


if sys.version_info >= (3, 12):

    def own_record(
        filterer: logging.Filterer,
        record: logging.LogRecord,
    ) -> logging.LogRecord:
        """The record that a handler, or logger, may be given: its filters replace, never change."""
        return record

else:

    def own_record(filterer: logging.Filterer, record: logging.LogRecord) -> logging.LogRecord:
        """The record that a handler, or logger, may be given: a copy, if a filter changes it."""
        for each in filterer.filters:
            if isinstance(each, ReplacingFilter):
                return copy_record(record)
        return record


class RedactFilter(ReplacingFilter):
    """Take secrets out of the records that pass, of any library, for this handler only.

    The message, extras, tags, error and stack trace are searched; a traceback with a secret is
    passed on as text, without ``exc_info``. ``task_id``, ``func_name`` and the rest of what
    this library sets stay as they are. For ``dictConfig``, name it as ``"()"`` and give lists.

    Up to Python 3.11 a record of another library is changed in place, so that the handlers
    after this one see it redacted, too.

    Args:
        keys: Names of secret keys; see ``Redactor``, as for the others.
        patterns: Regular expressions of what is secret.
        secrets: Texts that are secret.
        replacement: What is put in a secret's place.

    Raises:
        ConfigurationError: A key or secret is too short, a pattern is wrong or would match
            the empty text.
    """

    def __init__(
        self,
        *,
        keys: Iterable[str] = DEFAULT_KEYS,
        patterns: Iterable[str | re.Pattern[str]] = (),
        secrets: Iterable[str] = (),
        replacement: str = "[redacted]",
    ) -> None:
        super().__init__()
        self.redactor = Redactor(
            keys=keys, patterns=patterns, secrets=secrets, replacement=replacement
        )

    def register(self, *secrets: str) -> None:
        """Add secrets, from now on.

        Raises:
            ConfigurationError: One is no text, or has less than 4 characters.
        """
        self.redactor.register(*secrets)

    def replace(self, record: logging.LogRecord) -> logging.LogRecord:
        """The record itself, or a copy without its secrets."""
        return redact_record(self.redactor, record)
