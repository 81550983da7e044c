"""What the table shows: each figure, what it stands beside, and the goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A row of the table.

    Attributes:
        work: What was done.
        measured: The name of its samples, as ``group/work``.
        beside: The name of the samples that it is compared with; None compares it with nothing.
        most: The most that the ratio may be; None sets no such goal.
        limit: The most that the figure itself may be; None sets no such goal.
        unit: "second", "byte" or "per second".
    """

    work: str
    measured: str
    beside: str | None = None
    most: float | None = None
    limit: float | None = None
    unit: str = "second"


LINE = "`task_log()` to a rotating file"

GOALS: Sequence[Figure] = (
    Figure(LINE, "lines/task_log", "lines/FileHandler", most=0.65),
    Figure(LINE, "lines/task_log", "lines/RotatingFileHandler", most=0.40),
    Figure(
        "the same, `queued=True`: caller",
        "queued/task_log queued: caller",
        "queued/FileHandler",
        most=0.45,
    ),
    Figure(
        "the same, `queued=True`: end to end",
        "queued/task_log queued: end to end",
        "queued/QueueHandler: end to end",
        most=0.40,
    ),
    Figure(
        "`task_log()` that nobody wants",
        "disabled/task_log",
        "disabled/debug()",
        most=3.0,
        limit=0.6e-6,
    ),
    Figure("an entry to an async observer, end to end", "observer/task_log", limit=12e-6),
    Figure(
        "an async task, CPU",
        "tasks/in memory, async",
        "tasks/BackgroundTasks, async",
        limit=120e-6,
    ),
    Figure(
        "a sync task, CPU", "tasks/in memory, sync", "tasks/BackgroundTasks, sync", limit=120e-6
    ),
    Figure(
        "an async task with SQLite, CPU",
        "tasks/with SQLite, async",
        "tasks/BackgroundTasks, async",
        limit=200e-6,
    ),
    Figure(
        "a sync task with SQLite, CPU",
        "tasks/with SQLite, sync",
        "tasks/BackgroundTasks, sync",
        limit=200e-6,
    ),
    Figure("memory of 100,000 entries to a file", "file-memory/growth", limit=20e6, unit="byte"),
    Figure(
        "memory of 100,000 entries to an async observer",
        "observer-memory/growth",
        limit=20e6,
        unit="byte",
    ),
    Figure("a task's start beside an observer of 1 s an event", "slow/start", limit=5e-3),
    Figure("the whole task beside it", "slow/whole", limit=50e-3),
    Figure("a JSON line", "json/task_log", "json/python-json-logger", most=1.3),
    Figure(
        "its formatting alone",
        "json/TaskJsonFormatter.format",
        "json/python-json-logger's format()",
        most=1.3,
    ),
    Figure("a JSON line with orjson", "orjson/task_log", "orjson/python-json-logger", most=1.3),
    Figure(
        "its formatting alone",
        "orjson/TaskJsonFormatter.format",
        "orjson/python-json-logger's format()",
        most=1.3,
    ),
    Figure(
        "longest stall of the loop, 50,000 entries to 3 observers",
        "stalls/task",
        "stalls/thread with 3 FileHandlers",
        limit=20e-3,
    ),
    Figure(
        "`import fastapi_taskflow` after `import fastapi`", "import/fastapi_taskflow", limit=60e-3
    ),
)

OTHERS: Sequence[Figure] = (
    *(
        Figure(LINE, "lines/task_log", f"lines/{other}")
        for other in ("FileHandler, tuned", "loguru", "structlog", "os.write")
    ),
    Figure(
        "`queued=True`: caller",
        "queued/task_log queued: caller",
        "queued/QueueHandler: caller",
    ),
    Figure("`from fastapi_taskflow import *` after `import fastapi`", "import/every name"),
    Figure(
        "a server's requests, a task of 5 lines each",
        "server/fastapi_taskflow: requests",
        "server/BackgroundTasks: requests",
        unit="per second",
    ),
    Figure(
        "its p99 latency",
        "server/fastapi_taskflow: p99",
        "server/BackgroundTasks: p99",
    ),
)
