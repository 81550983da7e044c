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
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.loggers.places import Place
from fastapi_taskflow.records import LibraryLogRecord, attach_extra
from fastapi_taskflow.tracing import current_ids

R = TypeVar("R", bound=LibraryLogRecord)

_HAS_TASK_NAMES = sys.version_info >= (3, 12)

_BARE = logging.LogRecord("", 0, "", 0, "", (), None)
_BEGUN = _BARE.created - _BARE.relativeCreated / 1000  # what relativeCreated counts from
_EMPTY = {**dict.fromkeys(vars(_BARE)), "args": ()}

_level_names: dict[int, str] = logging._levelToName  # noqa: SLF001  # to read, as getLevelName()

_new = object.__new__


class _Unnamed:
    """A process for which ``multiprocessing`` was never used."""

    name = "MainProcess"


def _find_process() -> Any:
    """The process as ``multiprocessing`` knows it, where it is used at all."""
    processes = sys.modules.get("multiprocessing.process")
    find = getattr(processes, "current_process", None)  # it may be just being imported
    if find is None:
        return _Unnamed
    _here.process = find
    return find()


class _Here:
    """This process: to ask for its number is a system call."""

    def __init__(self) -> None:
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        self.pid = os.getpid()
        self.process: Callable[[], Any] = _find_process  # what gives the one that this is


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
    place: Place,
    extra: dict[str, Any] | None,
    kind: type[R],
    thread: threading.Thread,
) -> R:
    """A record without arguments and exception, made now, in this thread.

    Args:
        laid_out: What all records of the logger have.
        levelno: The level's number.
        message: The message.
        place: Where it is logged.
        extra: The structured fields.
        kind: Its class.
        thread: This thread.
    """
    nanoseconds = time.time_ns()  # as a float, many a time is not of its own millisecond
    created = nanoseconds / 1e9
    record = _new(kind)
    # A copy with a few changes takes half the time of as many attributes set one by one.
    record.__dict__ = attributes = laid_out.copy()
    attributes["msg"] = message
    attributes["levelname"] = _level_names.get(levelno) or logging.getLevelName(levelno)
    attributes["levelno"] = levelno
    (
        attributes["pathname"],
        attributes["lineno"],
        attributes["funcName"],
        attributes["filename"],
        attributes["module"],
    ) = place
    attributes["created"] = created
    attributes["msecs"] = nanoseconds % 1_000_000_000 // 1_000_000 + 0.0
    attributes["relativeCreated"] = (created - _BEGUN) * 1000.0
    if logging.logThreads:
        attributes["thread"] = threading.get_ident()
        attributes["threadName"] = thread.name
    if logging.logMultiprocessing:
        attributes["processName"] = _here.process().name
    if logging.logProcesses:
        attributes["process"] = _here.pid
    if _HAS_TASK_NAMES and getattr(logging, "logAsyncioTasks", True):
        attributes["taskName"] = _task_name()
    ids = current_ids()
    if ids:
        attributes.update(ids)
    if extra:
        attach_extra(record, extra)
    elif extra is not None:
        record._given = extra  # noqa: SLF001  # its slot
    return record


def _task_name() -> str | None:
    """The name of the asyncio task that is running here, if one is."""
    loop = asyncio._get_running_loop()  # noqa: SLF001  # the documented one raises where none runs
    task = None if loop is None else asyncio.current_task(loop)
    return None if task is None else task.get_name()
