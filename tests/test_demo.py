"""The demo: on one file, and served."""

from __future__ import annotations

import hashlib
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from fastapi_taskflow import TaskAdmin
from fastapi_taskflow.cli.demo import Demo

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
    [("x" * 300, {}, 400), ("x", {"content-type": "multipart/form-data; boundary=b"}, 415)],
    ids=["long name", "form"],
)
def test_an_upload_that_cant_be_taken_is_refused(
    tmp_path: Path, name: str, headers: dict[str, str], status: int
) -> None:
    with TestClient(Demo(tmp_path).make_app(TaskAdmin)) as client:
        answer = client.put(f"/files/{name}", content=b"x", headers=headers)
        where = client.get("/").json()

    assert answer.status_code == status
    assert where["tasks"].endswith("/tasks")


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
