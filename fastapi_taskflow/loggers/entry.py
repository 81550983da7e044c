"""``task_log()``: where a line's road begins, and where that of a line nobody wants ends."""

from __future__ import annotations

import logging
from typing import Any

from fastapi_taskflow.context import active_task
from fastapi_taskflow.levels import STANDARD
from fastapi_taskflow.loggers.birth import level_number_of, make_record, report, text_of
from fastapi_taskflow.loggers.emit import TaskEmitter
from fastapi_taskflow.loggers.ledger import Diagnostics
from fastapi_taskflow.loggers.places import Place, calling_place
from fastapi_taskflow.loggers.snapshot import snapshot
from fastapi_taskflow.loggers.tree import remembered
from fastapi_taskflow.records import TASK

_orphans = Diagnostics(TASK)
_manager = logging.root.manager

# Methods of what is imported, bound once: CPython 3.11 takes such a name for a module's, and binds
# its method anew at each call, which takes longer than these three do.
_running = active_task.get
_number = STANDARD.get
_levels_of = remembered.get


def task_log(message: object, /, *, level: str | int = "info", **extra: Any) -> None:
    """Log one line of the running task.

    The entry goes to the task's record, to every observer and on to the logging
    configuration of the process, in this thread, before the call returns; custom async
    observers get it later, in order. Any thread may call it. It never raises.

    Args:
        message: The message, rendered with ``str()`` now; a ``%`` in it is text.
        level: A level's name in any case, or its number. What is no level counts as "info".
        **extra: Structured fields. They become attributes of the record, and ``extra`` of
            the event; containers are copied now.
    """
    try:
        emitter = _running()
        if not isinstance(emitter, TaskEmitter):
            _log_outside(message, level, extra, calling_place(2))
            return
        # What nobody wants ends here. As level_number_of() and levels(), without their calls.
        levelno = _number(level) if type(level) is str else None
        if levelno is None:
            levelno = level_number_of(level)
        known, source_level, pipeline_level = _levels_of(emitter.name) or emitter.levels()
        if known != len(_manager.loggerDict):
            _, source_level, pipeline_level = emitter.levels()
        if levelno >= source_level:
            emitter.log(message, levelno, extra, calling_place(2), pipeline_level)
    except BaseException as error:  # this function's promise, should all fail
        if isinstance(error, KeyboardInterrupt):
            raise
        try:
            report("task_log() failed and the entry is lost", error)
        except RecursionError:  # the caller's own recursion leaves no room even for that
            return


def _log_outside(message: object, level: object, extra: dict[str, Any], place: Place) -> None:
    levelno = level_number_of(level)
    if _orphans.isEnabledFor(levelno):
        _orphans.handle(make_record(TASK, levelno, text_of(message), place, snapshot(extra)))
