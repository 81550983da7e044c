"""A real server and real scripts, told to stop or just ending, with tasks under way."""

from __future__ import annotations

import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

SERVER = """
import asyncio, sys
from fastapi import BackgroundTasks, FastAPI
from fastapi_taskflow import TaskAdmin, TaskManager, task_log
import uvicorn

manager = TaskManager(
    log_file="tasks.log", log_lifecycle=True, shutdown_timeout=600, snapshot_db="tasks.db"
)
app, told = FastAPI(), []
TaskAdmin(app, manager, auto_install=True)

async def until_told():
    print("started", flush=True)
    while not told:
        await asyncio.sleep(0)
    task_log("told")

@app.post("/{name}")
async def start(name: str, tasks: BackgroundTasks):
    tasks.add_task(globals()[name])

class Server(uvicorn.Server):
    async def main_loop(self):
        print("up", flush=True)  # only now: told to stop before, it leaves its socket open
        await super().main_loop()

    def handle_exit(self, number, frame):
        told.append(number)
        super().handle_exit(number, frame)

try:
    Server(uvicorn.Config(app, port=int(sys.argv[1]), log_level="critical")).run()
except KeyboardInterrupt:  # as uvicorn.run() does
    pass
print("end of script", flush=True)
"""


class Served:
    """A server's process."""

    def __init__(self, folder: Path, port: int) -> None:
        self.log = folder / "tasks.log"
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", SERVER, str(port)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def expect(self, line: str) -> None:
        """Wait until the server has printed a line."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], 30)
        assert ready, f"no {line!r} in 30 s"
        assert self.process.stdout.readline() == f"{line}\n"

    def start(self, name: str) -> None:
        httpx.post(f"{self.url}/{name}").raise_for_status()
        self.expect("started")

    def stop(self, number: int) -> tuple[int, str]:
        """Send a signal; the exit code and what was printed until then."""
        self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=60)  # no shutdown_timeout of 600 s
        assert errors == ""
        return self.process.returncode, output

    def lines(self) -> list[tuple[str, str]]:
        """The log file's lines: of each the function and the text."""
        found = re.finditer(r"^\[\w{8}\] (\[.*\]) \S+ (.*)$", self.log.read_text(), re.M)
        return [(line[1], line[2]) for line in found]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[], Served]]:
    """Start a server on a free port."""
    made: list[Served] = []

    def start() -> Served:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        made.append(Served(tmp_path, port))
        made[-1].expect("up")
        return made[-1]

    yield start

    for served in made:
        served.process.kill()
        served.process.communicate()


def test_a_body_that_ends_in_time_succeeds_and_holds_nothing_up(
    serve: Callable[[], Served],
) -> None:
    server = serve()
    server.start("until_told")

    server.stop(signal.SIGTERM)

    assert [text for _, text in server.lines()] == ["-- RUNNING", "told", "-- SUCCESS"]


def test_an_idle_server_ends_at_once_whatever_the_timeout(
    serve: Callable[[], Served],
) -> None:
    server = serve()

    code, output = server.stop(signal.SIGINT)

    assert (code, output) == (0, "end of script\n")


ENDING_SCRIPT = """
import asyncio, sys, threading, time
from fastapi_taskflow import TaskManager, TaskObserver, task_log

class Diary(TaskObserver):
    async def startup(self): print("startup", flush=True)
    async def on_log(self, event): print(event.message, flush=True)
    async def on_lifecycle(self, event): print(event.status.value, flush=True)
    async def close(self): print("close", flush=True)

manager = TaskManager(loggers=[Diary()], log_file="tasks.log", log_lifecycle=True)
stuck = threading.Event()

def body():
    task_log("stuck")
    stuck.set()
    time.sleep(600)

def another_thread():
    manager.run(body)

async def main():
    call = asyncio.create_task(manager.execute(body))
    await asyncio.to_thread(stuck.wait)

if sys.argv[1] == "thread":
    threading.Thread(target=another_thread, daemon=True).start()
    stuck.wait()
else:
    asyncio.run(main())
    raise SystemExit("the script's own error")
"""


@pytest.mark.parametrize("way", ["thread", "error"])
def test_a_scripts_end_interrupts_a_stuck_body_and_closes_the_observers(
    tmp_path: Path, way: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ENDING_SCRIPT, way],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,  # the body takes 600 s
        check=False,
    )

    assert done.stdout.split() == ["startup", "running", "stuck", "interrupted", "close"]
    assert done.returncode == (1 if way == "error" else 0)
    assert done.stderr == ("the script's own error\n" if way == "error" else "")
    texts = [line.split(" ", 3)[3] for line in (tmp_path / "tasks.log").read_text().splitlines()]
    assert texts == ["-- RUNNING", "stuck", "-- INTERRUPTED"]


UNDELIVERED_SCRIPT = """
import asyncio, threading
from fastapi_taskflow import TaskManager, TaskObserver, task_log

class Diary(TaskObserver):
    async def on_log(self, event):
        await asyncio.sleep(0)
        print(event.message, flush=True)
    async def close(self): print("close", flush=True)

manager = TaskManager(loggers=[Diary()], snapshot_db="tasks.db")

begun, logged = threading.Event(), threading.Event()

def body():
    begun.set()
    for number in range(300):
        task_log(number)
    logged.set()

async def main():
    await manager.startup()
    call = asyncio.create_task(manager.execute(body))
    await asyncio.to_thread(begun.wait)
    logged.wait()  # the loop delivers nothing meanwhile

asyncio.run(main())
"""


def test_what_waits_at_a_scripts_end_is_delivered_before_the_observers_close(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", UNDELIVERED_SCRIPT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.split() == [*map(str, range(300)), "close"]
    assert done.stderr == ""
