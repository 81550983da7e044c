"""What ``logging.LogRecord`` would make of a task's line, in half of its time.

Making a record is the most costly step of a line's road. The class of the standard library
looks at each call for what is the same for all lines of a place, takes apart arguments that a
task's line never has, and sets its attributes one by one. What the record has is the same, and
so is what decides it: ``logging.logThreads`` and its like are asked each time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from typing import Any

from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.records import TaskLogRecord, attach_extra
from fastapi_taskflow.tracing import TRACING, current_ids

_MAX_PATHS = 1000  # code that is made at run time may have a name of its own each time
_HAS_TASK_NAMES = sys.version_info >= (3, 12)

_BARE = logging.LogRecord("", 0, "", 0, "", (), None)
_BEGUN = _BARE.created - _BARE.relativeCreated / 1000  # what relativeCreated counts from
_EMPTY = {**dict.fromkeys(vars(_BARE)), "args": ()}

_paths: dict[str, tuple[str, str]] = {}
_new = object.__new__


class _Here:
    """This process: to ask for its number is a system call."""

    def __init__(self) -> None:
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        self.pid = os.getpid()


_here = _Here()


def layout(name: str, **told: Any) -> dict[str, Any]:
    """What all records of one logger have, in the order in which the standard library sets it.

    Args:
        name: The logger's name.
        **told: Attributes beyond the standard library's.
    """
    return {**_EMPTY, "name": name, **told}


def told_in(laid_out: dict[str, Any]) -> dict[str, Any]:
    """What a layout has beyond the standard library's attributes."""
    return {name: value for name, value in laid_out.items() if name not in _EMPTY}


def plain_record(
    laid_out: dict[str, Any],
    levelno: int,
    message: str,
    place: tuple[str, int, str],
    extra: dict[str, Any] | None,
) -> TaskLogRecord:
    """A record without arguments and exception, made now, in this thread."""
    path, lineno, function = place
    nanoseconds = time.time_ns()
    created = nanoseconds / 1e9
    record: TaskLogRecord = _new(TaskLogRecord)
    # A copy with a few changes takes half the time of as many attributes set one by one.
    record.__dict__ = attributes = laid_out.copy()
    attributes["msg"] = message
    attributes["levelname"] = logging.getLevelName(levelno)
    attributes["levelno"] = levelno
    attributes["pathname"] = path
    attributes["filename"], attributes["module"] = _paths.get(path) or _names_in(path)
    attributes["lineno"] = lineno
    attributes["funcName"] = function
    attributes["created"] = created
    attributes["msecs"] = nanoseconds % 1_000_000_000 // 1_000_000 + 0.0
    attributes["relativeCreated"] = (created - _BEGUN) * 1000
    if logging.logThreads:
        attributes["thread"] = threading.get_ident()
        attributes["threadName"] = threading.current_thread().name
    if logging.logMultiprocessing:
        attributes["processName"] = _process_name()
    if logging.logProcesses:
        attributes["process"] = _here.pid
    if _HAS_TASK_NAMES and getattr(logging, "logAsyncioTasks", True):
        attributes["taskName"] = _task_name()
    if TRACING in sys.modules:
        attributes.update(current_ids())
    if extra:
        attach_extra(record, extra)
    elif extra is not None:
        record._given = extra  # noqa: SLF001  # its slot
    return record


def _names_in(path: str) -> tuple[str, str]:
    """The file and the module that a path names."""
    filename = os.path.basename(path)
    if len(_paths) >= _MAX_PATHS:
        _paths.clear()
    names = _paths[path] = filename, os.path.splitext(filename)[0]
    return names


def _process_name() -> str:
    """The name that ``multiprocessing`` has for this process, where it is used at all."""
    processes = sys.modules.get("multiprocessing.process")
    try:
        return "MainProcess" if processes is None else processes.current_process().name
    except Exception:  # noqa: BLE001  # as the standard library: it may be just being imported
        return "MainProcess"


def _task_name() -> str | None:
    """The name of the asyncio task that is running here, if one is."""
    loop = asyncio._get_running_loop()  # noqa: SLF001  # the documented one raises where none runs
    task = None if loop is None else asyncio.current_task(loop)
    return None if task is None else task.get_name()
