"""``task_progress()``: how far the running task has come."""

from __future__ import annotations

import sys
from numbers import Integral, Real
from typing import Any, cast

from fastapi_taskflow.context import active_task
from fastapi_taskflow.events import TaskProgress
from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.loggers.birth import report, text_of
from fastapi_taskflow.loggers.emit import TaskEmitter
from fastapi_taskflow.loggers.ledger import Diagnostics
from fastapi_taskflow.records import LIBRARY

_log = Diagnostics(f"{LIBRARY}.execution")


def task_progress(done: float, total: float | None = None, message: object = None) -> None:
    """Say how far the running task has come.

    It is in the task's record at once and, as the newest of what was said in the meantime, in
    the database and with those who watch within 0.1 seconds: it may be called in every turn of
    a loop. A retry begins without; the end of the task leaves it as it was last. Any thread may
    call it. It never raises. Outside a task, and in a child that its body forks, nothing happens.

    Args:
        done: How much is done, in any unit. It may be less than before, and more than ``total``,
            which counts as all of it.
        total: How much there is to do; None where that is unknown. What is no finite number of 0
            or more, here or in ``done``, is reported once and changes nothing.
        message: What is being done, rendered with ``str()`` now.
    """
    try:
        emitter = active_task.get()
        if isinstance(emitter, TaskEmitter):
            progress = _progress(done, total, message)
            if progress is not None:
                emitter.progress(progress)
        else:
            _log.debug("task_progress() outside a task does nothing")
    except BaseException as error:  # noqa: BLE001  # this function's promise, should all fail
        let_pass(error)
        report("task_progress() failed, and what it said is lost", error)


def _progress(done: object, total: object, message: object) -> TaskProgress | None:
    """The progress, or None, and a report, where a value can't be used."""
    counted = _amount("done", done)
    whole = None if total is None else _amount("total", total)
    if counted is None or (whole is None and total is not None):
        return None
    return TaskProgress(counted, whole, None if message is None else text_of(message))


def _amount(name: str, value: object) -> float | None:
    """A value as a plain number, or None, and a report, where it is none that can be used."""
    number = _number(value)
    if number is not None and 0 <= number <= sys.float_info.max:  # NaN is not
        return number
    if number is None:
        what = f"of type {type(value).__name__}"
    else:
        what = "negative" if number < 0 else "not finite"
    report(f"task_progress({name}=...): it is {what}; expected a finite number of 0 or more")
    return None


def _number(value: Any) -> float | None:
    """Any kind of number, NumPy's say, as Python's own; None where it is none."""
    kind = type(value)
    if kind is int or kind is float:
        return cast("float", value)
    if kind is bool or not isinstance(value, Real):
        return None
    return int(value) if isinstance(value, Integral) else float(value)
