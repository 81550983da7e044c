"""``task_progress()``: at once in the record, soon and seldom everywhere else."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fastapi_taskflow import (
    InMemoryLogger,
    LifecycleEvent,
    LogEvent,
    ProgressEvent,
    TaskAdmin,
    TaskManager,
    TaskProgress,
    TaskRecord,
    bind_task_context,
    get_task_context,
    task_log,
    task_progress,
)
from fastapi_taskflow.loggers import birth
from fastapi_taskflow.loggers.progress import Gathered
from fastapi_taskflow.store import Query

PATIENCE = 30.0
_EVERYTHING = Query()


def until(condition: Callable[[], object]) -> None:
    """Look until it is so; a database has no event to wait for."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(params=[None, "tasks.db"], ids=["memory", "database"])
def any_manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TaskManager]:
    path = None if request.param is None else tmp_path / request.param
    manager = TaskManager(snapshot_db=path)
    yield manager
    asyncio.run(manager.shutdown())


def _here(manager: TaskManager) -> TaskRecord:
    context = get_task_context()
    assert context is not None
    return manager.get_task(context.task_id)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_it_is_in_the_record_at_once(any_manager: TaskManager, kind: str) -> None:
    seen: list[Any] = []

    def body() -> None:
        for done in (1, 2):
            task_progress(done, 4, f"file {done}")
            seen.append(_here(any_manager).progress)

    async def async_body() -> None:
        body()

    record = any_manager.run(body if kind == "sync" else async_body)

    assert seen == [TaskProgress(1, 4, "file 1"), TaskProgress(2, 4, "file 2")]
    assert record.progress == seen[-1]
    assert record.logs == []


def test_the_routes_show_it_at_once(any_manager: TaskManager) -> None:
    app = FastAPI()
    TaskAdmin(app, any_manager)
    said, go = threading.Event(), threading.Event()

    def body() -> None:
        for done in range(1000):
            task_progress(done, 1000, "half \ud800")
        task_progress(2.5, 10, "half \ud800")
        said.set()
        assert go.wait(PATIENCE)

    with TestClient(app) as client:
        running = threading.Thread(target=any_manager.run, args=(body,))
        running.start()
        assert said.wait(PATIENCE)
        listed = client.get("/tasks").json()[0]
        detail = client.get(f"/tasks/{listed['task_id']}").json()
        go.set()
        running.join(PATIENCE)
        ended = client.get("/tasks").json()[0]

    shown = {"done": 2.5, "total": 10, "message": "half \\ud800", "percent": 25.0}
    assert listed["progress"] == detail["progress"] == ended["progress"] == shown


def _row(path: Path) -> Any:
    with closing(sqlite3.connect(path)) as connection:
        columns = "progress_done, progress_total, progress_message"
        return connection.execute(f"SELECT {columns} FROM taskflow_tasks").fetchone()


def test_it_is_in_the_database_while_the_task_runs(tmp_path: Path) -> None:
    path = tmp_path / "tasks.db"
    manager = TaskManager(snapshot_db=path)

    def body() -> None:
        task_progress(1, 3, "one")
        until(lambda: _row(path) == (1, 3, "one"))
        task_progress(2)
        until(lambda: _row(path) == (2, None, None))
        task_progress(10**300, 3)

    task_id = manager.run(body).task_id
    asyncio.run(manager.shutdown())

    after = TaskManager(snapshot_db=path).get_task(task_id).progress
    assert after == TaskProgress(1e300, 3)
    assert after.percent == 100.0


def test_whole_numbers_come_back_as_such(tmp_path: Path) -> None:
    manager = TaskManager(snapshot_db=tmp_path / "tasks.db")
    task_id = manager.run(task_progress, 1, 2.5).task_id
    asyncio.run(manager.shutdown())

    progress = TaskManager(snapshot_db=tmp_path / "tasks.db").get_task(task_id).progress

    assert repr(progress) == repr(TaskProgress(1, 2.5))


def test_what_is_said_often_is_told_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[str] = []
    calls = 20_000
    manager = TaskManager(snapshot_db=tmp_path / "tasks.db")
    save = manager.store.save_progress

    def counted(task_id: str) -> None:
        writes.append(task_id)
        save(task_id)

    monkeypatch.setattr(manager.store, "save_progress", counted)

    def body() -> None:
        for done in range(calls):
            task_progress(done, calls)
        task_log("said")
        task_progress(calls, calls)

    watch = manager.watch(progress=True)
    manager.run(body)
    asyncio.run(manager.shutdown())
    events = [item.event for item in iter(watch.take, None)]

    told = [event for event in events if isinstance(event, ProgressEvent)]
    assert told[-1].progress.percent == 100.0
    assert len(told) < calls / 10
    assert len(writes) < calls / 10
    done = [event.progress.done for event in told]
    assert done == sorted(done)


