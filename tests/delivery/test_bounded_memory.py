"""What a process keeps of its tasks has a bound, whatever they log and however many they are."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fastapi_taskflow import InMemoryLogger, TaskManager, task_log

ENTRIES = 100_000

LONG_TASK = """
import json, sys
from pathlib import Path
from fastapi_taskflow import FileLogger, TaskManager, TaskObserver, task_log

kind, kind_of_body, entries = sys.argv[1], sys.argv[2], int(sys.argv[3])

class Idle(TaskObserver):
    pass

def rss():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

make = {
    "file": lambda: FileLogger("tasks.log"),
    "queued file": lambda: FileLogger("tasks.log", queued=True),
    "async": Idle,
}
manager = TaskManager(loggers=[make[kind]()])

def body(count):
    for number in range(count):
        task_log(f"entry {number} of a task that logs a lot", number=number)

async def async_body(count):
    body(count)

run = body if kind_of_body == "sync" else async_body
manager.run(run, 1000)  # code is imported, caches and threads are there
before = rss()
record = manager.run(run, entries)
grown = rss() - before
ended = [record.status, len(record.logs), record.logs_dropped, record.logs[-1].split()[2]]
print(json.dumps({"ended": ended, "kilobytes": grown}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("kind", "body"),
    # an async body never lets the observer's queue empty: it is full
    [("file", "sync"), ("queued file", "sync"), ("async", "sync"), ("async", "async")],
)
def test_a_task_that_logs_a_lot_takes_little_memory(
    run_python: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, body: str
) -> None:
    monkeypatch.chdir(tmp_path)

    done = run_python(LONG_TASK, kind, body, str(ENTRIES))

    assert (done.stderr, done.returncode) == ("", 0)
    told = json.loads(done.stdout)
    assert told["ended"] == ["success", 10_000, ENTRIES - 10_000, str(ENTRIES - 1)]
    assert told["kilobytes"] <= 20 * 1024


@pytest.mark.parametrize("bound", [1, 7, 50])
def test_a_record_keeps_the_newest_entries_and_says_how_many_are_gone(bound: int) -> None:
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[memory], max_log_entries=bound)

    def body(count: int) -> None:
        for number in range(count):
            task_log(f"line {number}")

    fits, too_long = manager.run(body, bound), manager.run(body, 60)

    assert (len(fits.logs), fits.logs_dropped) == (bound, 0)
    texts = [line.split(" ", 1)[1] for line in too_long.logs]
    assert texts == [f"line {number}" for number in range(60 - bound, 60)]
    assert too_long.logs_dropped == 60 - bound
    assert len(memory.log_events) == bound + 60  # an observer is told of all


MANY_TASKS = """
import asyncio, gc, json, logging, sys, threading
from fastapi_taskflow import FileLogger, InMemoryLogger, TaskManager, TaskObserver, task_log

class Idle(TaskObserver):
    pass

manager = TaskManager(
    loggers=[
        FileLogger("tasks.log", log_lifecycle=True),
        FileLogger("queued.log", log_lifecycle=True, queued=True),
        InMemoryLogger(capacity=10),
        Idle(),
        logging.NullHandler(),
    ],
    max_finished_tasks=100,
)

async def in_loop(number):
    task_log(f"line {number}", number=number)

def in_thread(number):
    task_log(f"line {number}", number=number)

async def fails(number):
    raise ValueError(number)

async def run(numbers):
    for number in numbers:
        body = in_thread if number % 5 == 0 else fails if number % 5 == 1 else in_loop
        await manager.execute(
            body, number, tags={"number": str(number)}, idempotency_key=str(number)
        )

def figures():
    gc.collect()
    return {
        "blocks": sys.getallocatedblocks(),
        "objects": len(gc.get_objects()),
        "loggers": len(logging.root.manager.loggerDict),
        "observers": len(manager.observer_stats()),
        "threads": threading.active_count(),
        "finished": sum(manager.store.totals().by_status.values()),
    }

async def main():
    async with manager:
        await run(range(2_000))
        before = figures()
        await run(range(2_000, 12_000))
        after = figures()
    print(json.dumps([before, after]))

logging.getLogger("fastapi_taskflow").setLevel("CRITICAL")
asyncio.run(main())
"""


def test_nothing_grows_with_the_number_of_tasks_that_ended(
    run_python: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    done = run_python(MANY_TASKS, timeout=300.0)

    assert (done.stderr, done.returncode) == ("", 0)
    before, after = json.loads(done.stdout)
    assert before["finished"] == after["finished"] == 100
    assert (after["loggers"], after["observers"]) == (before["loggers"], before["observers"])
    assert after["threads"] - before["threads"] < 10
    for name in ("blocks", "objects"):
        # 10,000 tasks later: a twentieth of an object a task would show
        assert after[name] - before[name] < 500, (name, before, after)
