"""``GET /tasks/stream`` over real sockets: live, resumed, reset, cut off, and ended in time."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fastapi_taskflow import TaskAdmin, TaskManager, bind_task_context, get_task_context, task_log
from fastapi_taskflow.admin import stream
from fastapi_taskflow.loggers import watch as watching
from fastapi_taskflow.loggers import watchers as hub

PATIENCE = 30.0


def until(condition: Callable[[], object]) -> None:
    """Wait for what comes true by itself; one that hangs fails."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Reader:
    """A client that parses the stream: blocks of fields, comments as the field ""."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()
        self.opening = self.block()
        self.last_id = self.opening["id"]

    def block(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        for line in self._lines:
            if not line:
                return fields
            name, _, value = line.partition(": ")
            assert name not in fields
            fields[name] = value
        raise EOFError

    def event(self) -> tuple[str, Any]:
        block = self.block()
        self.last_id = block["id"]
        return block["event"], json.loads(block["data"])

    def events(self, count: int) -> list[str]:
        return [_text(*self.event()) for _ in range(count)]

    def rest(self) -> list[str]:
        texts = []
        while True:
            try:
                texts.append(_text(*self.event()))
            except EOFError:
                return texts


def _text(kind: str, data: Any) -> str:
    return str(data["message"]) if kind == "log" else f"-- {data['status']}"


class Site:
    """An app with a manager, served in a thread."""

    def __init__(self, manager: TaskManager) -> None:
        self.manager = manager
        app = FastAPI()
        TaskAdmin(app, manager)
        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        self.thread = threading.Thread(target=self.server.run)

    def start(self) -> None:
        self.thread.start()
        until(lambda: self.server.started)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/tasks/stream"

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()

    @contextmanager
    def read(self, *, header: str | None = None, **params: str) -> Iterator[Reader]:
        headers = {} if header is None else {"Last-Event-ID": header}
        with httpx.stream(
            "GET", self.url, params=params, headers=headers, timeout=PATIENCE
        ) as response:
            assert response.status_code == 200
            yield Reader(response)

    def status(self, **params: str) -> int:
        return httpx.get(self.url, params=params, timeout=PATIENCE).status_code


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site(TaskManager())
    site.start()
    yield site
    site.stop()


def three_lines() -> None:
    for number in range(3):
        task_log(f"line {number}")


async def three_lines_in_loop() -> None:
    three_lines()


THREE = ["-- running", "line 0", "line 1", "line 2", "-- success"]


@pytest.mark.parametrize("body", [three_lines, three_lines_in_loop], ids=["sync", "async"])
def test_events_come_as_they_happen(site: Site, body: Callable[[], Any]) -> None:
    with site.read() as one, site.read() as other:
        site.manager.run(body)

        assert one.events(5) == other.events(5) == THREE

    assert one.response.headers["content-type"].startswith("text/event-stream")
    assert one.response.headers["cache-control"] == "no-cache"
    assert one.opening["retry"] == "1000"


def test_the_data_is_as_in_other_routes(site: Site) -> None:
    def body() -> None:
        task_log("half \ud800\n", level="warning", odd=float("nan"), raw=b"\xff")
        raise ValueError("boom")

    with site.read() as reader:
        record = site.manager.run(body, tags={"a": "1"})
        _, log = [reader.event() for _ in range(2)][1]
        kind, end = reader.event()

    entry = httpx.get(site.url.replace("stream", f"{record.task_id}/logs")).json()[0]
    task = httpx.get(site.url.replace("stream", record.task_id)).json()
    own = {"task_id": record.task_id, "func_name": record.func_name, "tags": {"a": "1"}}
    assert log == {**entry, **own}
    assert kind == "lifecycle"
    assert (end["seq"], end["status"], end["error"]) == (2, "failed", "boom")
    assert {name: end[name] for name in ("stacktrace", "duration", *own)} == {
        name: task[name] for name in ("stacktrace", "duration", *own)
    }


def test_ids_differ_and_are_one_line(site: Site) -> None:
    with site.read() as reader:
        site.manager.run(three_lines)
        ids = [reader.block()["id"] for _ in range(5)]

    assert len(set(ids)) == 5


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def _start(site: Site, gate: threading.Event) -> tuple[str, Callable[[], None]]:
    """Start a task that waits for the gate; give its id, and what joins it."""
    ids: list[str] = []
    started = threading.Event()

    def waiting() -> None:
        ids.append(str(_own_id()))
        started.set()
        assert gate.wait(PATIENCE)
        three_lines()

    thread = threading.Thread(target=lambda: site.manager.run(waiting))
    thread.start()
    assert started.wait(PATIENCE)
    return ids[0], thread.join


def _own_id() -> object:
    context = get_task_context()
    assert context is not None
    return context.task_id


def test_one_tasks_stream_ends_with_it(site: Site, gate: threading.Event) -> None:
    task_id, join = _start(site, gate)
    with site.read(task_id=task_id) as reader:
        site.manager.run(task_log, "another")
        gate.set()

        assert reader.rest() == THREE[1:]
    join()
    assert site.status(task_id=task_id) == 204
    assert site.status(task_id=task_id, last_event_id=reader.last_id) == 204
    assert len(site.manager.watchers) == 0


def test_an_unknown_task_is_404(site: Site) -> None:
    assert site.status(task_id="nobody") == 404
    assert len(site.manager.watchers) == 0


def test_a_reader_that_leaves_is_forgotten(site: Site) -> None:
    with site.read() as one, site.read() as other:
        assert len(site.manager.watchers) == 2
        assert one.opening == other.opening

    until(lambda: len(site.manager.watchers) == 0)


def test_a_quiet_stream_is_kept_alive(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "KEEP_ALIVE_SECONDS", 0.01)
    with site.read() as reader:
        ping = reader.block()

    assert ping == {"": "ping", "id": reader.opening["id"]}


# Coming back


@pytest.mark.parametrize("by", ["header", "last_event_id"])
def test_a_reader_that_comes_back_misses_nothing(site: Site, by: Any) -> None:
    with site.read() as reader:
        site.manager.run(three_lines)
        before = reader.events(2)
    site.manager.run(task_log, "while away")

    with site.read(**{by: reader.last_id}) as again:
        site.manager.run(task_log, "live")
        after = again.events(9)

    assert "event" not in again.opening
    assert before + after == [
        *THREE,
        *("-- running", "while away", "-- success"),
        *("-- running", "live", "-- success"),
    ]


def test_the_header_is_newer_than_the_parameter(site: Site) -> None:
    with site.read() as reader:
        site.manager.run(three_lines)
        reader.events(2)
        first = reader.last_id
        reader.events(2)

    with site.read(header=reader.last_id, last_event_id=first) as again:
        assert again.events(1) == ["-- success"]


def test_a_reader_can_come_back_before_anything_happened(site: Site) -> None:
    with site.read() as reader:
        pass
    site.manager.run(three_lines)

    with site.read(header=reader.last_id) as again:
        assert again.events(5) == THREE


def test_a_task_that_ended_meanwhile_is_told_to_its_end(site: Site, gate: threading.Event) -> None:
    task_id, join = _start(site, gate)
    with site.read(task_id=task_id) as reader:
        pass
    gate.set()
    join()
    site.manager.run(task_log, "another")

    with site.read(task_id=task_id, header=reader.last_id) as again:
        assert again.rest() == THREE[1:]


def test_what_a_task_logs_after_its_end_is_not_in_its_stream(
    site: Site, gate: threading.Event
) -> None:
    late: list[Callable[[], None]] = []

    def body() -> None:
        late.append(bind_task_context(three_lines))

    with site.read() as reader:
        record = site.manager.run(body)
        late[0]()
        reader.events(5)

    with site.read(task_id=record.task_id, header=reader.opening["id"]) as again:
        assert again.rest() == ["-- running", "-- success"]


@pytest.mark.parametrize(
    "last_id",
    [
        "rubbish",
        "{boot}-",
        "{boot}-x",
        "{boot}--1",
        "{boot}-99999",
        "{boot}-²",
        "0-1",
        "-",
    ],
)
def test_an_id_of_no_use_is_a_reset(site: Site, last_id: str) -> None:
    with site.read() as reader:
        boot = reader.last_id.partition("-")[0]

    with site.read(last_event_id=last_id.format(boot=boot)) as again:
        site.manager.run(three_lines)

        assert again.opening["event"] == "reset"
        assert again.opening["data"].startswith("{")
        assert again.events(5) == THREE


def test_another_process_gives_a_reset(site: Site) -> None:
    with site.read() as reader:
        pass
    other = Site(TaskManager())
    other.start()

    with other.read(header=reader.last_id) as again:
        opening = again.opening
    other.stop()

    assert opening["event"] == "reset"


def test_beyond_what_is_kept_there_is_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HISTORY", 10)
    site = Site(TaskManager())
    site.start()
    with site.read() as reader:
        pass
    for _ in range(3):
        site.manager.run(three_lines)

    with site.read(header=reader.last_id) as again:
        opening = again.opening
    with site.read(header=again.last_id) as then:
        following = then.opening
    site.stop()

    assert opening["event"] == "reset"
    assert "event" not in following


def test_a_reset_of_an_ended_task_ends_too(site: Site) -> None:
    record = site.manager.run(three_lines)

    with site.read(task_id=record.task_id, header="rubbish") as reader:
        assert reader.opening["event"] == "reset"
        assert reader.rest() == []


def test_a_reader_that_missed_events_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watching, "BUFFER", 10)
    site = Site(TaskManager())
    site.start()

    async def burst() -> None:  # in the loop's thread, so that no reader has a turn
        for number in range(30):
            task_log(number)

    with site.read() as reader:
        site.manager.run(burst)
        with pytest.raises(httpx.RemoteProtocolError):
            reader.rest()
    with site.read(header=reader.last_id) as again:
        texts = again.events(32)
    site.stop()

    assert texts == ["-- running", *map(str, range(30)), "-- success"]
    assert "Traceback" not in capsys.readouterr().err


# The stream and the app around it


def flood() -> None:
    for _ in range(200):
        task_log("x" * 1000)


def test_who_catches_up_leaves_others_on_the_loop_their_turn() -> None:
    manager = TaskManager()

    watchers = manager.watchers
    opening = watchers.read()
    manager.run(flood)
    behind = watchers.read(last_id=watchers.id_of(opening.since))
    opening.close()
    turns = 0
    seen: list[int] = []

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def send(message: Any) -> None:
        if message.get("body"):
            seen.append(turns)
        if len(seen) == 4:
            behind.close()

    async def main() -> None:
        busy = asyncio.create_task(others())
        await stream.EventStream(watchers, behind).stream_response(send)
        busy.cancel()

    asyncio.run(main())

    assert len(set(seen[1:])) == len(seen[1:]) > 1


def test_the_stream_is_in_the_openapi() -> None:
    app = FastAPI()
    TaskAdmin(app, TaskManager(), path="/jobs")

    route = app.openapi()["paths"]["/jobs/stream"]["get"]

    assert set(route["responses"]) == {"200", "204", "404", "422", "503"}
    assert list(route["responses"]["200"]["content"]) == ["text/event-stream"]
    names = {parameter["name"] for parameter in route["parameters"]}
    assert names == {"task_id", "last_event_id", "Last-Event-ID"}


def test_a_shutdown_ends_the_stream(site: Site) -> None:
    with site.read() as reader:
        site.manager.run(three_lines)
        engine_loop = site.manager.engine.loop
        assert engine_loop is not None
        asyncio.run_coroutine_threadsafe(site.manager.shutdown(), engine_loop).result(PATIENCE)

        assert reader.rest() == THREE


def test_a_second_manager_has_a_stream_of_its_own() -> None:
    app = FastAPI()
    one, other = TaskManager(), TaskManager()
    TaskAdmin(app, one)
    TaskAdmin(app, other, path="/others")
    record = one.run(three_lines)

    with TestClient(app) as client:
        assert client.get("/tasks/stream", params={"task_id": record.task_id}).status_code == 204
        assert client.get("/others/stream", params={"task_id": record.task_id}).status_code == 404


# In a process of its own

APP = """
import asyncio, resource
from fastapi import BackgroundTasks, FastAPI
from fastapi_taskflow import TaskAdmin, TaskManager, task_log
from fastapi_taskflow.admin import stream

