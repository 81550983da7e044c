"""Nothing is lost under load: requests by the hundred, a server told to stop, 100,000 events."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from fastapi_taskflow import (
    FileLogger,
    InMemoryLogger,
    LifecycleEvent,
    LogEvent,
    TaskManager,
    TaskObserver,
    bind_task_context,
    task_log,
)

PATIENCE = 60.0
"""Seconds after which a server that should have stopped hangs."""

APP = """
import asyncio, json, logging, os, threading
from fastapi import BackgroundTasks, FastAPI
from fastapi_taskflow import (
    FileLogger, ObserverHandler, TaskAdmin, TaskManager, TaskObserver, task_log
)

interrupted = asyncio.Event()

class Told(TaskObserver):
    # Writes down what it is told, a whole line by one write: workers share the file. It begins
    # when the shutdown has interrupted a task: until then all events wait.
    def __init__(self):
        self.file = os.open("told.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, event, text):
        line = json.dumps({"task_id": event.task_id, "seq": event.seq, "message": text})
        os.write(self.file, f"{line}\\n".encode())

    async def on_log(self, event):
        await interrupted.wait()
        self.write(event, event.message)

    async def on_lifecycle(self, event):
        await interrupted.wait()
        self.write(event, f"-- {event.status.name}")

def file(name, **options):
    return FileLogger(name, log_lifecycle=True, formatter="json", backup_count=1000, **options)

manager = TaskManager(
    loggers=[
        file("sync.jsonl", max_bytes=20_000),
        file("queued.jsonl", max_bytes=20_000, queued=True),
        ObserverHandler(Told(), timeout=600.0),
    ],
    shutdown_timeout=3.0,
)
app = FastAPI()
TaskAdmin(app, manager, auto_install=True)

def in_thread():
    for number in range(3):
        task_log(f"line {number}")

async def in_loop():
    for number in range(3):
        task_log(f"line {number}")
        await asyncio.sleep(0)

async def fails():
    await asyncio.sleep(0)
    raise ValueError("no")

async def stuck_in_loop():
    task_log("waiting")
    try:
        await asyncio.Event().wait()
    finally:
        interrupted.set()

def stuck_in_thread():
    task_log("waiting")
    threading.Event().wait()

@app.post("/{name}")
async def start(name: str, tasks: BackgroundTasks) -> dict:
    return {"task_id": tasks.add_task(globals()[name]), "worker": os.getpid()}
"""

STUCK = ["stuck_in_thread", "stuck_in_loop"]
BODIES = ["in_thread", "in_loop", "fails"]
EXPECTED = {
    "in_thread": ["-- RUNNING", "line 0", "line 1", "line 2", "-- SUCCESS"],
    "in_loop": ["-- RUNNING", "line 0", "line 1", "line 2", "-- SUCCESS"],
    "fails": ["-- RUNNING", "-- FAILED"],
    "stuck_in_loop": ["-- RUNNING", "waiting", "-- INTERRUPTED"],
    "stuck_in_thread": ["-- RUNNING", "waiting", "-- INTERRUPTED"],
}
URL = re.compile(r"http://127\.0\.0\.1:\d+")


class Served:
    """An app that uvicorn serves, by one worker or several."""

    def __init__(self, folder: Path, *options: str) -> None:
        (folder / "main.py").write_text(APP)
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "uvicorn", "main:app", "--port", "0", *options],
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._changed = threading.Condition()
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                with self._changed:
                    self.said.append(line)
                    self._changed.notify_all()

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until the server has said this so many times."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: sum(text in line for line in self.said) >= times, PATIENCE
            ), self.said

    @property
    def url(self) -> str:
        found = URL.search("".join(self.said))
        assert found is not None
        return found[0]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def serve(*options: str) -> Served:
        made.append(Served(tmp_path, *options))
        return made[-1]

    yield serve

    for served in made:
        served.kill()


class Clients:
    """Threads that send requests, one after the other, until the server takes no more."""

    def __init__(self, url: str, count: int = 4) -> None:
        self.tasks: dict[str, str] = {}  # the id of each task, and its function
        self._enough = threading.Event()
        self._url = url
        self._pool = ThreadPoolExecutor(count)
        self._calls = [self._pool.submit(self._send) for _ in range(count)]

    def _send(self) -> None:
        server = HTTPConnection(urlsplit(self._url).netloc, timeout=PATIENCE)
        server.connect()
        server.auto_open = 0  # a server that stops may take a new connection, and not tell it so
        with contextlib.suppress(HTTPException, OSError), contextlib.closing(server):
            while True:
                for name in BODIES:
                    server.request("POST", f"/{name}")
                    with server.getresponse() as answer:
                        assert answer.status == 200
                        self.tasks[json.load(answer)["task_id"]] = name
                if len(self.tasks) > 300:
                    self._enough.set()

    def wait(self) -> None:
        """Wait until they have sent some hundreds."""
        assert self._enough.wait(PATIENCE)

    def end(self) -> None:
        """Wait until no more is taken."""
        for call in self._calls:
            call.result(PATIENCE)
        self._pool.shutdown()


def stuck_tasks(url: str, workers: int) -> dict[str, str]:
    """Have every worker run some tasks that don't end; the function of each by its id."""
    tasks: dict[str, str] = {}
    seen: set[int] = set()
    while len(seen) < workers:
        for name in STUCK:
            answer = httpx.post(f"{url}/{name}", timeout=PATIENCE).json()
            tasks[answer["task_id"]] = name
        seen.add(answer["worker"])
    return tasks


def told(folder: Path, name: str) -> dict[str, list[str]]:
    """The messages of each task by their seq, as the files of a name have them."""
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for path in folder.glob(f"{name}*"):
        for line in path.read_text().splitlines():
            event = json.loads(line)
            found[event["task_id"]].append((event["seq"], event["message"]))
    assert all(
        sorted(seq for seq, _ in events) == [*range(len(events))] for events in found.values()
    )
    return {task_id: [text for _, text in sorted(events)] for task_id, events in found.items()}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_is_told_to_stop_under_load_loses_nothing(
    serve: Callable[..., Served], tmp_path: Path, workers: int
) -> None:
    server = serve(*(["--workers", str(workers)] if workers > 1 else []))
    server.wait_for("Uvicorn running on")
    server.wait_for("Application startup complete", workers)
    stuck = stuck_tasks(server.url, workers)
    clients = Clients(server.url)
    clients.wait()

    code = server.stop()

    clients.end()
    said = "".join(server.said)
    assert "Traceback" not in said, said
    assert "ERROR" not in said, said
    assert code == (-signal.SIGTERM if workers == 1 else 0)
    expected = {task_id: EXPECTED[name] for task_id, name in {**clients.tasks, **stuck}.items()}
    for name in ("sync.jsonl", "queued.jsonl", "told.jsonl"):
        found = told(tmp_path, name)
        # A client may have hung up before it was told of its last task, or got no answer.
        assert {task_id: found.get(task_id) for task_id in expected} == expected, name
        assert all(events in EXPECTED.values() for events in found.values())
        assert len(found) - len(expected) <= 4
    assert len(list(tmp_path.glob("sync.jsonl*"))) > 2  # it was rolled meanwhile


# A hundred thousand events in this process

PLAIN = "%(task_id)s %(seq)d %(message)s"
Event = tuple[str, int, str]
"""The task, the seq, and the message."""


class Listing(TaskObserver):
    """Notes what it is told, and lets others go first now and then."""

    def __init__(self) -> None:
        self.told: list[Event] = []

    async def on_log(self, event: LogEvent) -> None:
        if event.seq % 100 == 0:
            await asyncio.sleep(0)
        self.told.append((event.task_id, event.seq, event.message))

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        self.told.append((event.task_id, event.seq, f"-- {event.status.name}"))


def log_many(first: int, count: int) -> None:
    for number in range(first, first + count):
        task_log(f"line {number}")


def in_a_thread() -> None:
    log_many(0, 1000)


def in_three_threads() -> None:
    others = [
        threading.Thread(target=bind_task_context(log_many), args=(first, 300))
        for first in (0, 300)
    ]
    for other in others:
        other.start()
    log_many(600, 400)
    for other in others:
        other.join()


async def in_a_loop() -> None:
    for first in range(0, 1000, 10):
        log_many(first, 10)
        await asyncio.sleep(0)


def read_plain(paths: Iterable[Path]) -> list[Event]:
    """The events in files, the oldest of which comes first."""
    lines = [line.split(" ", 2) for path in paths for line in path.read_text().splitlines()]
    return [(task_id, int(seq), text) for task_id, seq, text in lines]


def rolled(path: Path) -> list[Path]:
    """A file, after those that it was rolled to."""
    older = path.parent.glob(f"{path.name}.*")
    return [*sorted(older, key=lambda each: -int(each.suffix[1:])), path]


def test_of_100_000_events_every_sink_has_each_once_and_in_order(tmp_path: Path) -> None:
    def file(name: str, *, queued: bool) -> FileLogger:
        return FileLogger(
            tmp_path / name,
            max_bytes=1_000_000,
            backup_count=100,
            formatter=logging.Formatter(PLAIN),
            log_lifecycle=True,
            queued=queued,
        )

    memory, listing = InMemoryLogger(), Listing()
    loggers = [file("sync.log", queued=False), file("queued.log", queued=True), memory, listing]
    manager = TaskManager(loggers=loggers)
    bodies = [in_a_thread, in_a_loop, in_three_threads, in_a_loop]

    async def main() -> list[str]:
        async with manager:  # a round has fewer events than may wait
            rounds = [
                await asyncio.gather(*(manager.execute(body) for body in bodies * 2))
                for _ in range(13)
            ]
        return [record.task_id for records in rounds for record in records]

    task_ids = asyncio.run(main())

    events = [*memory.log_events, *memory.lifecycle_events]
    heard = {
        "sync.log": read_plain(rolled(tmp_path / "sync.log")),
        "queued.log": read_plain(rolled(tmp_path / "queued.log")),
        "async": listing.told,
    }
    lines = {f"line {number}" for number in range(1000)} | {"-- RUNNING", "-- SUCCESS"}
    for name, told in heard.items():
        by_task: dict[str, list[Event]] = defaultdict(list)
        for event in told:
            by_task[event[0]].append(event)
        assert set(by_task) == set(task_ids), name
        for of_task in by_task.values():
            assert [seq for _, seq, _ in of_task] == list(range(1002)), name
            assert {text for _, _, text in of_task} == lines, name
        assert sorted(told) == sorted(heard["sync.log"]), name
    assert len(events) == len(listing.told) == 1002 * 104
    assert {(e.task_id, e.seq, e.message) for e in memory.log_events} <= set(listing.told)
    for name, stats in manager.observer_stats().items():
        if name != "pipeline":
            assert (stats.delivered, dict(stats.dropped), stats.errors) == (1002 * 104, {}, 0)


class Gate(logging.Formatter):
    """A formatter that comes back only when it is let."""

    def __init__(self) -> None:
        super().__init__("%(message)s")
        self.open = threading.Event()

    def format(self, record: logging.LogRecord) -> str:
        assert self.open.wait(PATIENCE)
        return super().format(record)


def test_a_queued_file_that_cannot_follow_has_or_counts_each_of_100_000_lines(
    tmp_path: Path,
) -> None:
    gate, path = Gate(), tmp_path / "tasks.log"
    manager = TaskManager(loggers=[FileLogger(path, formatter=gate, queued=True)])

    def body() -> None:
        for number in range(100_000):
            task_log(number)
            if number == 50_000:
                gate.open.set()

    manager.run(body)

    stats = manager.observer_stats()["FileLogger"]
    numbers = [int(line) for line in path.read_text().splitlines()]
    assert len(numbers) + stats.dropped["overflow"] == 100_000
    assert (len(numbers), stats.errors, stats.queued) == (stats.delivered, 0, 0)
    assert numbers == sorted(set(numbers))
    assert numbers[:10_000] == list(range(10_000))
    assert len(numbers) <= 61_000


def test_a_queued_file_that_has_time_to_follow_loses_none_of_100_000_lines(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tasks.log"
    manager = TaskManager(loggers=[FileLogger(path, formatter=logging.Formatter(), queued=True)])

    async def body() -> None:
        for first in range(0, 100_000, 5_000):
            log_many(first, 5_000)
            while manager.observer_stats()["FileLogger"].queued:  # noqa: ASYNC110  # any thread's
                await asyncio.sleep(0)

    manager.run(body)

    assert path.read_text().splitlines() == [f"line {number}" for number in range(100_000)]
    assert manager.observer_stats()["FileLogger"].dropped == {}
