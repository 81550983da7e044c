"""By how much the process grows when one task logs a great deal."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

from benchmarks.lines import check_lines
from benchmarks.observing import CountingObserver
from benchmarks.ours import WRITE, in_task
from benchmarks.works import Samples, repeat
from fastapi_taskflow import FileLogger, TaskManager, TaskObserver

WARM = 10
STATUS = Path("/proc/self/status")


def _resident(field: str) -> int:
    """Bytes of this process in memory: now (``VmRSS``), or the most ever (``VmHWM``).

    Elsewhere than on Linux both are the most ever: a growth from there is still one.
    """
    if STATUS.exists():
        found = re.search(rf"^{field}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _growth(observer: TaskObserver, entries: int) -> float:
    run = in_task(TaskManager(loggers=[observer]), lambda count: repeat(WRITE, count))
    run(WARM)
    before = _resident("VmRSS")
    run(entries)
    return float(max(0, _resident("VmHWM") - before))


def growth_to_a_file(folder: Path, entries: int) -> Samples:
    """To a file: no entry is kept but the newest of the task."""
    path = folder / "task.log"
    samples = {"growth": [_growth(FileLogger(path), entries)]}
    check_lines(path, WARM + entries)
    return samples


def growth_to_an_observer(entries: int) -> Samples:
    """To an async observer: what waits for it is bounded, too."""
    return {"growth": [_growth(CountingObserver(), entries)]}
