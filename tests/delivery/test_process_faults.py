"""What is kept, and that the process ends, when peers hang, signals come and processes fork."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and forks of POSIX")

PATIENCE = 60.0
"""Seconds after which a process that should have ended hangs."""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a program in an empty folder; its standard output is a pipe that nobody reads yet."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start

    for process in started:
        process.kill()
        process.communicate()


def text_of(output: IO[str] | None) -> str:
    """What is in a pipe whose writers are gone."""
    assert output is not None
    return output.read()


def messages(text: str) -> list[str]:
    return [line.split(" ", 3)[3] for line in text.splitlines()]


# The ways in which a process ends, by itself or told by a signal

ENDINGS = """
import asyncio, atexit, json, os, signal, sys

class Told(dict):
    def write(self):
        stats = manager.observer_stats()[name]
        self["lost"] = sum(stats.dropped.values())
        self["lost_by_level"] = dict(stats.dropped_by_level)
        self["delivered"] = stats.delivered
        self["queued"] = stats.queued
        with open("told.json", "w") as file:
            json.dump(self, file)

told = Told()
atexit.register(told.write)  # runs after what the library registers for the exit, later

from fastapi_taskflow import (
    FileLogger, InMemoryLogger, StdoutLogger, TaskManager, lifespan, task_log
)

async def run(body):
    told["status"] = (await manager.execute(body)).status

def end(body, way):
    if way == "lifespan":
        async def main():
            async with manager:
                await run(body)
        asyncio.run(main())
    elif way.startswith("SIG"):
        serve(body, getattr(signal, way))
    else:
        asyncio.run(run(body))
        if way == "exit":
            sys.exit(3)
        if way == "error":
            raise ValueError("the script's own")
        if way == "Ctrl-C":
            os.kill(os.getpid(), signal.SIGINT)

def serve(body, number):
    import uvicorn
    from fastapi import FastAPI
    app = FastAPI()
    manager.init_app(app)

    class Server(uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets=sockets)
            await run(body)
            os.kill(os.getpid(), number)

        async def shutdown(self, sockets=None):
            await super().shutdown(sockets=sockets)
            told.write()  # uvicorn ends by the signal that it got, which is no way to an exit

    try:
        Server(uvicorn.Config(app, port=0, log_config=None)).run()
    except KeyboardInterrupt:  # as uvicorn.run() does
        pass
"""

WAYS = {
    "script": 0,
    "exit": 3,
    "error": 1,
    "Ctrl-C": -signal.SIGINT,
    "lifespan": 0,
    "SIGTERM": -signal.SIGTERM,
    "SIGINT": 0,
}
"""The exit code of each."""

LAST_WORDS = {"error": ["ValueError: the script's own"], "Ctrl-C": ["KeyboardInterrupt"]}


def end_of(process: subprocess.Popen[str], way: str) -> None:
    """Wait for the process, and see that it ended in its own way."""
    code = process.wait(PATIENCE)

    errors = text_of(process.stderr)
    if way in LAST_WORDS:
        assert errors.startswith("Traceback"), errors
    assert (code, errors.splitlines()[-1:]) == (WAYS[way], LAST_WORDS.get(way, [])), errors


def told_by(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return told


# Who hangs: a pipe that nobody reads, a peer that answers nothing

UNREAD_STDOUT = (
    ENDINGS
    + """
lifespan.EXIT_SECONDS = 0.5
name = "StdoutLogger"
memory = InMemoryLogger()
manager = TaskManager(loggers=[StdoutLogger(queued=True), memory], drain_timeout=0.3)

async def body():
    for number in range(13_000):
        task_log(f"{number} " + "x" * 100, level="warning" if number % 10 == 0 else "info")
        if number % 100 == 0:
            await asyncio.sleep(0)
    told["memory"] = len(memory.log_events)

end(body, sys.argv[1])
"""
)


@pytest.mark.parametrize("way", ["script", "exit", "Ctrl-C", "SIGTERM", "SIGINT"])
def test_a_pipe_that_nobody_reads_holds_up_neither_tasks_nor_the_end(
    start: Start, tmp_path: Path, way: str
) -> None:
    process = start(UNREAD_STDOUT, way)

    end_of(process, way)

    told = told_by(tmp_path)
    assert (told["status"], told["memory"]) == ("success", 13_000)
    assert told["lost"] > 2_000  # 10,000 may wait, and a pipe takes some hundreds
    assert told["delivered"] + told["lost"] + told["queued"] == 13_000
    lost = told["lost_by_level"]
    assert lost["warning"] + lost["info"] == told["lost"]
    assert lost["warning"] > 200
    written = [int(message.split()[0]) for message in messages(text_of(process.stdout))]
    assert written == list(range(len(written)))
    assert told["delivered"] <= len(written) <= told["delivered"] + told["queued"]


HANGING_PEER = (
    ENDINGS
    + """
import logging, logging.handlers as handlers, socket
from fastapi_taskflow.loggers import exit_lock