def test_those_who_watch_know_the_last_before_the_end() -> None:
    manager = TaskManager(redact=["token"])
    watches = []

    def body() -> None:
        context = get_task_context()
        assert context is not None
        watches.append(manager.watch(context.task_id, progress=True))
        task_progress(3, 4, "token=abcdef")

    manager.run(body, tags={"a": "b"})

    progress, end = [item.event for item in iter(watches[0].take, None)]

    assert isinstance(progress, ProgressEvent)
    assert isinstance(end, LifecycleEvent)
    assert progress.progress == TaskProgress(3, 4, "token=[redacted]")
    assert (progress.func_name, progress.attempt, progress.tags) == ("body", 0, {"a": "b"})
    assert progress.timestamp <= end.timestamp


def test_watches_tell_it_only_where_that_is_wanted(memory: InMemoryLogger) -> None:
    manager = TaskManager(loggers=[memory])
    watch = manager.watch()

    def body() -> None:
        task_progress(1)
        task_log("hello")

    manager.run(body)

    events = [item.event for item in iter(watch.take, None)]
    assert [event.seq for event in events if not isinstance(event, ProgressEvent)] == [0, 1, 2]
    assert len(events) == 3
    assert all(isinstance(event, LogEvent) for event in memory.log_events)


def test_the_stream_has_it_without_an_id() -> None:
    manager, app = TaskManager(), FastAPI()
    TaskAdmin(app, manager, auto_install=True)
    go = threading.Event()

    def body() -> None:
        assert go.wait(PATIENCE)
        task_progress(1, 8, "one")

    blocks: list[str] = []
    with TestClient(app) as client:
        running = threading.Thread(target=manager.run, args=(body,))
        running.start()
        until(lambda: manager.store.query(_EVERYTHING)[:1])
        task_id = manager.store.query(_EVERYTHING)[0].task_id

        def read() -> None:
            blocks.extend(client.get(f"/tasks/stream?task_id={task_id}").text.split("\n\n"))

        reading = threading.Thread(target=read)
        reading.start()
        until(lambda: len(manager.watchers))
        go.set()
        reading.join(PATIENCE)
        running.join(PATIENCE)

    told = next(block for block in blocks if block.startswith("event: progress"))
    event, data = told.split("\n")
    shown = json.loads(data.removeprefix("data: "))
    assert event == "event: progress"
    assert shown["progress"] == {"done": 1, "total": 8, "message": "one", "percent": 12.5}
    assert shown["task_id"] == task_id


