"""``uvicorn --log-config``: the server's lines, the app's, the tasks' and others' in one stream."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from fastapi_taskflow.config import LOG_CONFIG_FILE

APP = """
import logging

import httpx
from fastapi import BackgroundTasks, FastAPI
from fastapi_taskflow import TaskAdmin, TaskManager, task_log

app = FastAPI()
task_manager = TaskManager()
TaskAdmin(app, task_manager, auto_install=True)
log = logging.getLogger("myapp")

def answer(request):
    return httpx.Response(202)

def send_email(address):
    task_log(f"sending to {address}")
    log.info("rendering")
    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        client.post("https://mail.example/")
    task_log("sent")

@app.post("/signup")
async def signup(address: str, tasks: BackgroundTasks) -> str:
    log.info("signing up")
    return tasks.add_task(send_email, address)
"""

Line = tuple[str, str, str]
"""Of which task, from where, and what."""

TEXT = re.compile(r"\[(\w{8}|-)\] \[([\w.]+)\] \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d (.*)")
URL = re.compile(r"http://127\.0\.0\.1:\d+")


def read_text(line: str) -> Line:
    match = TEXT.fullmatch(line)
    assert match is not None, line
    return match[1], match[2], match[3]


def read_json(line: str) -> Line:
    data = json.loads(line)
    source = data["func_name"] if "event" in data else data["logger"]
    return data.get("task_id", "-")[:8], source, data["message"]


class Served:
    """An app that uvicorn serves in a process of its own, with a configuration of logging."""

    def __init__(self, folder: Path, log_config: Path, *options: str) -> None:
        (folder / "main.py").write_text(APP)
        command = ["-m", "uvicorn", "main:app", "--port", "0", "--log-config", str(log_config)]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", *command, *options],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.printed: list[str] = []

    def read_until(self, text: str) -> str:
        """The first line to be printed that has this text in it."""
        assert self.process.stdout is not None
        watchdog = threading.Timer(60, self.process.kill)
        watchdog.start()
        try:
            for line in self.process.stdout:
                self.printed.append(line.rstrip("\n"))
                if text in line:
                    return line
        finally:
            watchdog.cancel()
        raise AssertionError(f"no {text!r} in {self.printed}")

    def sign_up(self) -> str:
        """Have a task run to its end; its id's beginning."""
        url = URL.search(self.read_until("Uvicorn running on"))
        assert url is not None
        answer = httpx.post(f"{url[0]}/signup", params={"address": "ada@example.com"})
        self.read_until("-- SUCCESS")
        task_id: str = answer.json()
        return task_id[:8]

    def stop(self) -> None:
        """Stop the server, and keep what it has printed."""
        self.process.send_signal(signal.SIGINT)
        printed, errors = self.process.communicate(timeout=60)
        self.printed += printed.splitlines()
        assert errors == ""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def start(log_config: Path, *options: str) -> Served:
        made.append(Served(tmp_path, log_config, *options))
        return made[-1]

    yield start

    for served in made:
        served.process.kill()
        served.process.communicate()


def expected(task_id: str) -> list[Line]:
    """The lines of a server's life with one task in it; ``N`` stands for a process or a port."""
    request = "POST /signup?address=ada%40example.com HTTP/1.1"
    return [
        ("-", "uvicorn.error", "Started server process [N]"),
        ("-", "uvicorn.error", "Waiting for application startup."),
        ("-", "uvicorn.error", "Application startup complete."),
        ("-", "uvicorn.error", "Uvicorn running on http://127.0.0.1:N (Press CTRL+C to quit)"),
        ("-", "myapp", "signing up"),
        ("-", "uvicorn.access", f'127.0.0.1:N - "{request}" 200'),
        (task_id, "send_email", "-- RUNNING"),
        (task_id, "send_email", "sending to ada@example.com"),
        (task_id, "myapp", "rendering"),
        (task_id, "httpx", 'HTTP Request: POST https://mail.example/ "HTTP/1.1 202 Accepted"'),
        (task_id, "send_email", "sent"),
        (task_id, "send_email", "-- SUCCESS"),
        ("-", "uvicorn.error", "Shutting down"),
        ("-", "uvicorn.error", "Waiting for application shutdown."),
        ("-", "uvicorn.error", "Application shutdown complete."),
        ("-", "uvicorn.error", "Finished server process [N]"),
    ]


def without_numbers(lines: list[Line]) -> list[Line]:
    number = re.compile(r"(?<=\[)\d+(?=\]$)|(?<=127\.0\.0\.1:)\d+")
    return [(task_id, source, number.sub("N", message)) for task_id, source, message in lines]


def test_the_file_shipped_makes_one_stream_of_text(serve: Callable[..., Served]) -> None:
    server = serve(LOG_CONFIG_FILE)

    task_id = server.sign_up()
    server.stop()

    lines = [read_text(line) for line in server.printed]
    assert without_numbers(lines) == expected(task_id)


def test_a_file_that_the_command_prints_makes_one_stream_of_json(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "fastapi_taskflow", "logging-config"]
    log_config = tmp_path / "log.json"
    with log_config.open("w") as output:
        options = ["--format", "json", "--file", "all.jsonl"]
        subprocess.run([*command, *options], stdout=output, timeout=60, check=True)
    server = serve(log_config)

    task_id = server.sign_up()
    server.stop()

    lines = [read_json(line) for line in server.printed]
    assert without_numbers(lines) == expected(task_id)
    assert (tmp_path / "all.jsonl").read_text().splitlines() == server.printed


def test_uvicorns_own_options_still_count(serve: Callable[..., Served]) -> None:
    server = serve(LOG_CONFIG_FILE, "--no-access-log")

    task_id = server.sign_up()
    server.stop()

    lines = [read_text(line) for line in server.printed]
    wanted = [line for line in expected(task_id) if line[1] != "uvicorn.access"]
    assert without_numbers(lines) == wanted
