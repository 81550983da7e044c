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
    TaskManager,
    TaskObserver,
    get_task_context,
    task_log,
)

OPTIONS = json.loads(sys.argv[1])
RAN = OPTIONS.pop("ran")


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


FUNCTIONS = {each.__name__: each for each in (plain, persistent, again)}


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