lifespan.EXIT_SECONDS, exit_lock.LOCK_SECONDS = 0.5, 0.2
kind, way, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
here = ("127.0.0.1", port)

def syslog():
    return handlers.SysLogHandler(here, socktype=socket.SOCK_STREAM)

def buffered():
    buffer = handlers.MemoryHandler(1, target=syslog())
    buffer.setLevel("DEBUG")
    return buffer

def audit():
    logger = logging.getLogger("myapp.audit")
    logger.setLevel("DEBUG")
    logger.propagate = False
    logger.addHandler(syslog())
    return logger

def http():
    return handlers.HTTPHandler("127.0.0.1:%d" % port, "/log")

def smtp():
    return handlers.SMTPHandler(here, "a@myapp.example", ["b@myapp.example"], "x", timeout=600)

def tcp():
    return handlers.SocketHandler(*here)  # gives up after a second, and tries again later

def fifo():
    os.mkfifo("tasks.log")
    globals()["reader"] = os.open("tasks.log", os.O_RDONLY | os.O_NONBLOCK)
    return FileLogger("tasks.log", queued=True)

choice = globals()[kind]()
name = type(choice).__name__
memory = InMemoryLogger()
manager = TaskManager(loggers=[choice, memory], drain_timeout=0.3)

async def body():
    for number in range(400):
        task_log("x" * 50_000)  # the system holds some millions of bytes for a peer
        await asyncio.sleep(0)
    told["memory"] = len(memory.log_events)

end(body, way)
"""
)


@pytest.fixture
def peer() -> Iterator[int]:
    """The port of a server that takes connections, and never reads from them."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        port: int = server.getsockname()[1]
        yield port  # the system itself takes connections that nobody accepts yet


KINDS = ["syslog", "buffered", "audit", "http", "smtp", "tcp", "fifo"]


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        *((kind, "lifespan") for kind in KINDS),
        ("syslog", "script"),
        ("syslog", "SIGTERM"),
        ("fifo", "script"),
    ],
)
def test_a_peer_that_hangs_holds_up_neither_tasks_nor_the_end(
    start: Start, tmp_path: Path, peer: int, kind: str, way: str
) -> None:
    end_of(start(HANGING_PEER, kind, way, str(peer)), way)

    told = told_by(tmp_path)
    assert (told["status"], told["memory"]) == ("success", 400)
    assert told["queued"] > 0
    assert told["lost"] > 0
    assert told["delivered"] + told["lost"] + told["queued"] == (400 if kind == "fifo" else 402)


# What waits is written before the process ends

WAITING_LINES = (
    ENDINGS
    + """
import logging, threading

go_on = threading.Event()
atexit.register(go_on.set)  # before the library's own function, which was registered earlier

class Waiting(logging.Formatter):
    def format(self, record):
        go_on.wait()
        return record.getMessage()

name = "FileLogger"
manager = TaskManager(
    loggers=[
        FileLogger("tasks.log", formatter=Waiting(), queued=True),
        StdoutLogger(formatter=Waiting(), queued=True),
    ],
    drain_timeout=10.0 if sys.argv[1] in ("lifespan", "SIGTERM", "SIGINT") else 0.0,
)

async def body():
    for number in range(3000):
        task_log(number)

async def run(body):
    task = asyncio.create_task(manager.execute(body))  # waits until its events are delivered
    while manager.observer_stats()["FileLogger"].queued < 3000:
        await asyncio.sleep(0)
    told["written"] = os.path.getsize("tasks.log")
    asyncio.get_running_loop().call_later(0.1, go_on.set)
    if sys.argv[1] not in ("lifespan", "SIGTERM", "SIGINT"):
        await task  # for no longer than drain_timeout

end(body, sys.argv[1])
"""
)


@pytest.mark.parametrize("way", ["script", "exit", "error", "Ctrl-C", "lifespan", "SIGTERM"])
def test_lines_that_wait_are_written_before_the_process_ends(
    start: Start, tmp_path: Path, way: str
) -> None:
    process = start(WAITING_LINES, way)

    printed = text_of(process.stdout).split()
    end_of(process, way)

    assert told_by(tmp_path)["written"] == 0
    expected = [str(number) for number in range(3000)]
    assert (tmp_path / "tasks.log").read_text().split() == expected
    assert printed == expected
    assert (told_by(tmp_path)["delivered"], told_by(tmp_path)["lost"]) == (3000, 0)


# Forks

