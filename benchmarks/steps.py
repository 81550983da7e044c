"""What works consist of: the interpreter's instructions, counted function by function.

A count is the same on each machine, and says where time goes better than a profiler, which takes
longer than most of what it looks at. Time that is spent in C, in the system, or on waiting for the
interpreter, is not in it.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from benchmarks.baselines import file_handler
from benchmarks.ours import WRITE, in_task
from benchmarks.running import async_body, requests_to, sync_body
from benchmarks.works import Call
from fastapi_taskflow import FileLogger, TaskManager

TIMES = 200
"""How often a work is done while it is counted; as often before, for what is done once."""

SHOWN = 14


@dataclass
class Steps:
    """What was counted, by functions.

    Attributes:
        instructions: The instructions of the interpreter.
        calls: The calls.
    """

    instructions: Counter[CodeType] = field(default_factory=Counter)
    calls: Counter[CodeType] = field(default_factory=Counter)

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        """Count; what ``sys.settrace()`` calls."""
        if event == "call":
            self.calls[frame.f_code] += 1
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            self.instructions[frame.f_code] += 1
        return self.trace

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what is done in this thread, and nothing that was counted before."""
        self.instructions.clear()
        self.calls.clear()
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            yield
        finally:
            sys.settrace(before)


def of_calls(call: Call) -> Steps:
    """Those of a call, many times over."""
    steps = Steps()
    for _ in range(TIMES):
        call()
    with steps.counting():
        for _ in range(TIMES):
            call()
    return steps


def of_lines(path: Path, **options: Any) -> Steps:
    """Those of a line to a file, for whoever logs it."""
    manager = TaskManager(loggers=[FileLogger(path, **options)])
    found: list[Steps] = []

    def measure(_: int) -> float:
        found.append(of_calls(WRITE))
        return 0.0

    in_task(manager, measure)(1)
    return found[0]


def of_tasks(path: Path, body: Callable[[], Any], *, database: bool = False) -> Steps:
    """Those of a task, in all threads that it keeps busy."""
    steps = Steps()
    manager, request = requests_to(body, path, database=database)

    async def run() -> None:
        async with manager:
            await asyncio.gather(*(request() for _ in range(TIMES)))
            with steps.counting():
                for _ in range(10):
                    await asyncio.gather(*(request() for _ in range(TIMES // 10)))

    before = threading.gettrace()
    threading.settrace(steps.trace)  # threads that begin now, as the one that writes rows
    try:
        asyncio.run(run())
    finally:
        threading.settrace(before)
    return steps


def of_file_handler(path: Path) -> Steps:
    """Those of a line by ``logging.FileHandler``."""
    with file_handler(path) as call:
        return of_calls(call)


WORKS: Mapping[str, Callable[[Path], Steps]] = {
    "a line by FileHandler": of_file_handler,
    "`task_log()` to a rotating file": of_lines,
    "the same, `queued=True`: caller": lambda path: of_lines(path, queued=True),
    "an async task": lambda path: of_tasks(path, async_body),
    "a sync task": lambda path: of_tasks(path, sync_body),
    "an async task with SQLite": lambda path: of_tasks(path, async_body, database=True),
}


def shown(name: str, steps: Steps) -> str:
    """What was counted for a work, as text."""
    total = steps.instructions.total() / TIMES
    lines = [f"{name}: {total:.0f} instructions, {steps.calls.total() / TIMES:.0f} calls"]
    for code, count in steps.instructions.most_common(SHOWN):
        where = f"{Path(code.co_filename).name}: {code.co_qualname}"
        lines.append(f"{count / TIMES:8.0f} {steps.calls[code] / TIMES:6.1f}  {where}")
    return "\n".join(lines)


def report() -> str:
    """What was counted for all works."""
    texts = []
    for name, count in WORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            texts.append(shown(name, count(Path(folder) / "task.log")))
    return "\n\n".join(texts)
