"""Several real processes that write to one rotating file, and roll it all the time."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

LINES = 300
PATIENCE = 60.0
"""Seconds after which a test gives up on what should happen at once."""

# The arguments: the path, max_bytes, what to do (line by line, or in batches), and then one name
# for each process: forked from this one, but for the last, which is this one.
WRITER = f"""
import asyncio, logging, os, sys
from fastapi_taskflow import FileLogger, TaskManager, task_log

path, max_bytes, how, *names = sys.argv[1:]
observer = FileLogger(path, max_bytes=int(max_bytes), backup_count=600, min_level="debug")
manager = TaskManager(loggers=[observer])
lost = []


def line(name, number):
    return f"{{name}} {{number:04}} {{'x' * (number % 50)}} end"


async def one_by_one(name):
    for number in range({LINES}):
        task_log(line(name, number))


def in_batches(name):
    records = [
        logging.LogRecord("batch", 20, "", 1, line(name, number), (), None)
        for number in range({LINES})
    ]
    for start in range(0, {LINES}, 7):
        observer.handler.emit_batch(records[start : start + 7], lost.append)


def write(name):
    if how == "batches":
        in_batches(name)
    else:
        manager.run(one_by_one, name)


asyncio.run(observer.startup())  # those forked from now on share the open file
print("ready", flush=True)
sys.stdin.readline()
children = []
for name in names[:-1]:
    child = os.fork()
    if not child:
        write(name)
        os._exit(0)
    children.append(child)
if not children:
    write(names[-1])
for child in children:
    os.waitpid(child, 0)
if children:  # as idle as the master of a preforking server, with the file open
    write(names[-1])
assert not lost, lost
"""


def start(path: Path, max_bytes: int, how: str, names: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WRITER, str(path), str(max_bytes), how, *names],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_together(processes: list[subprocess.Popen[str]]) -> None:
    """Let them go when all are ready, and wait for their end."""
    with ExitStack() as stack:
        for process in processes:
            stack.enter_context(process)  # waits, and closes the pipes
            stack.callback(process.kill)
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        deadline = time.monotonic() + PATIENCE
        for process in processes:
            _, errors = process.communicate(timeout=deadline - time.monotonic())
            assert (process.returncode, errors) == (0, "")


def chain(path: Path) -> list[Path]:
    """The rolled files and the file, the oldest first."""
    rolled = sorted(path.parent.glob(path.name + ".*"), key=lambda file: -int(file.suffix[1:]))
    return [*rolled, path]


def check(path: Path, names: list[str]) -> None:
    """Each process's lines are whole, there once, and in the order in which they were written."""
    texts = [line for file in chain(path) for line in file.read_text().splitlines()]
    form = re.compile(r"\[[^ ]+\] \[[^ ]+\] [^ ]+Z? ([^ ]+) (\d{4}) (x*) end")
    found = [form.fullmatch(text) for text in texts]
    assert [text for text, match in zip(texts, found, strict=True) if not match] == []
    for name in names:
        numbers = [int(match[2]) for match in found if match and match[1] == name]
        assert numbers == list(range(LINES)), name
    assert len(texts) == LINES * len(names)


@pytest.mark.parametrize(
    ("count", "kind", "how"),
    [
        (4, "spawned", "line by line"),
        (4, "forked", "batches"),
        (4, "both", "line by line"),
        (8, "forked", "line by line"),
        (8, "both", "batches"),
    ],
)
def test_processes_that_share_a_rotating_file_lose_and_tear_nothing(
    tmp_path: Path, count: int, kind: str, how: str
) -> None:
    path = tmp_path / "tasks.log"
    names = [f"p{number}" for number in range(count)]
    groups = {
        "spawned": [[name] for name in names],
        "forked": [names],
        "both": [names[: count // 2], *([name] for name in names[count // 2 :])],
    }

    run_together([start(path, 2000, how, group) for group in groups[kind]])

    assert len(chain(path)) > count * LINES * 60 // 2000 // 2  # it was rolled, and heavily
    check(path, names)


def test_processes_with_different_limits_lose_and_tear_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tasks.log"
    limits = {"small": 500, "large": 5000, "none": 0, "tiny": 100}

    run_together([start(path, limit, "line by line", [name]) for name, limit in limits.items()])

    check(path, list(limits))