stream.SEND_SECONDS = 0.5
manager = TaskManager()
app = FastAPI()
TaskAdmin(app, manager, auto_install=True)
go = asyncio.Event()

def flood():
    for number in range(20_000):
        task_log(f"{number} " + "x" * 1000)

async def gentle():
    for number in range(2000):
        task_log(f"{number} " + "x" * 10_000)
        await asyncio.sleep(0)

async def waits():
    task_log("waiting")
    await go.wait()

@app.post("/start/{name}")
async def start(name: str, tasks: BackgroundTasks) -> str:
    return tasks.add_task(globals()[name])

@app.post("/go")
async def let_go() -> None:
    asyncio.get_running_loop().call_later(0.3, go.set)

@app.get("/state")
def state() -> dict:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"watchers": len(manager.watchers), "peak": peak}
"""
URL = re.compile(r"http://127\.0\.0\.1:(\d+)")


class Process:
    """The app above under uvicorn."""

    def __init__(self, folder: Path) -> None:
        (folder / "main.py").write_text(APP)
        self.said = folder / "said.txt"
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "uvicorn", "main:app", "--port", "0"],
                cwd=folder,
                stderr=said,
            )
        until(lambda: URL.search(self.said.read_text()))
        found = URL.search(self.said.read_text())
        assert found is not None
        self.url, self.port = found[0], int(found[1])

    def post(self, path: str) -> Any:
        return httpx.post(f"{self.url}{path}", timeout=PATIENCE).json()

    def state(self) -> dict[str, int]:
        state: dict[str, int] = httpx.get(f"{self.url}/state", timeout=PATIENCE).json()
        return state

    def task(self, task_id: str) -> Any:
        return httpx.get(f"{self.url}/tasks/{task_id}", timeout=PATIENCE).json()

    def ended(self) -> int:
        return self.process.wait(PATIENCE)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.process.kill()
    process.process.wait()


@contextmanager
def stalled(port: int) -> Iterator[socket.socket]:
    """A client that asks for the stream and reads no more than the beginning."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.settimeout(PATIENCE)
        client.sendall(b"GET /tasks/stream HTTP/1.1\r\nHost: here\r\n\r\n")
        assert client.recv(10).startswith(b"HTTP/1.1")
        yield client


