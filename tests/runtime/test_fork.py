"""A forked child has no threads of its parent's, and runs tasks all the same."""

from __future__ import annotations

import os
from typing import Any

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork")
def test_a_forked_child_runs_sync_bodies_while_its_parents_threads_idle(run_python: Any) -> None:
    program = """
import os, sys, threading, warnings
from fastapi_taskflow import TaskManager

warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on: fork with threads
manager = TaskManager(max_sync_threads=1)

def body():
    return threading.get_ident()

first = manager.run(body).result
while manager.run(body).result != first:  # until a thread was idle, and taken
    first = manager.run(body).result
child = os.fork()
if not child:
    os._exit(0 if manager.run(body).status.value == "success" else 1)
print(os.waitpid(child, 0)[1], manager.run(body).status.value)
"""

    done = run_python(program, timeout=30.0)

    assert done.stdout.split() == ["0", "success"], done.stderr
