"""The text of a traceback, without the secrets in it."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import NamedTuple

from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.redact.redactor import Redactor

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
"""An error as ``logging`` has it."""


class Part(NamedTuple):
    """A part of a traceback's text.

    Attributes:
        text: The text; it ends with a newline.
        is_code: Whether it is a frame, with lines of code.
    """

    text: str
    is_code: bool


def traceback_text(exc_info: ExcInfo) -> str:
    """The traceback as Python prints it; it ends with a newline."""
    return "".join(part.text for part in traceback_parts(exc_info))


def traceback_parts(exc_info: ExcInfo) -> list[Part]:
    """The traceback in parts: frames, and what is between them."""
    kind, error, trace = exc_info
    try:
        summary = traceback.TracebackException(kind, error, trace)
        lines, frames = list(summary.format()), set(_frames(summary))
    except BaseException as another:  # noqa: BLE001  # the error's own code, notes and causes
        let_pass(another)
        return [Part(f"{kind.__name__}: {_message(error)}\n", is_code=False)]
    parts: list[Part] = []
    for text in lines:
        part = Part(text, _flush_left(text) in frames)
        if parts and not part.is_code and not parts[-1].is_code:
            part = Part(parts.pop().text + text, is_code=False)
        parts.append(part)
    return parts


def redact_traceback(redactor: Redactor | None, exc_info: ExcInfo) -> str | None:
    """The traceback's text without secrets; None where it has none.

    Each error's message, and each of its notes, is searched by itself too, so that a secret is
    found in it that the traceback has on several lines, or not where a pattern wants it. The
    lines of code have no values of keys: of ``login(password=given)`` nothing is secret.
    """
    if redactor is None:
        return None
    return redact_parts(redactor, traceback_parts(exc_info), messages_of(exc_info[1]))


def redact_parts(redactor: Redactor, parts: Sequence[Part], messages: Sequence[str]) -> str | None:
    """The text of a traceback's parts without secrets; None where it has none.

    Args:
        redactor: What finds secrets.
        parts: What ``traceback_parts()`` gave.
        messages: What ``messages_of()`` gave.
    """
    cleaned = [(message, redactor.text(message)) for message in messages]
    secret = [(_anywhere(before), after) for before, after in cleaned if before != after]
    redacted = "".join(_redact(redactor, part, secret) for part in parts)
    return None if redacted == "".join(part.text for part in parts) else redacted


def _redact(redactor: Redactor, part: Part, secret: list[tuple[re.Pattern[str], str]]) -> str:
    text = part.text
    for message, cleaned in secret:
        text = message.sub(cleaned.replace("\\", r"\\"), text)
    return redactor.unkeyed(text) if part.is_code else redactor.text(text)


def _anywhere(message: str) -> re.Pattern[str]:
    """A pattern for a message wherever a traceback has it: in a group, its lines are indented."""
    return re.compile(r"\n[ |]*".join(map(re.escape, message.split("\n"))))


def messages_of(error: BaseException) -> list[str]:
    """The messages and notes of an error, and of those that a traceback shows with it."""
    return [text for each in _chain(error) for text in (_message(each), *_notes(each)) if text]


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
            if isinstance(each, BaseExceptionGroup):
                waiting += each.exceptions
        except BaseException as another:  # noqa: BLE001  # the error's own code
            let_pass(another)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as another:  # noqa: BLE001  # the error's own code
        let_pass(another)
        return ""


def _notes(error: BaseException) -> list[str]:
    try:
        return [str(note) for note in getattr(error, "__notes__", ())]
    except BaseException as another:  # noqa: BLE001  # the error's own code
        let_pass(another)
        return []


def _frames(summary: traceback.TracebackException) -> Iterator[str]:
    """The frames of a traceback, those of the errors that it shows with it included."""
    waiting: list[traceback.TracebackException | None] = [summary]
    while waiting:
        each = waiting.pop()
        if each is not None:
            yield from map(_flush_left, each.stack.format())
            waiting += [each.__cause__, each.__context__, *(each.exceptions or ())]


def _flush_left(text: str) -> str:
    """A frame's text without what a group of errors puts before its lines."""
    return "\n".join(line.lstrip(" |+-") for line in text.splitlines())
