"""The longest that the event loop stands still while a thread logs a great deal."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.baselines import EXTRA, formatted, fresh_logger
from benchmarks.lines import FUNCTION, MESSAGE, check_lines
from benchmarks.observing import CountingObserver
from benchmarks.ours import WRITE, result_of
from benchmarks.works import Samples, repeat
from fastapi_taskflow import FileLogger, InMemoryLogger, TaskManager

TICK = 0.001


async def _worst_stall(work: Callable[[], Awaitable[object]]) -> float:
    """Run something, and give the seconds by which the loop was most late meanwhile.

    It begins without the garbage of what was before: all imports would be looked through at once.
    """
    gc.collect()
    doing = asyncio.ensure_future(work())
    worst = 0.0
    while not doing.done():
        before = time.perf_counter()
        await asyncio.sleep(TICK)
        worst = max(worst, time.perf_counter() - before - TICK)
    await doing
    return worst


async def _while_a_task_logs(folder: Path, entries: int) -> float:
    path = folder / "task.log"
    memory = InMemoryLogger(capacity=entries)
    manager = TaskManager(loggers=[FileLogger(path), memory, CountingObserver()])

    @manager.task(name=FUNCTION)
    def body() -> None:
        repeat(WRITE, entries)

    async def work() -> None:
        result_of(await manager.execute(body))

    async with manager:
        worst = await _worst_stall(work)
    check_lines(path, entries)
    return worst


async def _while_a_thread_logs(folder: Path, entries: int) -> float:
    paths = [folder / f"{number}.log" for number in range(3)]
    logger = fresh_logger(*(formatted(logging.FileHandler(path)) for path in paths))

    info = partial(logger.info, MESSAGE, extra=EXTRA)

    worst = await _worst_stall(lambda: asyncio.to_thread(repeat, info, entries))

    for path, handler in zip(paths, logger.handlers, strict=True):
        handler.close()
        check_lines(path, entries)
    return worst


def stalls(folder: Path, rounds: int, entries: int) -> Samples:
    """With a task and three observers, and with a thread and three handlers, in turns."""
    works = {"task": _while_a_task_logs, "thread with 3 FileHandlers": _while_a_thread_logs}
    samples: Samples = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            with TemporaryDirectory(dir=folder) as empty:
                samples[name].append(asyncio.run(work(Path(empty), entries)))
    return samples
