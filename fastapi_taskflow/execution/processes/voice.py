"""The voice of a task in its worker: what it logs goes over the wire."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any

from fastapi_taskflow.events import TaskProgress
from fastapi_taskflow.execution.processes.packing import dumps, pack_values
from fastapi_taskflow.execution.processes.wire import Captured, Job, Logged, Message, Progressed
from fastapi_taskflow.loggers.birth import message_of, text_of
from fastapi_taskflow.loggers.branch import Branch
from fastapi_taskflow.loggers.captured import WHEN_AND_WHERE
from fastapi_taskflow.loggers.emit import TaskEmitter
from fastapi_taskflow.loggers.places import Place
from fastapi_taskflow.loggers.progress import Gathered
from fastapi_taskflow.loggers.snapshot import snapshot
from fastapi_taskflow.loggers.tree import Levels, reachable, takers
from fastapi_taskflow.records import TRACE
from fastapi_taskflow.tracing import current_ids

_formatter = logging.Formatter()


class WorkerEmitter(TaskEmitter):
    """Sends what a body logs to the process that the task belongs to.

    There it is numbered, redacted and counted. What a level turns away is not sent at all.

    Args:
        branch: The branch that captured records are compared by; it has no sinks.
        job: The attempt.
        send: Sends a message.
    """

    __slots__ = ("_gathered", "_job", "_send_message")

    def __init__(self, branch: Branch, job: Job, send: Callable[[Message], None]) -> None:
        super().__init__(branch, job.context)
        self.name = ""  # of which no levels are remembered: those of this process don't count
        self._job = job
        self._send_message = send
        self._gathered: Gathered[TaskProgress] = Gathered(self._send_progress)

    def levels(self) -> Levels:
        """The level that counted when the attempt began; where the task is, the pipeline's."""
        return len(logging.root.manager.loggerDict), self._job.source_level, logging.NOTSET

    def log(
        self,
        message: object,
        levelno: int,
        extra: dict[str, Any],
        place: Place,
        pipeline_level: int,
    ) -> None:
        """Send an entry."""
        text = text_of(message)
        # A record knows when, and in what process, thread and asyncio task, it was made.
        made = _when_and_where(logging.LogRecord("", levelno, "", 0, "", (), None))
        made.update(current_ids())
        extra = pack_values(snapshot(extra))
        self._send_message(Logged(self._job.number, levelno, text, extra, place, made))

    def progress(self, progress: TaskProgress) -> None:
        """Send it with the next ones, of which the last one counts."""
        self._gathered.put("", progress)

    def settle_progress(self) -> None:
        """Send what has gathered, at the end of the body."""
        self._gathered.settle("")

    def _send_progress(self, _: str, progress: TaskProgress) -> None:
        self._send_message(Progressed(self._job.number, progress))

    def capture(self, original: logging.LogRecord) -> None:
        """Send another logger's record."""
        if original.levelno < self._job.source_level:
            return
        heard = any(takers(logging.getLogger(original.name), original))
        self._send_message(Captured(self._job.number, _packed(original), heard))


class ReportHandler(logging.Handler):
    """Sends what this library has to report in a worker, where nobody would hear it.

    Args:
        send: Sends a message.
    """

    def __init__(self, send: Callable[[Message], None]) -> None:
        super().__init__()
        self.number = 0
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send a report, as one of the job with this number."""
        heard = any(handler is not self for handler in reachable(logging.getLogger(record.name)))
        if not heard:
            self._send(Captured(self.number, _packed(record), heard))


def _when_and_where(record: logging.LogRecord) -> dict[str, Any]:
    attributes = record.__dict__
    return {
        name: attributes[name]
        for name in WHEN_AND_WHERE
        if name in attributes and name != "relativeCreated"  # to a start that is not ours
    }


def _packed(original: logging.LogRecord) -> dict[str, Any]:
    """A record, ready to be sent: its traceback rendered, and its message if its arguments stay."""
    attributes = dict(original.__dict__)
    if original.exc_info and not original.exc_text:
        with contextlib.suppress(Exception):  # the error's own code
            attributes["exc_text"] = _formatter.formatException(original.exc_info)
    attributes["exc_info"] = None
    try:
        dumps((original.msg, original.args))
    except Exception:  # noqa: BLE001  # the arguments' own code
        attributes.update(msg=message_of(original), args=())
    for name in (*TRACE, "relativeCreated"):
        attributes.pop(name, None)
    return pack_values(snapshot(attributes))
