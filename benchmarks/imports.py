"""What ``import fastapi_taskflow`` adds to ``import fastapi``, in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.works import Samples

PROGRAM = """
import time
import fastapi
start = time.perf_counter()
import fastapi_taskflow
print(time.perf_counter() - start)
"""


def import_seconds(times: int) -> Samples:
    """The seconds, so many times; the first one, which may compile, isn't counted."""
    seconds = [
        float(subprocess.check_output([sys.executable, "-c", PROGRAM], text=True))
        for _ in range(times + 1)
    ]
    return {"fastapi_taskflow": seconds[1:]}
