"""The demo: on one file, and served."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from fastapi_taskflow import TaskAdmin, TaskManager
from fastapi_taskflow.cli.demo import Demo
from fastapi_taskflow.cli.work import count_words

COMMAND = [sys.executable, "-m", "fastapi_taskflow", "demo"]
LINE = re.compile(r"\[[0-9a-f]{8}\] \[(\w+)\] \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d (.*)")


def test_once_runs_the_tasks_on_a_file_and_prints_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_bytes(b"one two\nthree")

    done = subprocess.run(
        [*COMMAND, "--once", str(file), "--directory", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=tmp_path,
    )

    found = [LINE.fullmatch(line) for line in done.stdout.splitlines()]
    lines = [match.groups() for match in found if match is not None]
    assert len(lines) == len(found)
    digest = hashlib.sha256(b"one two\nthree").hexdigest()
    assert ("hash_file", f"sha256 is {digest}") in lines
    assert ("count_words", "1 lines, 3 words") in lines
    assert [text for name, text in lines if name == "archive_file"].count(
        "copying words.txt to the archive"
    ) == 3
    ends = {name: text for name, text in lines if text.startswith("-- ")}
    assert ends == {
        "hash_file": "-- SUCCESS",
        "count_words": "-- SUCCESS",
        "archive_file": "-- SUCCESS",
        "verify_signature": "-- FAILED",
    }


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--once", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )

    assert done.returncode == 2
    assert "does not exist" in " ".join(done.stderr.split())


@pytest.mark.parametrize("name", ["report.txt", "ünï code.bin"])
def test_an_uploaded_file_is_digested(tmp_path: Path, name: str) -> None:
    demo = Demo(tmp_path)
    content = b"alpha beta\n" * 300_000

    with TestClient(demo.make_app(TaskAdmin)) as client:
        ids = client.put(f"/files/{name}", content=content).json()["task_ids"]
        tasks = [client.get(f"/tasks/{task_id}").json() for task_id in ids]

    assert [task["status"] for task in tasks] == ["success", "success", "success", "failed"]
    assert [task["retries_used"] for task in tasks] == [0, 0, 2, 1]
    assert "300,000 lines, 600,000 words" in tasks[1]["logs"][-1]
    assert (tmp_path / "archive" / name).read_bytes() == content
    assert (tmp_path / "tasks.log").stat().st_size > 0


@pytest.mark.parametrize(
    ("name", "headers", "status"),
    [
        ("x" * 300, {}, 400),
        ("a%00b", {}, 400),
        ("x", {"content-type": "multipart/form-data; boundary=b"}, 415),
    ],
    ids=["long name", "nul", "form"],
)
def test_an_upload_that_cant_be_taken_is_refused(
    tmp_path: Path, name: str, headers: dict[str, str], status: int
) -> None:
    with TestClient(Demo(tmp_path).make_app(TaskAdmin)) as client:
        answer = client.put(f"/files/{name}", content=b"x", headers=headers)
        where = client.get("/").json()

    assert answer.status_code == status
    assert where["tasks"].endswith("/tasks")
    assert not (tmp_path / "uploads").exists()


def test_a_port_that_is_taken_is_a_usage_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        done = subprocess.run(
            [*COMMAND, "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )

    assert (done.returncode, done.stdout) == (2, "")
    assert "choose another --port" in done.stderr


def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    with TestClient(Demo(tmp_path).make_app(TaskAdmin)) as client:
        answer = client.put("/files/%2e%2e", content=b"x")

    assert answer.status_code in (400, 404)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The demo, served on a free port, once it has said where."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [*COMMAND, "--port", str(port), "--directory", str(tmp_path / "demo")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        _read_until(process, "Their lines follow")
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def _read_until(process: subprocess.Popen[str], text: str) -> list[str]:
    """The lines that a process prints up to one that has this text in it."""
    lines: list[str] = []
    assert process.stdout is not None
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if text in line:
                return lines
    finally:
        watchdog.cancel()
    raise AssertionError(f"no {text!r} in {lines}")


def _put(url: str, content: bytes) -> httpx.Response:
    transport = httpx.HTTPTransport(retries=20)  # it says where before it listens
    with httpx.Client(transport=transport, timeout=30) as client:
        return client.put(url, content=content)


def test_the_served_demo_digests_an_upload_and_ends_at_a_signal(
    served: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    process, url = served

    answer = _put(f"{url}/files/report.txt", b"one two\nthree\n")
    printed = _read_until(process, "[verify_signature]")
    printed += _read_until(process, "-- FAILED")
    ids = answer.json()["task_ids"]
    tasks = [httpx.get(f"{url}/tasks/{task_id}").json() for task_id in ids]
    failed = httpx.get(f"{url}/tasks", params={"status": "failed", "tag": "file:report.txt"}).json()
    metrics = httpx.get(f"{url}/tasks/metrics").json()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    assert answer.status_code == 202
    assert [task["func_name"] for task in tasks] == [
        "hash_file",
        "count_words",
        "archive_file",
        "verify_signature",
    ]
    assert [task["status"] for task in tasks] == ["success", "success", "success", "failed"]
    assert [task["task_id"] for task in failed] == ids[3:]
    assert (metrics["total"], metrics["success"], metrics["failed"]) == (4, 3, 1)
    written = (tmp_path / "demo" / "tasks.log").read_text().splitlines()
    lines = [line for line in printed if line]
    assert [line for line in lines if line not in written] == []
    assert all(LINE.fullmatch(line) for line in lines)
    assert process.returncode == 0


@pytest.mark.parametrize("bad", ["a directory", "nothing"])
def test_what_is_no_file_is_a_usage_error_that_names_it(tmp_path: Path, bad: str) -> None:
    given = [str(tmp_path)] if bad == "a directory" else []

    done = subprocess.run(
        [*COMMAND, "--once", *given],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert "--once" in done.stderr
    assert "Traceback" not in done.stderr


MIB = 1 << 20


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n\t ",
        b"one",
        b"a" * MIB + b"b",
        b"a" * MIB + b" b",
        b"a " * (MIB // 2) + b"b",
        b" " * (MIB - 1) + b"ab \n",
        b"x" * (MIB - 1) + b" " + b" " * MIB + b"y",
        b"w" * (2 * MIB + 1),
        bytes(range(256)) * 5000,
    ],
    ids=[
        "empty",
        "blank",
        "word",
        "across",
        "at the end",
        "at the start",
        "split",
        "gap",
        "long",
        "binary",
    ],
)
def test_lines_and_words_are_those_of_the_whole_file(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)

    record = TaskManager().run(count_words, file)

    assert record.result == {"lines": content.count(b"\n"), "words": len(content.split())}