class _Unprintable:
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        pytest.param((True,), None, id="bool"),
        pytest.param((-1,), None, id="negative"),
        pytest.param((float("nan"), 5), None, id="nan"),
        pytest.param((float("inf"),), None, id="infinite"),
        pytest.param((10**400,), None, id="beyond-floats"),
        pytest.param(("half",), None, id="text"),
        pytest.param((Decimal(1),), None, id="decimal"),
        pytest.param((1, -1), None, id="negative-total"),
        pytest.param((1, "many"), None, id="text-total"),
        pytest.param((7, 5), TaskProgress(7, 5), id="more-than-all"),
        pytest.param((0, 0), TaskProgress(0, 0), id="nothing-to-do"),
        pytest.param((Fraction(1, 2),), TaskProgress(0.5), id="fraction"),
        pytest.param((1, 2, 3), TaskProgress(1, 2, "3"), id="message-of-any-kind"),
        pytest.param(
            (1, None, _Unprintable()),
            TaskProgress(1, None, "<unprintable _Unprintable: ValueError>"),
            id="unprintable",
        ),
    ],
)
def test_no_value_fails_the_task(
    said: tuple[Any, ...],
    kept: TaskProgress | None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(birth, "_reported", set())

    def body() -> None:
        for _ in range(3):
            task_progress(*said)

    record = TaskManager().run(body)

    assert record.status.value == "success"
    assert record.progress == kept
    reports = [entry for entry in caplog.records if entry.levelno >= logging.WARNING]
    assert len(reports) == (kept is None)


@pytest.mark.parametrize(
    ("done", "total", "percent"),
    [(1, 4, 25.0), (0, 0, 100.0), (9, 4, 100.0), (1, None, None), (1e308, 1.7e308, 100 / 1.7)],
)
def test_the_percentage(done: float, total: float | None, percent: float | None) -> None:
    assert TaskProgress(done, total).percent == pytest.approx(percent)


def test_outside_a_task_nothing_happens(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")

    task_progress(1, 2, "three")

    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def test_a_retry_begins_without(any_manager: TaskManager) -> None:
    seen: list[Any] = []

    @any_manager.task(retries=1)
    def body() -> None:
        seen.append(_here(any_manager).progress)
        task_progress(len(seen), 5)
        if len(seen) == 1:
            raise ValueError("once more")

    record = any_manager.run(body)

    assert seen == [None, None]
    assert record.progress == TaskProgress(2, 5)


def test_what_is_late_of_another_attempt_or_after_the_end_changes_nothing() -> None:
    manager = TaskManager()
    late: list[Callable[..., None]] = []

    @manager.task(retries=1)
    def body() -> None:
        late.append(bind_task_context(task_progress))
        if len(late) == 1:
            raise ValueError("once more")
        task_progress(1, 5)
        late[0](4, 5)

    record = manager.run(body)
    late[1](5, 5)

    assert manager.get_task(record.task_id).progress == TaskProgress(1, 5)


def test_messages_are_without_secrets_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "tasks.db"
    manager = TaskManager(snapshot_db=path, redact=["password"])

    record = manager.run(task_progress, 1, 2, "password=hunter22")
    asyncio.run(manager.shutdown())

    assert record.progress == TaskProgress(1, 2, "password=[redacted]")
    assert _row(path) == (1, 2, "password=[redacted]")


WORKER_BODY = """
import time
from pathlib import Path
from fastapi_taskflow import task_progress

def body(flag):
    for done in range(5000):
        task_progress(done, 5000)
    task_progress(1, 5000, "waiting")
    while not Path(flag).exists():
        time.sleep(0.01)
    task_progress(5000, 5000, "done")
"""


def test_a_body_in_a_worker_process_says_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "progress_body.py").write_text(WORKER_BODY)
    monkeypatch.syspath_prepend(str(tmp_path))
    import progress_body  # type: ignore[import-not-found]  # noqa: PLC0415  # made just now

    manager = TaskManager(max_processes=1)
    manager.task(executor="process")(progress_body.body)
    flag = tmp_path / "flag"

    async def main() -> TaskRecord:
        async with manager:
            events = manager.watch(progress=True)
            running = asyncio.create_task(manager.execute(progress_body.body, str(flag)))
            async for event in events:
                if isinstance(event, ProgressEvent) and event.progress.message == "waiting":
                    break
            flag.touch()
            return await running

    record = asyncio.run(asyncio.wait_for(main(), PATIENCE))

    assert record.error is None
    assert record.progress == TaskProgress(5000, 5000, "done")


FORKED = """
import os, threading, time
from fastapi_taskflow.loggers.progress import Gathered

handed = []
gathered = Gathered(lambda task_id, item: handed.append((task_id, item)))
gathered.put("a", 1)
pid = os.fork()
if pid:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
gathered.put("b", 2)
deadline = time.monotonic() + 30
while not handed and time.monotonic() < deadline:
    time.sleep(0.01)
os._exit(0 if handed == [("b", 2)] else 1)
"""


def test_a_forked_child_has_a_timer_of_its_own(run_python: Any) -> None:
    program = "import warnings; warnings.simplefilter('ignore')\n" + FORKED  # it has threads

    assert run_python(program).returncode == 0


IN_A_BODYS_CHILD = """
import os, sys
from fastapi_taskflow import TaskManager, get_task_context, task_progress
manager = TaskManager(snapshot_db=sys.argv[1])
def body():
    task_progress(1, 2)
    pid = os.fork()
    if not pid:
        task_progress(2, 2)
        done = manager.get_task(get_task_context().task_id).progress.done
        os._exit(0 if done == 1 else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.exit(manager.run(body).result)
"""


def test_a_child_forked_in_a_body_says_nothing_of_its_parents_task(
    run_python: Any, tmp_path: Path
) -> None:
    program = "import warnings; warnings.simplefilter('ignore')\n" + IN_A_BODYS_CHILD

    assert run_python(program, str(tmp_path / "tasks.db")).returncode == 0


def test_a_timer_that_cannot_be_started_keeps_no_later_one_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handed = threading.Event()
    gathered: Gathered[int] = Gathered(lambda task_id, item: handed.set())

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", start)
        gathered.put("a", 1)
    gathered.put("a", 2)

    assert handed.wait(30)
