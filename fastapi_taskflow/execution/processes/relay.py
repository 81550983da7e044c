"""What a body has logged in its worker, logged here as if it ran here."""

from __future__ import annotations

import logging

from fastapi_taskflow.execution.processes.packing import unpack_values
from fastapi_taskflow.execution.processes.wire import Captured, Logged, Progressed
from fastapi_taskflow.loggers.emit import TaskEmitter

_BARE = logging.LogRecord("", 0, "", 0, "", (), None)
_START = _BARE.created - _BARE.relativeCreated / 1000
"""When this process began to count ``relativeCreated``."""


def relay(emitter: TaskEmitter, message: Logged | Captured | Progressed) -> None:
    """Log what a body has logged; to be called in the task's context variables.

    A captured record is handled by the logger of its name, so that it is captured here, and
    goes to the users' handlers, as it would if it had been made here. Handlers in the worker
    that had it already, as an import has configured them there, are the only ones to have it.
    """
    if isinstance(message, Logged):
        _, levelno, text, extra, place, made = message
        made["relativeCreated"] = _since_start(made["created"])
        emitter.relay(levelno, text, unpack_values(extra), place, made)
        return
    if isinstance(message, Progressed):
        emitter.progress(message.progress)
        return
    record = logging.makeLogRecord(unpack_values(message.attributes))
    record.relativeCreated = _since_start(record.created)
    logger = logging.getLogger(record.name)
    if message.heard:
        emitter.capture(record)
    elif logger.isEnabledFor(record.levelno):
        logger.handle(record)


def _since_start(created: float) -> float:
    return (created - _START) * 1000
