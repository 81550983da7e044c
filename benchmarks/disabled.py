"""Calls whose level nobody wants: what a log line costs that isn't written."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.baselines import fresh_logger
from benchmarks.lines import MESSAGE
from benchmarks.ours import in_task
from benchmarks.works import Measure
from fastapi_taskflow import FileLogger, TaskManager, task_log


def _repeat_with_message(call: Callable[[str], object], count: int) -> float:
    """`repeat()` with no call in between, which would be a good part of so little."""
    start = time.perf_counter()
    for _ in range(count):
        call(MESSAGE)
    return (time.perf_counter() - start) / count


@contextmanager
def disabled_task_log(folder: Path) -> Iterator[Measure]:
    """``task_log()`` below the level that is set on the tree."""
    path = folder / "task.log"
    manager = TaskManager(loggers=[FileLogger(path)])
    tree = logging.getLogger("fastapi_taskflow.task")
    before = tree.level
    tree.setLevel(logging.WARNING)
    yield in_task(manager, partial(_repeat_with_message, task_log))
    tree.setLevel(before)
    if path.read_bytes():
        raise AssertionError("what was to be filtered was written")


@contextmanager
def disabled_debug(_folder: Path) -> Iterator[Measure]:
    """``debug()`` on a logger of the standard library's that is at INFO."""
    yield partial(_repeat_with_message, fresh_logger().debug)
