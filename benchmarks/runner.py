"""Runs groups in processes of their own, several times over, and gathers what they measured."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.groups import PROCESSES

ROOT = Path(__file__).resolve().parent.parent

SECONDS = 270.0
"""After how long no group has another process: a slow machine has fewer samples, and is done."""

Measured = dict[str, list[float]]
"""Samples by ``group/work``: those of all processes, one after the other."""


class WorkerError(RuntimeError):
    """A group could not be measured."""

    def __init__(self, group: str, output: str) -> None:
        super().__init__(f"{group} could not be measured:\n{output}")


def measure(groups: Iterable[str], *, processes: int, size: str) -> Measured:
    """Measure groups, each in as many processes.

    All groups have their first process before one has its second, so that a bad minute of the
    machine spoils a part of each, which a median bears, and nothing of it entirely.

    Args:
        groups: Their names.
        processes: How many processes each has, or by what to multiply its own number of them.
            There are fewer where that would take longer than ``SECONDS``.
        size: The name of a size.

    Raises:
        WorkerError: A process failed.
    """
    measured: Measured = {}
    names = list(groups)
    begun = time.monotonic()
    for turn in range(processes):
        if turn and (time.monotonic() - begun) / turn * (turn + 1) > SECONDS:
            print(f"\r\x1b[KThis machine is slow: {turn} of {processes} turns.", file=sys.stderr)
            break
        for group in names:
            print(f"\r\x1b[K{turn + 1}/{processes} {group}", end="", file=sys.stderr, flush=True)
            for _ in range(PROCESSES.get(group, 1)):
                for work, samples in _run(group, size).items():
                    measured.setdefault(f"{group}/{work}", []).extend(samples)
    print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return measured


def _run(group: str, size: str) -> dict[str, list[float]]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.worker", group, size],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if done.returncode:
        raise WorkerError(group, done.stderr)
    samples: dict[str, list[float]] = json.loads(done.stdout)
    return samples


def dump(measured: Measured, path: Path) -> None:
    """Write the samples as a file of pyperf's: for ``python -m pyperf show``, and the like."""
    pyperf: Any = importlib.import_module("pyperf")
    benchmarks = [
        pyperf.Benchmark([pyperf.Run(samples, metadata={"name": name}, collect_metadata=False)])
        for name, samples in measured.items()
        if median(samples) > 0
    ]
    pyperf.BenchmarkSuite(benchmarks).dump(str(path), replace=True)