def test_a_reader_that_does_not_read_is_cut_off_and_costs_nobody(process: Process) -> None:
    with stalled(process.port), stalled(process.port):
        until(lambda: process.state()["watchers"] == 2)
        before = process.state()["peak"]
        with httpx.stream("GET", f"{process.url}/tasks/stream", timeout=PATIENCE) as response:
            reader = Reader(response)
            task_id = process.post("/start/gentle")
            texts = reader.events(2002)
        until(lambda: process.state()["watchers"] == 0)
        after = process.state()["peak"]

    assert [text.split()[0] for text in texts[1:-1]] == [str(n) for n in range(2000)]
    assert process.task(task_id)["status"] == "success"
    # 20 MB of messages are in the task's log and in what is kept; a reader has no copy.
    assert after - before < 120_000, "kilobytes"


def test_a_flood_with_nobody_reading_holds_up_no_task_and_frees_the_readers(
    process: Process,
) -> None:
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(stalled(process.port))
        until(lambda: process.state()["watchers"] == 5)
        task_id = process.post("/start/flood")
        until(lambda: process.task(task_id)["status"] == "success")
        until(lambda: process.state()["watchers"] == 0)

        assert process.task(task_id)["logs_dropped"] == 10_000


def test_a_server_with_open_streams_stops_when_it_is_told_to(process: Process) -> None:
    with ExitStack() as stack:
        readers = [
            Reader(stack.enter_context(httpx.stream("GET", url, timeout=PATIENCE)))
            for url in [f"{process.url}/tasks/stream"] * 3
        ]
        process.process.send_signal(signal.SIGTERM)

        assert [reader.rest() for reader in readers] == [[], [], []]
    process.ended()
    assert "Finished server process" in process.said.read_text()


def test_the_stream_lasts_as_long_as_tasks_do_after_the_signal(process: Process) -> None:
    with httpx.stream("GET", f"{process.url}/tasks/stream", timeout=PATIENCE) as response:
        reader = Reader(response)
        process.post("/start/waits")
        assert reader.events(2) == ["-- running", "waiting"]
        process.post("/go")
        process.process.send_signal(signal.SIGTERM)

        assert reader.rest() == ["-- success"]
    process.ended()
    assert "Finished server process" in process.said.read_text()
