"""Bodies of tasks for worker processes, which import this module by its name."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from fastapi_taskflow import TaskManager, bind_task_context, get_task_context, task_log
from fastapi_taskflow.execution.processes import worker

captured = logging.getLogger("process_bodies.captured")
TOKEN = "hunter2hunter2"


class TwoFactError(ValueError):
    """An error as most are: its ``__init__`` takes other arguments than it passes on."""

    def __init__(self, path: str, line: int) -> None:
        super().__init__(f"{path} is wrong in line {line}")
        self.line = line


class Unpicklable:
    def __reduce__(self) -> Any:
        raise TypeError("no way")

    def __str__(self) -> str:
        return "an unpicklable thing"


class Unreadable:
    """It can be pickled, and not be brought back."""

    def __reduce__(self) -> Any:
        return int, ("none",)


def give(value: Any) -> Any:
    return value


def pid() -> int:
    return os.getpid()


def speaks() -> None:
    task_log("one", level="debug")
    task_log("100 % two", level="warning", name="bob", numbers=[1, 2], where={"a": (1, None)})
    threading.Thread(target=bind_task_context(task_log), args=("three",)).run()


def tells_context() -> Any:
    return get_task_context()


async def tells_context_in_a_thread() -> Any:
    await asyncio.sleep(0)
    return await asyncio.to_thread(bind_task_context(get_task_context))


def logs_and_waits(path: str) -> str:
    task_log("here I am", pid=os.getpid())
    until_there(path)
    return "seen"


def until_there(path: str) -> None:
    deadline = time.monotonic() + 30
    while not Path(path).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.005)


def captures() -> None:
    captured.debug("not made")
    captured.info("captured %s", "one", extra={"who": "bob", "odd": Unpicklable()})
    captured.warning("odd %s", Unpicklable())
    try:
        raise ValueError("inside")
    except ValueError:
        captured.exception("with a traceback")
    logging.getLogger("process_bodies.other").warning("not captured")


def logs_at_no_level() -> None:
    task_log("kept", level="bogus")


def prints() -> None:
    print("printed\nin two lines")
    sys.stdout.write("and a rest")


def tells_secrets() -> None:
    task_log(f"password={TOKEN}", api_key=TOKEN)
    captured.warning("password=%s", TOKEN)
    raise ValueError(f"password={TOKEN}")


def floods(count: int) -> None:
    for number in range(count):
        task_log(f"line {number}")


def odd_extras() -> None:
    thing = Unpicklable()
    lock = threading.Lock()
    task_log("odd", thing=thing, nested={"fine": [1], "lock": [lock]}, unreadable=Unreadable())


def fails_with_cause() -> None:
    try:
        Path("/no such file").read_text(encoding="utf-8")
    except OSError as error:
        raise TwoFactError("config.toml", 7) from error


def fails_with_a_class_of_its_own() -> None:
    class LocalError(Exception):
        pass

    raise LocalError(threading.Lock(), "odd")


def exits() -> None:
    sys.exit("enough")


def gives_a_lock() -> Any:
    return threading.Lock()


def gives_what_is_unreadable() -> Any:
    return Unreadable()


def is_lost(how: str, marker: str | None = None) -> str:
    if marker is not None and Path(marker).exists():
        return "second time lucky"
    if marker is not None:
        Path(marker).touch()
    task_log("before")
    if how == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "exit":
        os._exit(0)
    ctypes.string_at(0)
    raise AssertionError("it lives")


def leaves_a_child(how: str) -> None:
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    task_log("child", pid=child)
    is_lost(how)


def leaves_a_program(how: str) -> None:
    """Leave a program behind that inherits every descriptor that can be inherited."""
    os.system("sleep 60 & echo $! > program.pid")  # a shell, as bodies use one
    task_log("child", pid=int(Path("program.pid").read_text()))
    is_lost(how)


def floods_until_it_is_ended(path: str) -> None:
    """Log more than the line takes at once; a loaded machine has its time for the last entry."""
    worker.END_SECONDS = 30.0
    write_pid(path)
    try:
        while True:
            task_log("x" * 70_000)
    finally:
        task_log("cleaned up")


def runs_another(value: int) -> Any:
    """Run a task in a worker of this worker's own."""
    manager = TaskManager(max_processes=1)
    manager.task(executor="process")(give)
    return manager.run(give, value).result, pid()


def is_stuck(path: str) -> None:
    """Be stuck; the file says where, and once it is ended, that ``finally`` blocks ran."""
    write_pid(path)
    task_log("stuck", pid=os.getpid())
    try:
        time.sleep(600)
    finally:
        task_log("cleaned up")


def write_pid(path: str) -> None:
    Path(path).write_text(str(os.getpid()))


def is_written(path: str) -> bool:
    return Path(path).exists() and Path(path).read_text().isdigit()


async def is_stuck_on_a_loop(path: str) -> None:
    write_pid(path)
    task_log("stuck", pid=os.getpid())
    try:
        await asyncio.sleep(600)
    finally:
        task_log("cleaned up")


def is_stubborn(path: str) -> None:
    """Be stuck, and refuse to end."""
    write_pid(path)
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(600)


def leaves_a_thread(path: str) -> None:
    def late() -> None:
        until_there(path)
        task_log("late")

    threading.Thread(target=bind_task_context(late), daemon=True).start()


def tells_signals() -> list[bool]:
    """Whether what it starts will ignore the signals of a group."""
    return [
        signal.getsignal(number) == signal.SIG_IGN for number in (signal.SIGINT, signal.SIGTERM)
    ]


def tells_trace() -> tuple[str, str]:
    from opentelemetry import trace  # noqa: PLC0415  # optional

    task_log("traced")
    span = trace.get_current_span().get_span_context()
    return f"{span.trace_id:032x}", f"{span.span_id:016x}"
