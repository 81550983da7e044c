"""What an async observer costs: from ``task_log()`` to the observer's end of it; and a slow one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.ours import WRITE, result_of
from benchmarks.works import Measure, Samples, repeat
from fastapi_taskflow import (
    LifecycleEvent,
    LogEvent,
    ManagedBackgroundTasks,
    TaskManager,
    TaskObserver,
    TaskStatus,
)


class CountingObserver(TaskObserver):
    """Does nothing with its events but count them, and note when the task's last one came."""

    def __init__(self) -> None:
        self.count = 0
        self.ended = 0.0

    async def on_log(self, event: LogEvent) -> None:
        """Count it."""
        self.count += 1

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        """Note the time: events come in order, so all the entries have come."""
        if event.status is TaskStatus.SUCCESS:
            self.ended = time.perf_counter()


@contextmanager
def to_an_observer(_folder: Path) -> Iterator[Measure]:
    """A sync task's entries, until an async observer has had the last of them."""
    observer = CountingObserver()
    manager = TaskManager(loggers=[observer])

    def body(count: int) -> float:
        start = time.perf_counter()
        repeat(WRITE, count)
        return start

    def measure(count: int) -> float:
        observer.count = 0
        start: float = result_of(manager.run(body, count))
        if observer.count != count:
            raise AssertionError(f"the observer had {observer.count} of {count} events")
        return (observer.ended - start) / count

    yield measure


class SlowObserver(TaskObserver):
    """Takes a second an event."""

    async def on_log(self, event: LogEvent) -> None:
        """Take it."""
        await asyncio.sleep(1)

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        """Take it, too."""
        await asyncio.sleep(1)


def beside_a_slow_observer(tasks: int) -> Samples:
    """How long tasks wait for their start, and take, while an observer is a second an event."""
    return asyncio.run(_beside_a_slow_observer(tasks))


async def _beside_a_slow_observer(tasks: int) -> Samples:
    samples: Samples = {"start": [], "whole": []}
    manager = TaskManager(loggers=[SlowObserver()], drain_timeout=0.01)

    def body(enqueued: float) -> float:
        started = time.perf_counter()
        repeat(WRITE, 5)
        return started - enqueued

    async with manager:
        for _ in range(tasks):
            background = ManagedBackgroundTasks(manager.engine)
            enqueued = time.perf_counter()
            task_id = background.add_task(body, enqueued)
            await background()
            samples["whole"].append(time.perf_counter() - enqueued)
            samples["start"].append(result_of(manager.get_task(task_id)))
    return samples
