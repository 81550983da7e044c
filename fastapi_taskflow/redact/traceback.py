"""The text of a traceback, without the secrets in it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from types import TracebackType

from fastapi_taskflow.guard import let_pass

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
"""An error as ``logging`` has it."""


def traceback_text(exc_info: ExcInfo) -> str:
    """The traceback as Python prints it; it ends with a newline."""
    return "".join(traceback.format_exception(*exc_info))


def redact_traceback(redact: Callable[[str], str], exc_info: ExcInfo) -> str | None:
    """The traceback's text without secrets; None where it has none.

    Each error's message is searched by itself too, so that a pattern finds in it what it finds
    in the message alone, whatever the line is on which the traceback has it.
    """
    text = redacted = traceback_text(exc_info)
    for error in _chain(exc_info[1]):
        message = _message(error)
        cleaned = redact(message)
        if cleaned != message:
            redacted = redacted.replace(message, cleaned)
    redacted = redact(redacted)
    return None if redacted == text else redacted


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that a traceback shows with it."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as another:  # noqa: BLE001  # the error's own code
        let_pass(another)
        return ""
