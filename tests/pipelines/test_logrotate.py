"""Under the real logrotate: it renames a file that four processes write to."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

PROCESSES = 4
TASKS = 20
LINES = 100
ROTATIONS = 10
PATIENCE = 60.0
"""Seconds after which a test gives up on what should happen at once."""

# TASKS tasks of LINES lines, and more until one has begun after the last rotation.
WRITER = f"""
import sys
from pathlib import Path
from fastapi_taskflow import FileLogger, TaskManager, task_log

path, stop, name = sys.argv[1:]
manager = TaskManager(loggers=[FileLogger(path, mode="watched")])


def write(start):
    for number in range(start, start + {LINES}):
        task_log(f"{{name}} {{number}} end")


print("ready", flush=True)
sys.stdin.readline()
tasks, stopped = 0, False
while tasks < {TASKS} or not stopped:
    stopped = Path(stop).exists()
    manager.run(write, tasks * {LINES})
    tasks += 1
print(tasks * {LINES})
"""

# Not "create": a file that a writer makes before logrotate does becomes a ".backup", and a second
# one within the hour replaces it.
CONFIG = """\
{path} {{
    su {user} {group}
    rotate 99
    missingok
    nocreate
}}
"""


def _start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WRITER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _wait_until_ready(writer: subprocess.Popen[str]) -> None:
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"


def _let_go(writer: subprocess.Popen[str]) -> None:
    assert writer.stdin is not None
    writer.stdin.write("go\n")
    writer.stdin.flush()


def _rotate(logrotate: str, folder: Path) -> None:
    command = [logrotate, "-f", "-s", str(folder / "state"), str(folder / "conf")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def _write_and_rotate(logrotate: str, folder: Path, path: Path) -> list[int]:
    """How many lines each process has written."""
    stop = folder / "stop"
    with ExitStack() as stack:
        writers = [
            stack.enter_context(_start(str(path), str(stop), f"writer-{number}"))
            for number in range(PROCESSES)
        ]
        for writer in writers:
            stack.callback(writer.kill)
            _wait_until_ready(writer)
        for writer in writers:
            _let_go(writer)
        for _ in range(ROTATIONS):
            _rotate(logrotate, folder)
        stop.touch()
        return [int(writer.communicate(timeout=PATIENCE)[0]) for writer in writers]


def _messages(part: Path) -> list[str]:
    return [line.split(maxsplit=3)[3] for line in part.read_text().splitlines()]


def _rotated(path: Path) -> list[Path]:
    """The parts, oldest first: the one with the highest number."""
    rotated = path.parent.glob(f"{path.name}.*")
    return sorted(rotated, key=lambda part: int(part.suffix[1:]), reverse=True)


def test_logrotate_costs_no_line_of_any_process(tmp_path: Path, debian_program: Any) -> None:
    logrotate = debian_program("logrotate", "logrotate")
    path = tmp_path / "logs" / "tasks.log"
    path.parent.mkdir(mode=0o700)
    user, group = path.parent.owner(), path.parent.group()
    (tmp_path / "conf").write_text(CONFIG.format(path=path, user=user, group=group))
    (tmp_path / "conf").chmod(0o644)  # logrotate refuses one that others may write

    counts = _write_and_rotate(logrotate, tmp_path, path)

    current = _messages(path)
    messages = [message for part in _rotated(path) for message in _messages(part)] + current
    assert len(messages) == sum(counts) >= PROCESSES * TASKS * LINES
    for number, count in enumerate(counts):
        name = f"writer-{number}"
        own = [message for message in messages if message.startswith(f"{name} ")]
        assert own == [f"{name} {index} end" for index in range(count)]
        assert own[-1] in current
