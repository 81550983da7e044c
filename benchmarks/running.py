"""The CPU time of a task that does nothing: from its enqueueing to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from fastapi import BackgroundTasks

from benchmarks.works import Measure
from fastapi_taskflow import FileLogger, ManagedBackgroundTasks, TaskManager

REQUESTS_AT_ONCE = 20
"""As a server would have them; with a database they are written together."""


async def async_body() -> None:
    """Do nothing, on the event loop."""


def sync_body() -> None:
    """Do nothing, in a thread."""


async def _cpu_per_request(request: Callable[[], Awaitable[object]], count: int) -> float:
    """The CPU seconds of all threads of this process, for each of so many requests."""

    requests = iter(range(count))

    async def client() -> None:
        for _ in requests:
            await request()

    start = time.process_time()
    await asyncio.gather(*(client() for _ in range(REQUESTS_AT_ONCE)))
    return (time.process_time() - start) / count


def requests_to(
    body: Callable[[], Any], path: Path, *, database: bool = False
) -> tuple[TaskManager, Callable[[], Awaitable[None]]]:
    """A manager that writes status changes to a file, and what a request does with a task of it.

    Args:
        body: What the task does.
        path: The file.
        database: Whether tasks are kept in SQLite, too.
    """
    manager = TaskManager(
        loggers=[FileLogger(path, log_lifecycle=True)],
        snapshot_db=path.parent / "tasks.db" if database else None,
    )
    manager.task()(body)

    async def request() -> None:
        tasks = ManagedBackgroundTasks(manager.engine)
        tasks.add_task(body)
        await tasks()

    return manager, request


def managed(
    body: Callable[[], Any], *, database: bool = False
) -> Callable[[Path], AbstractContextManager[Measure]]:
    """Tasks of a manager that writes their status changes to a file.

    Args:
        body: What they do.
        database: Whether they are kept in SQLite, too.
    """

    @contextmanager
    def opened(path: Path) -> Iterator[Measure]:
        manager, request = requests_to(body, path, database=database)

        async def measure(count: int) -> float:
            async with manager:
                return await _cpu_per_request(request, count)

        yield lambda count: asyncio.run(measure(count))

    return opened


def plain(body: Callable[[], Any]) -> Callable[[Path], AbstractContextManager[Measure]]:
    """FastAPI's own background tasks, which leave no trace of what they did."""

    @contextmanager
    def opened(_folder: Path) -> Iterator[Measure]:
        async def request() -> None:
            tasks = BackgroundTasks()
            tasks.add_task(body)
            await tasks()

        yield lambda count: asyncio.run(_cpu_per_request(request, count))

    return opened
