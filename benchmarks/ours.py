"""The library's lines, through its public names alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.baselines import timed_to_the_end
from benchmarks.lines import FUNCTION, MESSAGE
from benchmarks.works import Call, Measure, repeat
from fastapi_taskflow import FileLogger, TaskManager, TaskRecord, task_log

WRITE: Call = partial(task_log, MESSAGE)


def in_task(manager: TaskManager, measure: Measure) -> Measure:
    """A measure that is taken by the body of a task: a sync function, a new task each time."""

    def body(count: int) -> Any:
        return measure(count)

    manager.task(name=FUNCTION)(body)
    return lambda count: result_of(manager.run(body, count))


def result_of(record: TaskRecord) -> Any:
    """What a task has returned; an error if it failed, as there is nothing to measure then."""
    if record.error is not None:
        raise RuntimeError(record.stacktrace)
    return record.result


def task_log_to(**options: Any) -> Callable[[Path], AbstractContextManager[Measure]]:
    """``task_log()`` to one ``FileLogger`` with these options."""

    @contextmanager
    def opened(path: Path) -> Iterator[Measure]:
        manager = TaskManager(loggers=[FileLogger(path, **options)])
        yield in_task(manager, partial(repeat, WRITE))

    return opened


@contextmanager
def queued_task_log(path: Path) -> Iterator[Measure]:
    """The same with ``queued=True``: for the caller, and until the line is in the file."""
    manager = TaskManager(loggers=[FileLogger(path, queued=True)])

    def wait_until_written() -> None:
        while manager.observer_stats()["FileLogger"].queued:
            time.sleep(0.0002)

    yield in_task(manager, partial(timed_to_the_end, WRITE, wait_until_written))
