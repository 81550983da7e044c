"""What is kept of the error that an attempt failed with."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self

from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.records import LIBRARY
from fastapi_taskflow.redact import Redactor
from fastapi_taskflow.redact.traceback import (
    ExcInfo,
    Part,
    messages_of,
    redact_parts,
    redact_traceback,
    traceback_parts,
    traceback_text,
)


class RemoteTraceback(NamedTuple):
    """The traceback of an error of another process, as text.

    Attributes:
        parts: Frames, and what is between them.
        messages: The messages of the error and of those shown with it.
    """

    parts: tuple[Part, ...]
    messages: tuple[str, ...]

    @classmethod
    def of(cls, exc_info: ExcInfo) -> Self:
        """The traceback of an error of this process, for another."""
        return cls(tuple(traceback_parts(exc_info)), tuple(messages_of(exc_info[1])))


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as observers and the record show it.

    Attributes:
        exception: The error itself.
        redactor: Takes secrets out of its texts; None leaves them in.
        remote: Its traceback, where it comes from another process.
    """

    exception: BaseException
    redactor: Redactor | None = None
    remote: RemoteTraceback | None = None

    @property
    def error(self) -> str:
        """The error's message, or its class where it has none."""
        message = self._message()
        return message if self.redactor is None else self.redactor.text(message)

    def _message(self) -> str:
        try:
            return str(self.exception) or type(self.exception).__name__
        except BaseException as another:  # noqa: BLE001  # the exception's own code
            let_pass(another)
            return type(self.exception).__name__

    @property
    def stacktrace(self) -> str:
        """The traceback, from the task's own code on."""
        return self.prepared_traceback or traceback_text(self.exc_info)

    @property
    def prepared_traceback(self) -> str | None:
        """The traceback, where ``exc_info`` has another: it had secrets in it, or is remote."""
        if self.remote is None:
            return self._redacted
        return self._redacted or "".join(part.text for part in self.remote.parts)

    @property
    def safe_exc_info(self) -> ExcInfo | None:
        """The error as ``logging`` takes it, unless its traceback has secrets in it."""
        return self.exc_info if self._redacted is None else None

    @property
    def _redacted(self) -> str | None:
        if self.remote is None:
            return redact_traceback(self.redactor, self.exc_info)
        return None if self.redactor is None else redact_parts(self.redactor, *self.remote)

    @property
    def exc_info(self) -> ExcInfo:
        """The error as ``logging`` takes it, its traceback without this library's frames."""
        error = self.exception
        return type(error), error, _own_part(error.__traceback__)


def _own_part(trace: TracebackType | None) -> TracebackType | None:
    """The part of a traceback below the library's frames; all of it where no such part is."""
    part = trace
    while part is not None and _is_ours(part):
        part = part.tb_next
    return part or trace


def _is_ours(trace: TracebackType) -> bool:
    name = str(trace.tb_frame.f_globals.get("__name__"))
    return name.startswith(f"{LIBRARY}.execution")
