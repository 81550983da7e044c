"""The one table: what was measured, beside what, and whether the goal is met."""

from __future__ import annotations

import os
import platform
import re
import timeit
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles

import fastapi_taskflow
from benchmarks.figures import Figure
from benchmarks.runner import Measured

HEAD = ("work", "takes", "beside", "takes", "ratio (middle half)", "goal", "met")

SCALES: dict[str, Sequence[tuple[float, str]]] = {
    "second": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "byte": ((1e6, "MB"), (1e3, "kB"), (1.0, "B")),
    "per second": ((1.0, "/s"),),
}


@dataclass(frozen=True)
class Middle:
    """Samples in short: the median, and the half of them around it."""

    median: float
    low: float
    high: float


def middle(samples: Sequence[float]) -> Middle:
    """The median and the quartiles."""
    if len(samples) == 1:
        return Middle(samples[0], samples[0], samples[0])
    low, mid, high = quantiles(samples, method="inclusive")
    return Middle(mid, low, high)


def amount(value: float, unit: str) -> str:
    """A figure with the unit in which it has one to three digits before the point."""
    factor, name = next((scale for scale in SCALES[unit] if value >= scale[0]), SCALES[unit][-1])
    scaled = value / factor
    return f"{scaled:.3g} {name}" if scaled < 1000 else f"{scaled:.0f} {name}"


def row(figure: Figure, measured: Measured) -> tuple[str, ...]:
    """The cells of one figure."""
    ours, theirs = measured.get(figure.measured), measured.get(figure.beside or "")
    name = figure.beside.partition("/")[2] if figure.beside else ""
    if ours is None or (figure.beside and theirs is None):
        return (figure.work, "", name, "not installed", "", _goal(figure), "")
    return (
        figure.work,
        amount(median(ours), figure.unit),
        name,
        amount(median(theirs), figure.unit) if theirs else "",
        _spread(figure, ours, theirs),
        _goal(figure),
        _met(figure, ours, theirs),
    )


def _spread(figure: Figure, ours: Sequence[float], theirs: Sequence[float] | None) -> str:
    if theirs is None:
        found = middle(ours)
        return f"({amount(found.low, figure.unit)} to {amount(found.high, figure.unit)})"
    found = ratio_of(ours, theirs)
    return f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})"


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> Middle:
    """The ratios round by round: both sides of each were measured within the same moment."""
    return middle([a / b for a, b in zip(ours, theirs, strict=True)])


def _goal(figure: Figure) -> str:
    goals = [
        *([f"{figure.most:.2f} x"] if figure.most is not None else []),
        *([amount(figure.limit, figure.unit)] if figure.limit is not None else []),
    ]
    return "≤ " + ", ".join(goals) if goals else ""


def _met(figure: Figure, ours: Sequence[float], theirs: Sequence[float] | None) -> str:
    reached = [
        *([median(ours) <= figure.limit] if figure.limit is not None else []),
        *([ratio_of(ours, theirs).median <= figure.most] if theirs and figure.most else []),
    ]
    if not reached:
        return ""
    return "yes" if all(reached) else "no"


def table(figures: Iterable[Figure], measured: Measured) -> str:
    """The table in Markdown, aligned, so that it can be read as it is."""
    rows = [HEAD, *(row(figure, measured) for figure in figures)]
    widths = [max(len(cells[n]) for cells in rows) for n in range(len(HEAD))]
    lines = ["| " + " | ".join(map(str.ljust, cells, widths)) + " |" for cells in rows]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)


def machine() -> str:
    """Where and when this was measured, and how fast that is: an absolute figure is one there."""
    return (
        f"fastapi-taskflow {fastapi_taskflow.__version__}, "
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}, "
        f"{os.cpu_count()} x {_processor()}, {datetime.now(UTC):%d %B %Y}. "
        f"A call of an empty function takes {amount(_empty_call(), 'second')} there."
    )


def _empty_call() -> float:
    times = 100_000
    return min(timeit.repeat("call()", "def call(): pass", number=times, repeat=5)) / times


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    text = described.read_text() if described.exists() else ""
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()
