"""What is kept of the error that an attempt failed with."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.records import LIBRARY
from fastapi_taskflow.redact import Redactor
from fastapi_taskflow.redact.traceback import ExcInfo, redact_traceback, traceback_text


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as observers and the record show it.

    Attributes:
        exception: The error itself.
        redactor: Takes secrets out of its texts; None leaves them in.
    """

    exception: BaseException
    redactor: Redactor | None = None

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
        return self.redacted_traceback or traceback_text(self.exc_info)

    @property
    def redacted_traceback(self) -> str | None:
        """The traceback, where it is not the error's own: it had secrets in it."""
        return redact_traceback(self.redactor, self.exc_info)

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
