"""To the real rsyslogd, through the standard library's SysLogHandler in ``loggers=``."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from logging.handlers import SysLogHandler
from pathlib import Path
from typing import Any

import pytest

from fastapi_taskflow import InMemoryLogger, TaskFormatter, TaskManager, task_log

LINES = 500
PATIENCE = 30.0
"""Seconds after which a test gives up on what should happen at once."""

# SysLogHandler ends each message with NUL, which imtcp takes for the end only if told so.
CONFIG = """\
global(workDirectory="{folder}")
module(load="imtcp" addtlFrameDelimiter="0")
input(type="imtcp" address="127.0.0.1" port="0" listenPortFileName="{folder}/port")
template(name="line" type="string" string="%syslogseverity-text% %rawmsg-after-pri%\\n")
action(type="omfile" file="{folder}/received" template="line")
"""

LINE = re.compile(r"(\w+) \[[0-9a-f]{8}\] \[(\w+)\] \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d (.*)")


def _wait_for(path: Path, pattern: str) -> str:
    """The content of a file that another process writes, once the pattern is in it."""
    deadline, pause = time.monotonic() + PATIENCE, threading.Event()
    while time.monotonic() < deadline:
        content = path.read_text() if path.exists() else ""
        if re.search(pattern, content):
            return content
        pause.wait(0.01)
    pytest.fail(f"{pattern!r} did not arrive in {path.name}")


@pytest.fixture
def rsyslog(tmp_path: Path, debian_program: Any) -> Iterator[tuple[str, int]]:
    """The address of a syslog server that writes to ``received``."""
    program = debian_program("rsyslogd", "rsyslog")
    config = tmp_path / "conf"
    config.write_text(CONFIG.format(folder=tmp_path))
    command = [program, "-n", "-f", str(config), "-i", str(tmp_path / "pid")]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as daemon:
        try:
            yield "127.0.0.1", int(_wait_for(tmp_path / "port", r"\d"))
        finally:
            daemon.terminate()


def speak() -> None:
    for number in range(LINES):
        task_log(f"line {number}")
    task_log("odd", level="warning")
    task_log("two\nlines", level="error")
    task_log("the end", level="critical")


def _syslog(address: tuple[str, int], kind: socket.SocketKind) -> SysLogHandler:
    handler = SysLogHandler(address, socktype=kind)
    handler.setFormatter(TaskFormatter())
    return handler


def test_all_lines_arrive_in_order_with_their_priorities(
    tmp_path: Path, rsyslog: tuple[str, int]
) -> None:
    handler = _syslog(rsyslog, socket.SOCK_STREAM)

    TaskManager(loggers=[handler]).run(speak)

    received = _wait_for(tmp_path / "received", r"-- SUCCESS\n").splitlines()
    handler.close()
    lines = [match.groups() for line in received if (match := LINE.fullmatch(line))]
    assert lines == [
        ("info", "speak", "-- RUNNING"),
        *[("info", "speak", f"line {number}") for number in range(LINES)],
        ("warning", "speak", "odd"),
        ("err", "speak", r"two\nlines"),
        ("crit", "speak", "the end"),
        ("info", "speak", "-- SUCCESS"),
    ]


def _nobody(kind: socket.SocketKind) -> SysLogHandler:
    """A handler whose server has gone: over TCP, one can't be made without a server."""
    with socket.socket(socket.AF_INET, kind) as server:
        server.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            server.listen()
        return _syslog(server.getsockname(), kind)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["udp", "tcp"])
def test_tasks_go_on_where_no_server_listens(kind: socket.SocketKind) -> None:
    handler, memory = _nobody(kind), InMemoryLogger()

    record = TaskManager(loggers=[handler, memory]).run(speak)

    handler.close()
    assert (record.status, len(record.logs)) == ("success", LINES + 3)
    assert memory.log_events[-1].message == "the end"
