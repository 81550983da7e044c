"""A process with a manager on a database, driven by lines on its standard input.

Each line is a JSON list: an action and its arguments. Each answer is a JSON line.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from typing import Any

from fastapi_taskflow import (
    LifecycleEvent,
    ManagedBackgroundTasks,
    TaskflowError,
    TaskManager,
    TaskObserver,
    get_task_context,
    task_log,
    task_progress,
)
from fastapi_taskflow.store import beats, snapshot
from fastapi_taskflow.store.leases import Lease

OPTIONS = json.loads(sys.argv[1])
RAN = OPTIONS.pop("ran")
BEATS_WHEN_RUNG = OPTIONS.pop("beats_when_rung", False)


class TellingLease(Lease):
    """Says when it was looked at, after any beat there was."""

    looks = 0

    def unwanted(self) -> list[str]:
        self.looks += 1
        say(["looked", self.looks])
        return super().unwanted()


if BEATS_WHEN_RUNG:
    beats.BEAT_SECONDS = 3600.0
    snapshot.Lease = TellingLease  # type: ignore[attr-defined]  # what the manager makes


class Told(TaskObserver):
    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        say(["event", event.func_name, event.status.value, event.task_id, event.seq])


manager = TaskManager(loggers=[Told()], **OPTIONS)


def say(answer: Any) -> None:
    os.write(1, f"{json.dumps(answer)}\n".encode())  # in one piece, whichever thread says it


def work(name: str, seconds: float) -> None:
    with open(RAN, "a") as file:
        file.write(f"{name}\n")
    task_log(f"working on {name}")
    context = get_task_context()
    assert context is not None
    say(["running", name, context.attempt, context.tags])
    time.sleep(seconds)


@manager.task()
def plain(name: str, seconds: float) -> None:
    work(name, seconds)


@manager.task(persist=True)
def persistent(name: str, seconds: float) -> None:
    work(name, seconds)


@manager.task(requeue_on_interrupt=True, persist=True)
def again(name: str, seconds: float) -> None:
    work(name, seconds)


@manager.task()
def chat(name: str, count: float) -> None:
    for number in range(int(count)):
        task_log(f"{name} {number}", number=number)
        task_progress(number + 1, count)
    if name == "fails":
        raise ValueError(name)


FUNCTIONS = {each.__name__: each for each in (plain, persistent, again, chat)}


async def cancel(task_id: str) -> None:
    try:
        record = await manager.cancel(task_id)
    except TaskflowError as error:
        say(["refused", task_id, str(error)])
    else:
        say(["cancelled", task_id, record.status.value, record.error])


async def serve() -> None:
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, '["stop"]')

    async with manager:
        threading.Thread(target=read, daemon=True).start()
        say(["ready"])
        pending: set[asyncio.Task[None]] = set()
        while True:
            action, *arguments = json.loads(await lines.get())
            if action == "stop":
                break
            if action == "flush":
                say(["flushed", await manager.store.flush_async(10.0)])
                continue
            if action == "cancel":
                await cancel(*arguments)
                continue
            tasks = ManagedBackgroundTasks(manager.engine)
            name, args, options = arguments
            task_id = await tasks.enqueue(FUNCTIONS[name], *args, **options)
            say(["enqueued", args[0], task_id])
            if action == "run":
                running = asyncio.ensure_future(tasks())
                pending.add(running)
                running.add_done_callback(pending.discard)
    say(["stopped"])


if __name__ == "__main__":
    asyncio.run(serve())
