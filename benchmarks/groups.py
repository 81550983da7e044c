"""The works that are measured together, each group in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

from benchmarks import baselines, ours
from benchmarks.disabled import disabled_debug, disabled_task_log
from benchmarks.imports import import_seconds
from benchmarks.json_lines import json_works
from benchmarks.lines import Shape
from benchmarks.memory import growth_to_a_file, growth_to_an_observer
from benchmarks.observing import beside_a_slow_observer, to_an_observer
from benchmarks.running import async_body, managed, plain, sync_body
from benchmarks.serving import SERVERS
from benchmarks.stalls import stalls
from benchmarks.works import Samples, Work, interleave
from benchmarks.written import calls, writes


@dataclass(frozen=True)
class Size:
    """How much of everything: the real thing, or just enough to see that it works.

    Attributes:
        rounds: How often what is short is measured in one process.
        count: How many times it is done in each round.
    """

    rounds: int
    count: int


SIZES = {"full": Size(rounds=60, count=200), "tiny": Size(rounds=1, count=10)}

Group: TypeAlias = Callable[[Size, Path], Samples]

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

DISABLED: Mapping[str, Work] = {"task_log": disabled_task_log, "debug()": disabled_debug}

STATUS_LINES = Shape(holding="] 2", each=2)

TASKS: Mapping[str, Work] = {
    f"{name}, {kind}": work
    for kind, body in {"async": async_body, "sync": sync_body}.items()
    for name, work in {
        "in memory": writes(managed(body), shape=STATUS_LINES),
        "with SQLite": writes(managed(body, database=True), shape=STATUS_LINES),
        "BackgroundTasks": plain(body),
    }.items()
}

NEEDS = {
    "loguru": ("loguru",),
    "structlog": ("structlog",),
    "python-json-logger": ("pythonjsonlogger",),
    "python-json-logger's format()": ("pythonjsonlogger",),
}
"""The modules without which a work can't be done; the table says so, where one is missing."""

PROCESSES = {"file-memory": 3, "observer-memory": 3}
"""How many processes a group has where the others have one: those that get one figure of each."""


def in_turns(
    works: Mapping[str, Work], *, rounds: float = 1, count: int = 1, needs: Sequence[str] = ()
) -> Group:
    """A group of works in turns.

    Args:
        works: The works.
        rounds: By what to multiply the number of rounds.
        count: By what to multiply how many times it is done in each.
        needs: The modules without which none of them can be done.
    """

    def measure(size: Size, folder: Path) -> Samples:
        present = {
            name: work
            for name, work in works.items()
            if all(map(find_spec, (*needs, *NEEDS.get(name, ()))))
        }
        times = max(1, round(size.rounds * rounds))
        return interleave(present, folder, rounds=times, count=size.count * count)

    return measure


GROUPS: Mapping[str, Group] = {
    "lines": in_turns(LINES),
    "queued": in_turns(QUEUED, count=5),
    "json": in_turns(json_works("json")),
    "orjson": in_turns(json_works("orjson"), needs=["orjson"]),
    "disabled": in_turns(DISABLED, count=20),
    "observer": in_turns({"task_log": to_an_observer}, rounds=0.3, count=10),
    "tasks": in_turns(TASKS, rounds=0.1, count=4),
    "slow": lambda size, _folder: beside_a_slow_observer(size.rounds // 2 + 1),
    "file-memory": lambda size, folder: growth_to_a_file(folder, size.count * 500),
    "observer-memory": lambda size, _folder: growth_to_an_observer(size.count * 500),
    "stalls": lambda size, folder: stalls(folder, -(-size.rounds // 20), size.count * 250),
    "import": lambda size, folder: import_seconds(size.rounds // 12 + 1, folder),
    "server": in_turns(SERVERS, rounds=0.15, count=5),
}


def measure_group(name: str, size: str) -> Samples:
    """Measure one group, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        return GROUPS[name](SIZES[size], Path(folder))
