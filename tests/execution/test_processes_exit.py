"""However a program ends, its workers end with it: in time, quietly, and with the right status."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

Exists = Callable[[int], bool]
WaitUntil = Callable[..., None]

BODIES = Path(__file__).parent / "bodies"

SCRIPT = """
import asyncio, sys
from fastapi_taskflow import TaskManager
import process_bodies

manager = TaskManager(log_file="tasks.log", log_lifecycle=True, shutdown_timeout=0.5)
body = getattr(process_bodies, sys.argv[1])
manager.task(executor="process")(body)

async def started():
    call = asyncio.create_task(manager.execute(body, "pid"))
    while not process_bodies.is_written("pid"):
        await asyncio.sleep(0.01)

if __name__ == "__main__":
    try:
        asyncio.run(started()) if sys.argv[2] == "end" else manager.run(body, "pid")
    except KeyboardInterrupt:
        print("interrupted")
"""

SERVER = """
import sys
from fastapi import Depends, FastAPI
from fastapi_taskflow import TaskAdmin, TaskManager
import process_bodies, uvicorn

manager = TaskManager(log_file="tasks.log", log_lifecycle=True, shutdown_timeout=0.5)
manager.task(executor="process")(process_bodies.is_stuck)
app = FastAPI()
TaskAdmin(app, manager)

@app.post("/start")
async def start(tasks=Depends(manager.get_tasks)):
    tasks.add_task(process_bodies.is_stuck, "pid")

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
"""


@contextmanager
def _started(program: str, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A program in a process group of its own."""
    (folder / "program.py").write_text(program)
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "program.py", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(BODIES), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _pid(folder: Path, wait_until: WaitUntil) -> int:
    path = folder / "pid"
    wait_until(lambda: path.exists() and path.read_text().isdigit())
    return int(path.read_text())


def _statuses(folder: Path) -> list[str]:
    lines = (folder / "tasks.log").read_text().splitlines()
    return [line.rsplit(" ", 1)[1] for line in lines if " -- " in line]


@pytest.mark.parametrize("body", ["is_stuck", "is_stubborn"])
def test_a_scripts_end_ends_its_stuck_worker(
    tmp_path: Path, exists: Exists, wait_until: WaitUntil, body: str
) -> None:
    with _started(SCRIPT, tmp_path, body, "end") as process:
        out, err = process.communicate(timeout=30)  # the body would take ten minutes

    assert (out, err, process.returncode) == ("", "", 0)
    assert not exists(_pid(tmp_path, wait_until))
    assert _statuses(tmp_path) == ["RUNNING", "INTERRUPTED"]


@pytest.mark.parametrize("body", ["is_stuck", "is_stuck_on_a_loop", "is_stubborn"])
def test_ctrl_c_interrupts_the_task_and_no_worker_says_a_word(
    tmp_path: Path, exists: Exists, wait_until: WaitUntil, body: str
) -> None:
    with _started(SCRIPT, tmp_path, body, "run") as process:
        worker = _pid(tmp_path, wait_until)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)

    assert (out, err, process.returncode) == ("interrupted\n", "", 0)
    assert not exists(worker)
    assert _statuses(tmp_path) == ["RUNNING", "INTERRUPTED"]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="this system doesn't tell of children")
def test_no_signal_ends_a_worker_that_starts(tmp_path: Path, wait_until: WaitUntil) -> None:
    def signal_children() -> bool:
        for children in Path(f"/proc/{process.pid}/task").glob("*/children"):
            for child in children.read_text().split():
                os.kill(int(child), signal.SIGINT)
                os.kill(int(child), signal.SIGTERM)
        return (tmp_path / "pid").exists()

    with _started(SCRIPT, tmp_path, "is_stuck", "run") as process:
        wait_until(signal_children)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)

    assert (out, err, process.returncode) == ("interrupted\n", "", 0)
    assert _statuses(tmp_path) == ["RUNNING", "INTERRUPTED"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("body", ["is_stuck", "is_stuck_on_a_loop", "is_stubborn"])
def test_a_killed_programs_worker_ends_by_itself(
    tmp_path: Path, wait_until: WaitUntil, body: str, number: signal.Signals
) -> None:
    with _started(SCRIPT, tmp_path, body, "run") as process:
        worker = _pid(tmp_path, wait_until)
        process.send_signal(number)
        process.wait(timeout=30)

        wait_until(lambda: _is_over(worker))


def _is_over(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_server_told_to_stop_ends_its_workers(
    tmp_path: Path, exists: Exists, wait_until: WaitUntil, number: signal.Signals
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    with _started(SERVER, tmp_path, port) as process:
        wait_until(lambda: _answers(f"{url}/tasks"))
        httpx.post(f"{url}/start")
        worker = _pid(tmp_path, wait_until)
        os.killpg(process.pid, number)
        _, err = process.communicate(timeout=30)

    assert not exists(worker)
    assert _statuses(tmp_path) == ["RUNNING", "INTERRUPTED"]
    assert "Traceback" not in err
    assert process.returncode in (0, -number)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


MAIN = """
from fastapi_taskflow import TaskManager

manager = TaskManager(max_processes=1)

class OwnError(Exception):
    pass

class Point:
    def __init__(self, x): self.x = x

@manager.task(executor="process", retries=1, retry_on=OwnError)
def body(point):
    if point.x < 0:
        raise OwnError("negative")
    return Point(point.x + 1)

def main():
    record = manager.run(body, Point(1))
    print(record.status.value, record.error, type(record.result) is Point)
    record = manager.run(body, Point(-1))
    print(record.status.value, record.error, record.retries_used)
"""


def test_functions_and_classes_of_a_script_work(tmp_path: Path) -> None:
    with _started(f'{MAIN}\nif __name__ == "__main__":\n    main()', tmp_path) as process:
        out, err = process.communicate(timeout=30)

    assert (out.splitlines(), err) == (["success None True", "failed negative 1"], "")


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    with _started(f"{MAIN}\nmain()", tmp_path) as process:
        out, err = process.communicate(timeout=30)

    first = out.splitlines()[0]
    assert first.startswith("failed a worker process can't load body and its arguments: ")
    assert "put what the program does under `if __name__ == '__main__':`" in first
    assert err == ""


def test_a_forked_child_has_workers_of_its_own(tmp_path: Path) -> None:
    program = """
import os, sys, warnings
from fastapi_taskflow import TaskManager
import process_bodies

if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on: fork with threads
    manager = TaskManager(max_processes=1)
    manager.task(executor="process")(process_bodies.pid)
    first = manager.run(process_bodies.pid).result
    child = os.fork()
    own = manager.run(process_bodies.pid).result
    if not child:
        sys.exit(own == first)
    print(own == first, os.waitpid(child, 0)[1])
"""
    with _started(program, tmp_path) as process:
        out, err = process.communicate(timeout=30)

    assert (out.split(), err) == (["True", "0"], "")
