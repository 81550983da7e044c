"""Two real servers, each with the same load in turns."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.lines import LIKE_ALL
from benchmarks.server import FLAVOURS, LINES
from benchmarks.works import Measure, Work
from benchmarks.written import writes


@contextmanager
def _serving(flavour: str, path: Path) -> Iterator[Measure]:
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.server", flavour, str(path)], stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    try:
        port = int(server.stdout.readline())
        yield partial(_load, port)
    finally:
        server.terminate()
        server.communicate(timeout=60)


def _load(port: int, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.load", str(port), str(count)]
    answered: dict[str, float] = json.loads(subprocess.check_output(command))
    return answered


SERVERS: Mapping[str, Work] = {
    flavour: writes(partial(_serving, flavour), shape=replace(LIKE_ALL, each=LINES))
    for flavour in FLAVOURS
}
