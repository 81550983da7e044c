"""What type checkers must make of the public names; only checked, never run."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, assert_type

from fastapi import Depends, FastAPI

from fastapi_taskflow import (
    AuditEntry,
    FileLogger,
    InMemoryLogger,
    LifecycleEvent,
    LogEvent,
    ManagedBackgroundTasks,
    ObserverHandler,
    ObserverStats,
    ProgressEvent,
    Retried,
    SqlStore,
    StdoutLogger,
    TaskAdmin,
    TaskContext,
    TaskFormatter,
    TaskJsonFormatter,
    TaskManager,
    TaskObserver,
    TaskRecord,
    TaskStatus,
    get_task_context,
    task_log,
)
from fastapi_taskflow.handlers import TaskRotatingFileHandler, TaskStreamHandler


class Watcher(TaskObserver):
    min_level = "warning"

    async def on_log(self, event: LogEvent) -> None:
        assert_type(event.timestamp, datetime)
        assert_type(event.tags, dict[str, str])

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        assert_type(event.status, TaskStatus)
        assert_type(event.duration, float | None)


memory = InMemoryLogger(min_level=logging.INFO, capacity=10)
assert_type(memory.log_events, list[LogEvent])
assert_type(memory.lifecycle_events, list[LifecycleEvent])

manager = TaskManager(
    snapshot_db=Path("tasks.db"),
    loggers=[
        FileLogger(Path("tasks.log"), formatter=TaskJsonFormatter(), min_level="debug"),
        StdoutLogger(formatter="json", log_lifecycle=True),
        ObserverHandler(Watcher(), timeout=timedelta(seconds=5)),
        memory,
        Watcher(),
    ],
    shutdown_timeout=timedelta(minutes=1),
)
TaskManager(log_file="tasks.log", log_file_mode="watched", log_lifecycle=True, max_processes=2)
TaskManager(snapshot_db="tasks.db", encrypt_args_key=["new", b"old"], requeue_pending=True)


@manager.task(retries=2, delay=timedelta(seconds=1), retry_on=(OSError, ValueError))
async def add(a: int, b: int = 0) -> int:
    task_log("adding", level="debug", a=a, b=b)
    task_log(3, level=logging.INFO)
    return a + b


assert_type(get_task_context(), TaskContext | None)


@manager.task(executor="thread", persist=True, requeue_on_interrupt=True)
def shout(text: str) -> str:
    return text.upper()


assert_type(shout("x"), str)


async def use() -> None:
    assert_type(await add(1, b=2), int)
    assert_type(await manager.execute(add, 1, tags={"a": "b"}), TaskRecord)
    async with manager as same:
        assert_type(same, TaskManager)
    async for event in manager.watch("id"):
        assert_type(event, LogEvent | LifecycleEvent)
    async for news in manager.watch(progress=True):
        assert_type(news, LogEvent | LifecycleEvent | ProgressEvent)
    assert_type(await manager.cancel("id", reason="wrong file"), TaskRecord)
    assert_type(await manager.retry("id"), TaskRecord)
    assert_type(await manager.retry_failed(since=timedelta(hours=6)), Retried)
    assert_type(await manager.delete_history(older_than=60.0), int)


assert_type(manager.run(add, 1, idempotency_key="k"), TaskRecord)
assert_type(manager.audit(limit=10), list[AuditEntry])
assert_type(TaskManager(snapshot_store=SqlStore("tasks.db")), TaskManager)
assert_type(manager.get_task("id").logs, list[str])
assert_type(manager.observer_stats(), dict[str, ObserverStats])

app = FastAPI()
assert_type(TaskAdmin(app, manager, path="/jobs", auto_install=True), TaskAdmin)
manager.init_app(app)


@app.post("/")
async def endpoint(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> str:
    assert_type(tasks.add_task(add, 1, tags={"a": "b"}), str)
    assert_type(await tasks.enqueue(add, 1, idempotency_key="k"), str)
    return "ok"


handler: logging.Handler = TaskRotatingFileHandler("tasks.log", maxBytes=100, backupCount=1)
handler.setFormatter(TaskFormatter())
TaskStreamHandler()
FileLogger("tasks.log", path="twice")  # type: ignore[misc]  # given twice
StdoutLogger("debug")  # type: ignore[call-arg, arg-type]  # keyword-only
TaskManager("tasks.db")  # type: ignore[call-arg]  # keyword-only
manager.task(retries="3")  # type: ignore[arg-type]  # a whole number
