"""Whole processes: a real server told to stop, and scripts that end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

SERVER = """
import asyncio, sys, time
from fastapi import Depends, FastAPI
from fastapi_taskflow import TaskAdmin, TaskManager, task_log
import uvicorn

manager = TaskManager(log_file="tasks.log", log_lifecycle=True, shutdown_timeout=0.5)
app = FastAPI()
TaskAdmin(app, manager)
Tasks = Depends(manager.get_tasks)

def stuck_in_a_thread():
    task_log("in a thread")
    time.sleep(60)

async def stuck_on_the_loop():
    task_log("on the loop")
    await asyncio.sleep(60)

def never_reached():
    task_log("never")

@app.post("/{kind}")
async def start(kind: str, tasks=Tasks):
    tasks.add_task(stuck_in_a_thread if kind == "sync" else stuck_on_the_loop)
    tasks.add_task(never_reached)

uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
"""

STUCK_SCRIPT = """
import asyncio, time
from fastapi_taskflow import TaskManager, TaskObserver, task_log

class Diary(TaskObserver):
    async def on_lifecycle(self, event): print(event.status.value, flush=True)
    async def close(self): print("close", flush=True)

manager = TaskManager(loggers=[Diary()])

async def main():
    task = asyncio.create_task(manager.execute(time.sleep, 600))
    while (await asyncio.to_thread(manager.store.totals)).by_status["running"] == 0:
        await asyncio.sleep(0)

asyncio.run(main())
"""

RAN_SCRIPT = """
from fastapi_taskflow import TaskManager, TaskObserver, task_log

class Diary(TaskObserver):
    async def startup(self): print("startup", flush=True)
    async def on_log(self, event): print(event.message, flush=True)
    async def close(self): print("close", flush=True)

manager = TaskManager(loggers=[Diary()], snapshot_db="tasks.db")
manager.run(task_log, "hello")
print("end of script", flush=True)
"""


@contextmanager
def _server(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(port)], cwd=folder)
    try:
        url = f"http://127.0.0.1:{port}"
        _until(lambda: _answers(f"{url}/tasks"))
        yield process, url
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def _until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Look until it is so; another process has no event to wait for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_server_told_to_stop_interrupts_what_outlasts_the_timeout(
    number: signal.Signals, tmp_path: Path
) -> None:
    log = tmp_path / "tasks.log"
    with _server(tmp_path) as (process, url):
        for kind in ("sync", "async"):
            httpx.post(f"{url}/{kind}")
        _until(lambda: "in a thread" in log.read_text() and "on the loop" in log.read_text())

        process.send_signal(number)
        code = process.wait(timeout=30)  # the bodies would take a minute

    lines = log.read_text().splitlines()
    interrupted = sorted(line.split("] [")[1].split("]")[0] for line in lines if "INTERR" in line)
    names = ["never_reached", "never_reached", "stuck_in_a_thread", "stuck_on_the_loop"]
    assert interrupted == names
    assert not any(line.endswith(" never") for line in lines)
    assert code in (0, -number)


def _script(program: str, folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


def test_a_stuck_sync_body_does_not_hold_the_process_at_its_end(tmp_path: Path) -> None:
    assert _script(STUCK_SCRIPT, tmp_path) == ["running", "interrupted", "close"]


def test_a_script_that_just_ends_has_its_observers_closed(tmp_path: Path) -> None:
    assert _script(RAN_SCRIPT, tmp_path) == ["startup", "hello", "end of script", "close"]
