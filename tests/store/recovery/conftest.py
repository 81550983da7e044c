"""What the tests of several processes share: processes on one database, driven by lines."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest

PATIENCE = 20.0
"""Seconds after which what should have happened has not."""


class Worker:
    """A process that runs ``worker.py``."""

    def __init__(self, folder: Path, where: str, **options: Any) -> None:
        given = {"ran": str(folder / "ran"), "snapshot_db": where, **options}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("worker.py")), json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.answers: SimpleQueue[list[Any]] = SimpleQueue()
        self.seen: list[list[Any]] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(json.loads(line))

    def say(self, *action: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(action) + "\n")
        self.process.stdin.flush()

    def wait_for(self, *wanted: Any) -> list[Any]:
        """Read answers until one begins so."""
        for answer in self.seen:
            if answer[: len(wanted)] == list(wanted):
                return answer
        while True:
            try:
                answer = self.answers.get(timeout=PATIENCE)
            except Empty:
                self.kill()
                raise AssertionError(self.process.communicate()[1], wanted, self.seen) from None
            self.seen.append(answer)
            if answer[: len(wanted)] == list(wanted):
                return answer

    def run(self, function: str, name: str, seconds: float = 0.0, **options: Any) -> str:
        """Have a task enqueued and begun. Returns its id."""
        self.say("run", function, [name, seconds], options)
        return str(self.wait_for("enqueued", name)[2])

    def enqueue(self, function: str, name: str, **options: Any) -> str:
        """Have a task enqueued, and not begun. Returns its id."""
        self.say("enqueue", function, [name, 0.0], options)
        return str(self.wait_for("enqueued", name)[2])

    def flush(self) -> None:
        """Wait until all that has happened is in the database."""
        self.say("flush")
        self.wait_for("flushed")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.say("stop")
        self.wait_for("stopped")
        self.process.wait(PATIENCE)

    def told(self) -> list[list[Any]]:
        """All answers so far."""
        while not self.answers.empty():
            self.seen.append(self.answers.get())
        return self.seen


Start = Callable[..., Worker]


@pytest.fixture
def where(request: pytest.FixtureRequest, database_of: Callable[..., str]) -> str:
    """A database; SQLite where a test doesn't say."""
    return database_of(getattr(request, "param", "sqlite"))


@pytest.fixture
def start(tmp_path: Path, where: str) -> Iterator[Start]:
    """Start workers on one database; none outlives the test."""
    started: list[Worker] = []

    def start(**options: Any) -> Worker:
        worker = Worker(tmp_path, where, **options)
        started.append(worker)
        worker.wait_for("ready")
        return worker

    yield start

    for worker in started:
        worker.kill()
        for stream in (worker.process.stdin, worker.process.stderr):
            assert stream is not None
            stream.close()
        worker.reader.join()
        assert worker.process.stdout is not None
        worker.process.stdout.close()
