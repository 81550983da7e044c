"""What ``import fastapi_taskflow`` adds to ``import fastapi``, in fresh interpreters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.works import Samples

PROGRAM = """
import time
import fastapi
start = time.perf_counter()
{statement}
print(time.perf_counter() - start)
"""

STATEMENTS = {
    "fastapi_taskflow": "import fastapi_taskflow",
    "every name": "from fastapi_taskflow import *",  # some of which are imported late
}


def import_seconds(times: int, folder: Path) -> Samples:
    """The seconds, so many times, with code compiled beforehand, as an installer does it.

    Args:
        times: How often.
        folder: Where the compiled code is kept meanwhile: where the package is may not be written,
            or the environment may forbid it.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    samples: Samples = {}
    for _ in range(times + 1):
        for name, statement in STATEMENTS.items():
            program = PROGRAM.format(statement=statement)
            output = subprocess.check_output(
                [sys.executable, "-c", program], text=True, env=environment
            )
            samples.setdefault(name, []).append(float(output))
    return {name: seconds[1:] for name, seconds in samples.items()}  # the first one compiles
