"""How costs grow: by entries in a task, tasks at once, observers, and processes on one file."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.lines import check_lines
from benchmarks.ours import WRITE, in_task
from benchmarks.works import repeat
from fastapi_taskflow import FileLogger, ManagedBackgroundTasks, TaskManager

BEST_OF = 3


@dataclass(frozen=True)
class Curve:
    """A cost at several sizes.

    Attributes:
        title: What it is the cost of.
        size: What grows.
        microseconds: Of what: the cost of one.
        points: The sizes, and the seconds at each.
    """

    title: str
    size: str
    microseconds: str
    points: Sequence[tuple[int, float]]


def per_entry(folder: Path, entries: int, observers: int = 1) -> float:
    """Seconds of an entry of a task that logs so many, to so many files."""
    paths = [folder / f"{number}.log" for number in range(observers)]
    manager = TaskManager(loggers=[FileLogger(path, max_bytes=0) for path in paths])
    measured = in_task(manager, lambda count: repeat(WRITE, count))(entries)
    for path in paths:
        check_lines(path, entries)
    assert isinstance(measured, float)
    return measured


def per_live_task(_folder: Path, tasks: int) -> float:
    """Seconds of CPU of a task, from its enqueueing to its end, while so many are running."""
    return asyncio.run(_per_live_task(tasks))


async def _per_live_task(tasks: int) -> float:
    manager = TaskManager()
    running, all_run = 0, asyncio.Event()

    async def body() -> None:
        nonlocal running
        running += 1
        if running == tasks:
            all_run.set()
        await all_run.wait()

    async def request() -> None:
        background = ManagedBackgroundTasks(manager.engine)
        background.add_task(body)
        await background()

    async with manager:
        start = time.process_time()
        await asyncio.gather(*(request() for _ in range(tasks)))
        return (time.process_time() - start) / tasks


WRITER = """
import sys
from pathlib import Path
from benchmarks.growth import write_when_told
write_when_told(Path(sys.argv[1]), int(sys.argv[2]))
"""


def write_when_told(path: Path, entries: int) -> None:
    """Log to a file that is rolled, once a line comes; say so when done."""
    observer = FileLogger(path, max_bytes=1_000_000, backup_count=1000)
    run = in_task(TaskManager(loggers=[observer]), lambda count: repeat(WRITE, count))
    print("ready", flush=True)
    sys.stdin.readline()
    run(entries)
    print("done", flush=True)


def per_shared_line(folder: Path, processes: int, entries: int) -> float:
    """Seconds until a line more is in a rolled file that so many processes write to at once."""
    path = folder / "shared.log"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(entries)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    start = time.perf_counter()
    for writer in writers:
        writer.communicate("go\n")
    seconds = time.perf_counter() - start
    check_lines(path, processes * entries)
    return seconds / (processes * entries)


def _curve(measure: Callable[[Path, int], float], sizes: Sequence[int]) -> list[tuple[int, float]]:
    """The least of a few measurements at each size: the rest is what disturbed them."""
    points = []
    for size in sizes:
        seconds = []
        for _ in range(BEST_OF if size < 100_000 else 1):
            with tempfile.TemporaryDirectory() as folder:
                seconds.append(measure(Path(folder), size))
        points.append((size, min(seconds)))
        print(f"{measure.__name__} {size}: {min(seconds) * 1e6:.1f} µs", file=sys.stderr)
    return points


def grow(size: str) -> list[Curve]:
    """Measure all of it; in full this takes about two minutes.

    Args:
        size: "full", or "tiny" to see that it works.
    """
    most = 1_000_000 if size == "full" else 100
    powers = [10**n for n in range(1, 7) if 10**n <= most]
    entries = min(most, 10_000)

    def per_observer(folder: Path, observers: int) -> float:
        return per_entry(folder, entries, observers)

    def per_process(folder: Path, processes: int) -> float:
        return per_shared_line(folder, processes, entries * 2)

    return [
        Curve("An entry of a task", "entries in the task", "entry", _curve(per_entry, powers)),
        Curve(
            "A task among others", "tasks at once", "task, CPU", _curve(per_live_task, powers[:5])
        ),
        Curve("An entry to files", "observers", "entry", _curve(per_observer, range(9))),
        Curve(
            "A line in a file that is shared",
            "processes",
            "line",
            _curve(per_process, range(1, 5)),
        ),
    ]
