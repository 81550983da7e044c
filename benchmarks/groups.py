"""The works that are measured together, each group in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks import baselines, ours
from benchmarks.works import Samples, Work, interleave
from benchmarks.written import calls, writes


@dataclass(frozen=True)
class Size:
    """How much of everything: the real thing, or just enough to see that it works."""

    rounds: int
    count: int


FULL = Size(rounds=60, count=200)
TINY = Size(rounds=1, count=10)
SIZES = {"full": FULL, "tiny": TINY}


def installed(works: Mapping[str, Work], needs: Mapping[str, str]) -> dict[str, Work]:
    """The works but for those that need a module which isn't installed."""
    return {name: work for name, work in works.items() if find_spec(needs.get(name, "logging"))}


LINES: Mapping[str, Work] = {
    "task_log": writes(ours.task_log_to()),
    "FileHandler": calls(baselines.file_handler),
    "RotatingFileHandler": calls(baselines.rotating_file_handler),
    "FileHandler, tuned": writes(baselines.tuned_file_handler),
    "loguru": calls(baselines.loguru_file),
    "structlog": calls(baselines.structlog_file),
    "os.write": calls(baselines.os_write),
}

QUEUED: Mapping[str, Work] = {
    "task_log queued": writes(ours.queued_task_log),
    "QueueHandler": writes(baselines.queue_handler),
    "FileHandler": calls(baselines.file_handler),
}

JSON: Mapping[str, Work] = {
    "task_log json": writes(ours.task_log_to(formatter="json"), length=None),
    "python-json-logger": calls(baselines.json_file("json"), length=None),
}

NEEDS = {"loguru": "loguru", "structlog": "structlog"}


def _in_turns(works: Mapping[str, Work], count: int = 1) -> Callable[[Size], Samples]:
    def measure(size: Size) -> Samples:
        with tempfile.TemporaryDirectory() as folder:
            return interleave(
                installed(works, NEEDS),
                Path(folder),
                rounds=size.rounds,
                count=size.count * count,
            )

    return measure


GROUPS: Mapping[str, Callable[[Size], Samples]] = {
    "lines": _in_turns(LINES),
    "queued": _in_turns(QUEUED, count=4),
    "json": _in_turns(JSON),
}
