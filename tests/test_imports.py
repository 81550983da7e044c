"""What imports bring with them, in fresh interpreters: what is heavy comes with what needs it."""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fastapi_taskflow

RunPython = Callable[..., "subprocess.CompletedProcess[str]"]

WEB = {"fastapi", "starlette", "pydantic", "anyio"}
"""What runs tasks has these from the app; what only logs, and a worker process, goes without."""

HEAVY = {"cloudpickle", "cryptography", "jinja2", "psycopg", "pymysql", "sqlalchemy", "uvicorn"}
"""What only some parameters need."""

LOADED = """
import sys
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""

ONE_TASK = """
import asyncio
from fastapi_taskflow import *

def body():
    task_log("at work")

async def main():
    async with TaskManager(loggers=[InMemoryLogger()], capture_loggers=["app"]) as manager:
        record = await manager.execute(body)
        assert record.status is TaskStatus.SUCCESS, record

asyncio.run(main())
"""

ROUTES = """
from fastapi import FastAPI
from fastapi_taskflow import TaskAdmin, TaskManager
TaskAdmin(FastAPI(), TaskManager())
"""

DATABASE = """
from fastapi_taskflow import TaskManager
TaskManager(snapshot_db="tasks.db")
"""


@pytest.mark.parametrize(
    ("program", "unwanted"),
    [
        pytest.param("import fastapi_taskflow", WEB | HEAVY, id="the package"),
        pytest.param("from fastapi_taskflow import task_log", WEB | HEAVY, id="a module that logs"),
        pytest.param("import fastapi_taskflow.handlers", WEB | HEAVY, id="handlers"),
        pytest.param(
            "import fastapi_taskflow.execution.processes.worker", WEB | HEAVY, id="a worker process"
        ),
        pytest.param("from fastapi_taskflow import *", HEAVY, id="every name"),
        pytest.param(ONE_TASK, HEAVY, id="a task without a database"),
        pytest.param(ROUTES, HEAVY, id="routes"),
        pytest.param(DATABASE, HEAVY - {"sqlalchemy"}, id="a database"),
    ],
)
def test_what_is_heavy_is_imported_by_what_needs_it(
    program: str, unwanted: set[str], run_python: RunPython
) -> None:
    done = run_python(program + LOADED)

    assert done.returncode == 0, done.stderr
    assert unwanted.isdisjoint(done.stdout.split())


def test_a_database_brings_sqlalchemy(run_python: RunPython) -> None:
    """So that the test above would notice a module by its name."""
    assert "sqlalchemy" in run_python(DATABASE + LOADED).stdout.split()


def test_a_worker_process_imports_what_its_bodies_do_and_no_more(
    tmp_path: Path, run_python: RunPython
) -> None:
    (tmp_path / "bodies.py").write_text(
        "import sys\n"
        "from fastapi_taskflow import task_log\n"
        "def loaded():\n"
        "    task_log('at work')\n"
        "    return sorted({name.partition('.')[0] for name in sys.modules})\n"
    )

    done = run_python(
        """
import bodies
from fastapi_taskflow import TaskManager
manager = TaskManager()
manager.task(executor="process")(bodies.loaded)
async def main():
    async with manager:
        print(*(await manager.execute(bodies.loaded)).result)
import asyncio
asyncio.run(main())
""",
        PYTHONPATH=str(tmp_path),
    )

    assert done.returncode == 0, done.stderr
    assert "bodies" in done.stdout.split()
    assert (WEB | HEAVY).isdisjoint(done.stdout.split())


def test_every_public_name_is_there_and_listed() -> None:
    for name in fastapi_taskflow.__all__:
        thing: Any = getattr(fastapi_taskflow, name)
        if hasattr(thing, "__module__"):
            assert getattr(importlib.import_module(thing.__module__), name) is thing
    assert set(fastapi_taskflow.__all__) <= set(dir(fastapi_taskflow))


def test_a_late_name_is_listed_before_it_is_imported(run_python: RunPython) -> None:
    done = run_python(
        "import fastapi_taskflow; print('TaskManager' in dir(fastapi_taskflow))" + LOADED
    )

    assert done.stdout.startswith("True\n"), done.stderr
    assert "fastapi" not in done.stdout.split()


def test_a_name_that_there_is_not_is_an_error() -> None:
    with pytest.raises(AttributeError, match="'fastapi_taskflow' has no attribute 'TaskManger'"):
        fastapi_taskflow.TaskManger  # type: ignore[attr-defined]  # noqa: B018  # on purpose
    with pytest.raises(ImportError, match="TaskManger"):
        from fastapi_taskflow import TaskManger  # type: ignore[attr-defined]  # noqa: F401, PLC0415