FORKS = """
import asyncio, logging, multiprocessing, os, sys, warnings
from fastapi_taskflow import FileLogger, StdoutLogger, TaskManager, task_log

warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on: fork with threads
way = sys.argv[1]
plain = logging.FileHandler("adopted.log")
plain.setFormatter(logging.Formatter("%(message)s"))
manager = TaskManager(
    loggers=[
        FileLogger("queued.log", max_bytes=20_000, backup_count=100, queued=True),
        FileLogger("sync.log", max_bytes=20_000, backup_count=100),
        StdoutLogger(queued=True),
        plain,
    ],
)

def body(who):
    for number in range(500):
        task_log(f"{who}-{number}")

async def in_lifespan(who):
    async with manager:
        await asyncio.gather(*(manager.execute(body, f"{who}-{n}") for n in range(2)))

def work(who):
    if way == "preloaded":
        asyncio.run(in_lifespan(who))
    else:
        for number in range(2):
            manager.run(body, f"{who}-{number}")

def fork(who):
    child = os.fork()
    if not child:
        work(who)
        sys.exit(0)  # as a server's worker does
    return child

if __name__ == "__main__":
    if way != "preloaded":
        work("parent")  # its threads run
    names = [f"child{number}" for number in range(4)]
    if way in ("os.fork", "preloaded"):
        children = [fork(name) for name in names]
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    else:
        context = multiprocessing.get_context(way)
        processes = [context.Process(target=work, args=(name,)) for name in names]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 4
    if way == "preloaded":
        work("parent")
"""


@pytest.mark.parametrize("way", ["os.fork", "preloaded", "fork", "spawn"])
def test_four_children_deliver_everything_once(tmp_path: Path, way: str) -> None:
    (tmp_path / "forks.py").write_text(FORKS)

    done = subprocess.run(
        [sys.executable, "-W", "error", "forks.py", way],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert (done.stderr, done.returncode) == ("", 0)
    who = ["parent", *(f"child{number}" for number in range(4))]
    expected = Counter(
        f"{name}-{task}-{n}" for name in who for task in range(2) for n in range(500)
    )
    for sink in ("queued", "sync"):
        lines = "".join(path.read_text() for path in tmp_path.glob(f"{sink}.log*"))
        assert Counter(messages(lines)) == expected, sink
    assert Counter(messages(done.stdout)) == expected
    adopted = (tmp_path / "adopted.log").read_text().split("\n")
    assert Counter(line for line in adopted if line and "--" not in line) == expected


FORK_MEANWHILE = """
import logging, os, sys, threading, warnings
from fastapi_taskflow import FileLogger, StdoutLogger, TaskManager, task_log

warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on: fork with threads
parent, at_work, go_on = os.getpid(), threading.Event(), threading.Event()

class Waiting(logging.Formatter):
    def format(self, record):
        at_work.set()
        if os.getpid() == parent:
            go_on.wait()
        return record.getMessage()

kind = {"file": lambda **given: FileLogger("tasks.log", **given), "stdout": StdoutLogger}
observer = kind[sys.argv[1]](formatter=Waiting(), queued=True)
manager = TaskManager(loggers=[observer], drain_timeout=0.0)

async def body(who):
    for number in range(5):
        task_log(f"{who}-{number}")

manager.run(body, "parent")
at_work.wait()  # a lock of the handler's may be held, four lines wait
children = [os.fork()]
if children[0]:
    children.append(os.fork())
if 0 in children:
    manager.run(body, f"child{len(children)}")
else:
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    go_on.set()
"""


@pytest.mark.parametrize("sink", ["file", "stdout"])
def test_lines_that_wait_when_the_process_forks_are_the_parents_alone(
    start: Start, tmp_path: Path, sink: str
) -> None:
    process = start(FORK_MEANWHILE, sink)

    printed = text_of(process.stdout)

    assert (process.wait(PATIENCE), text_of(process.stderr)) == (0, "")
    lines = printed if sink == "stdout" else (tmp_path / "tasks.log").read_text()
    who = ("child1", "child2", "parent")
    assert sorted(lines.split()) == [f"{name}-{number}" for name in who for number in range(5)]


# kill -9

KILLED = """
import asyncio, os, sys
from fastapi_taskflow import FileLogger, TaskManager, task_log

manager = TaskManager(
    loggers=[FileLogger("tasks.log", mode=sys.argv[1], max_bytes=50_000, backup_count=1000)]
)

def body(who):
    number = 0
    while True:
        line = f"{who}-{number}"
        task_log(line)
        os.write(1, f"{line}\\n".encode())  # the parent is told of what is in the file
        number += 1

async def main():
    await asyncio.gather(*(manager.execute(body, who) for who in range(4)))

asyncio.run(main())
"""

LINE = re.compile(r"\[\w{8}\] \[body\] \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d \d-\d+\n")


@pytest.mark.parametrize("count", [1, *random.Random(7).sample(range(2, 8000), 2)])
@pytest.mark.parametrize("mode", ["rotate", "watched"])
def test_a_killed_process_leaves_every_line_that_task_log_returned_from(
    start: Start, tmp_path: Path, mode: str, count: int
) -> None:
    process = start(KILLED, mode)
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(count)]

    process.kill()

    told += text_of(process.stdout).splitlines(keepends=True)
    lines = [
        line
        for path in tmp_path.glob("tasks.log*")
        for line in path.read_text().splitlines(keepends=True)
    ]
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    written = [line.split(" ", 3)[3] for line in lines]
    assert len(set(written)) == len(written)
    assert set(told) <= set(written)
    assert len(told) >= count
