"""The text of a traceback, without the secrets in it."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Sequence
from types import TracebackType

from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.redact.redactor import Redactor

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
"""An error as ``logging`` has it."""


def traceback_text(exc_info: ExcInfo) -> str:
    """The traceback as Python prints it; it ends with a newline."""
    return "".join(traceback_parts(exc_info))


def traceback_parts(exc_info: ExcInfo) -> list[str]:
    """The traceback in parts: a frame each, and an error's message each."""
    kind, error, trace = exc_info
    try:
        return list(traceback.TracebackException(kind, error, trace).format())
    except BaseException as another:  # noqa: BLE001  # the error's own code, notes and causes
        let_pass(another)
        return [f"{kind.__name__}: {_message(error)}\n"]


_FRAME = re.compile(r'[ |+-]*File ".*", line [0-9]+')
"""How the text of a frame begins, in a group of errors as well."""


def redact_traceback(redactor: Redactor | None, exc_info: ExcInfo) -> str | None:
    """The traceback's text without secrets; None where it has none.

    Each error's message is searched by itself too, so that a pattern finds in it what it finds
    in the message alone, whatever the line is on which the traceback has it. The lines of code
    have no values of keys: of ``login(password=given)`` nothing is secret.
    """
    if redactor is None:
        return None
    return redact_parts(redactor, traceback_parts(exc_info), messages_of(exc_info[1]))


def redact_parts(redactor: Redactor, parts: Sequence[str], messages: Sequence[str]) -> str | None:
    """The text of a traceback's parts without secrets; None where it has none.

    Args:
        redactor: What finds secrets.
        parts: What ``traceback_parts()`` gave.
        messages: What ``messages_of()`` gave.
    """
    text, redacted = "".join(parts), "".join(_redact_part(redactor, part) for part in parts)
    for message in messages:
        cleaned = redactor.text(message)
        if cleaned != message:
            redacted = redacted.replace(message, cleaned)
    return None if redacted == text else redacted


def _redact_part(redactor: Redactor, part: str) -> str:
    return redactor.unkeyed(part) if _FRAME.match(part) else redactor.text(part)


def messages_of(error: BaseException) -> list[str]:
    """The messages of an error, and of those that a traceback shows with it."""
    return [_message(each) for each in _chain(error)]


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
        try:
            waiting += [each.__cause__, each.__context__]
        except BaseException as another:  # noqa: BLE001  # the error's own code
            let_pass(another)
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as another:  # noqa: BLE001  # the error's own code
        let_pass(another)
        return ""
