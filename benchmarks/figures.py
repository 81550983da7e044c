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
        goal: The most that the ratio may be, or the figure itself where it is compared with
            nothing; None sets none.
        unit: "second", "byte" or "per second".
    """

    work: str
    measured: str
    beside: str | None = None
    goal: float | None = None
    unit: str = "second"


FILE = "lines/FileHandler"

GOALS: Sequence[Figure] = (
    Figure("`task_log` to a rotating file", "lines/task_log", FILE, 0.65),
    Figure("`task_log` to a rotating file", "lines/task_log", "lines/RotatingFileHandler", 0.40),
    Figure(
        "the same, `queued=True`: caller",
        "queued/task_log queued: caller",
        "queued/FileHandler",
        0.45,
    ),
    Figure(
        "the same, `queued=True`: end to end",
        "queued/task_log queued: end to end",
        "queued/QueueHandler: end to end",
        0.40,
    ),
    Figure("`task_log` to a JSON file", "json/task_log json", "json/python-json-logger", 1.3),
)

OTHERS: Sequence[Figure] = (
    Figure("`task_log` to a rotating file", "lines/task_log", "lines/os.write"),
    Figure("`task_log` to a rotating file", "lines/task_log", "lines/FileHandler, tuned"),
    Figure("`task_log` to a rotating file", "lines/task_log", "lines/loguru"),
    Figure("`task_log` to a rotating file", "lines/task_log", "lines/structlog"),
)
