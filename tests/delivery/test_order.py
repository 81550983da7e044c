"""Property: every sink gets each event of a task once, by rising seq, whatever logs it where."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastapi_taskflow import (
    FileLogger,
    InMemoryLogger,
    LifecycleEvent,
    LogEvent,
    StdoutLogger,
    TaskManager,
    TaskObserver,
    bind_task_context,
    task_log,
)

PATIENCE = 60.0
"""Seconds after which a test gives up on what should happen at once."""

PAUSES = st.lists(st.integers(0, 3), min_size=1, max_size=6)
"""How often to give way to others after each entry; as many entries as there are numbers."""


@dataclass(frozen=True)
class Plan:
    """What a task does: entries of its own, then all its workers at once, then one entry more.

    Attributes:
        on_the_loop: Whether its body is async; its workers are then gathered.
        own: Its own entries.
        children: Coroutines it gathers, if it is on the loop.
        threads: Threads it starts, beside the coroutines.
        retried: Whether a first attempt does all this too, and fails.
    """

    on_the_loop: bool
    own: list[int]
    children: list[list[int]]
    threads: list[list[int]]
    retried: bool

    @property
    def workers(self) -> dict[str, list[int]]:
        """The entries by who logs them."""
        kinds = [("thread", self.threads)]
        if self.on_the_loop:
            kinds.append(("child", self.children))
        return {f"{kind} {n}": pauses for kind, all_ in kinds for n, pauses in enumerate(all_)}

    @property
    def entries(self) -> list[str]:
        """What one attempt logs, in no order."""
        by = {"own": self.own, **self.workers, "end": [0]}
        return [f"{who}: {n}" for who, pauses in by.items() for n in range(len(pauses))]


PLANS = st.builds(
    Plan,
    on_the_loop=st.booleans(),
    own=PAUSES,
    children=st.lists(PAUSES, max_size=3),
    threads=st.lists(PAUSES, max_size=3),
    retried=st.booleans(),
)


def work(who: str, pauses: list[int]) -> None:
    for number, pause in enumerate(pauses):
        task_log(f"{who}: {number}")
        for _ in range(pause):
            time.sleep(0)


async def work_on_the_loop(who: str, pauses: list[int]) -> None:
    for number, pause in enumerate(pauses):
        task_log(f"{who}: {number}")
        for _ in range(pause):
            await asyncio.sleep(0)


@contextlib.contextmanager
def threads_of(plan: Plan) -> Iterator[list[threading.Thread]]:
    threads = [
        threading.Thread(target=bind_task_context(work), args=(f"thread {n}", pauses))
        for n, pauses in enumerate(plan.threads)
    ]
    for thread in threads:
        thread.start()
    yield threads
    for thread in threads:
        thread.join(PATIENCE)


def end(plan: Plan, attempts: list[int]) -> None:
    task_log("end: 0")
    attempts.append(len(attempts))
    if plan.retried and len(attempts) == 1:
        raise ValueError("once more")


def body_of(plan: Plan) -> Any:
    attempts: list[int] = []

    def in_thread() -> None:
        work("own", plan.own)
        with threads_of(plan):
            pass
        end(plan, attempts)

    async def on_the_loop() -> None:
        await work_on_the_loop("own", plan.own)
        with threads_of(plan):
            await asyncio.gather(
                *(work_on_the_loop(f"child {n}", pauses) for n, pauses in enumerate(plan.children))
            )
        end(plan, attempts)

    return on_the_loop if plan.on_the_loop else in_thread


class Told(TaskObserver):
    """An async observer that takes its time, now more and now less."""

    def __init__(self, pauses: list[int]) -> None:
        self._pauses = pauses
        self.events: list[LogEvent | LifecycleEvent] = []

    async def on_log(self, event: LogEvent) -> None:
        await self._take(event)

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        await self._take(event)

    async def _take(self, event: LogEvent | LifecycleEvent) -> None:
        for _ in range(self._pauses[len(self.events) % len(self._pauses)]):
            await asyncio.sleep(0)
        self.events.append(event)


class Kept(logging.Handler):
    """A handler of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.seqs: defaultdict[str, list[int]] = defaultdict(list)

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(("fastapi_taskflow.task.", "fastapi_taskflow.lifecycle.")):
            self.seqs[vars(record)["task_id"]].append(vars(record)["seq"])


LINE = "%(task_id)s %(seq)d"


def seqs_of(events: list[Any]) -> dict[str, list[int]]:
    seqs: defaultdict[str, list[int]] = defaultdict(list)
    for event in events:
        seqs[event.task_id].append(event.seq)
    return dict(seqs)


def seqs_in(lines: list[str]) -> dict[str, list[int]]:
    seqs: defaultdict[str, list[int]] = defaultdict(list)
    for line in lines:
        task_id, seq = line.split()
        seqs[task_id].append(int(seq))
    return dict(seqs)


@dataclass
class Everything:
    """One sink of every kind, for one manager."""

    folder: Path
    pauses: list[int]
    memory: InMemoryLogger = field(default_factory=InMemoryLogger)
    handler: Kept = field(default_factory=Kept)
    audit: Kept = field(default_factory=Kept)

    def __post_init__(self) -> None:
        self.told = [Told(self.pauses), Told([0])]
        self.logger = logging.Logger("audit")  # noqa: LOG001  # one for each example, gone with it
        self.logger.addHandler(self.audit)
        options: dict[str, Any] = {"log_lifecycle": True, "formatter": logging.Formatter(LINE)}
        self.files = [
            FileLogger(self.folder / "rotate.log", **options),
            FileLogger(self.folder / "watched.log", mode="watched", **options),
            FileLogger(self.folder / "queued.log", queued=True, **options),
        ]
        prefixed = [logging.Formatter(f"{stream} {LINE}") for stream in self.streams]
        self.stdouts = [
            StdoutLogger(log_lifecycle=True, formatter=formatter, queued=queued)
            for formatter, queued in zip(prefixed, (False, True), strict=True)
        ]

    @property
    def streams(self) -> list[str]:
        """What the lines on standard output begin with."""
        return [f"{self.folder.name}-{kind}" for kind in ("sync", "queued")]

    def loggers(self) -> list[Any]:
        """What to give the manager."""
        adopted = [self.handler, self.logger]
        return [*self.told, *self.files, *self.stdouts, self.memory, *adopted]

    def seqs(self, output: str) -> dict[str, dict[str, list[int]]]:
        """The seqs that each sink has, by task, in the order in which it got them."""
        lines = output.splitlines()
        got = {
            Path(f.path).name: seqs_in(Path(f.path).read_text().splitlines()) for f in self.files
        }
        for stream in self.streams:
            mine = [line.removeprefix(stream) for line in lines if line.startswith(stream)]
            got[stream] = seqs_in(mine)
        for number, told in enumerate(self.told):
            got[f"async {number}"] = seqs_of(told.events)
        got["handler"], got["logger"] = dict(self.handler.seqs), dict(self.audit.seqs)
        return got


@pytest.fixture(autouse=True)
def quick_switches() -> Iterator[None]:
    """Have threads take turns more often than usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@contextlib.contextmanager
def on_root(handler: logging.Handler) -> Iterator[None]:
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield
    root.setLevel(level)
    root.removeHandler(handler)


async def run_all(
    managers: list[TaskManager], plans: list[list[Plan]], lifespan: bool
) -> list[Any]:
    """Run all tasks of all managers at once."""
    async with asyncio.timeout(PATIENCE), contextlib.AsyncExitStack() as stack:
        for manager in managers if lifespan else ():
            await stack.enter_async_context(manager)
        calls = []
        for manager, its_plans in zip(managers, plans, strict=True):
            for plan in its_plans:
                body = body_of(plan)
                manager.task(retries=1)(body)
                calls.append(manager.execute(body))
        records = await asyncio.gather(*calls)
    for manager in () if lifespan else managers:
        await manager.shutdown()
    return records


def check_entries(plan: Plan, entries: list[str]) -> None:
    """Every entry is there as often as it was logged, and each worker's are in its order."""
    attempts = 1 + plan.retried
    assert sorted(entries) == sorted(plan.entries * attempts)
    for who in plan.workers:
        its = [entry for entry in entries if entry.startswith(f"{who}:")]
        assert its == [e for e in plan.entries if e.startswith(f"{who}:")] * attempts


WILD = Plan(
    on_the_loop=True,
    own=[0, 1],
    children=[[0] * 20, [1] * 20],
    threads=[[0] * 40, [1] * 40, [0, 2] * 20],
    retried=True,
)


@settings(max_examples=15, deadline=None)
@given(
    plans=st.lists(st.lists(PLANS, min_size=1, max_size=3), min_size=1, max_size=2),
    pauses=PAUSES,
    lifespan=st.booleans(),
)
@example(plans=[[WILD] * 3, [WILD] * 2], pauses=[0, 3, 1], lifespan=True)
@example(plans=[[WILD] * 3, [WILD] * 2], pauses=[2], lifespan=False)
def test_every_sink_gets_every_event_once_and_in_order(
    plans: list[list[Plan]], pauses: list[int], lifespan: bool
) -> None:
    root, shared = Kept(), InMemoryLogger()
    with tempfile.TemporaryDirectory() as folder, on_root(root):
        sinks = [Everything(Path(folder) / str(n), pauses) for n in range(len(plans))]
        managers = [TaskManager(loggers=[*each.loggers(), shared]) for each in sinks]
        stdout = Path(folder) / "stdout"
        with stdout.open("w") as stream, contextlib.redirect_stdout(stream):
            records = asyncio.run(run_all(managers, plans, lifespan))
        got = [each.seqs(stdout.read_text()) for each in sinks]

    remaining = iter(records)
    everywhere: dict[str, list[int]] = {}
    for its_plans, each, seqs in zip(plans, sinks, got, strict=True):
        expected: dict[str, list[int]] = {}
        for plan in its_plans:
            record = next(remaining)
            assert record.status == "success"
            count = len(plan.entries) * (1 + plan.retried) + len(["RUNNING", "SUCCESS"])
            expected[record.task_id] = list(range(count))
            its_events = [e for e in each.memory.log_events if e.task_id == record.task_id]
            assert [e.seq for e in its_events] == list(range(1, count - 1))
            check_entries(plan, [event.message for event in its_events])
            separator = "--- Retry 1 ---"
            logged = [line.partition(" ")[2] for line in record.logs if line != separator]
            assert logged == [event.message for event in its_events]
            if not plan.threads:  # between threads, the users' handlers have the order of time
                assert root.seqs[record.task_id] == expected[record.task_id]
        assert seqs == dict.fromkeys(seqs, expected)
        everywhere |= expected
    assert {task_id: sorted(seqs) for task_id, seqs in root.seqs.items()} == everywhere
    assert seqs_of(shared.log_events) == {name: seqs[1:-1] for name, seqs in everywhere.items()}
    ends = {name: [seqs[0], seqs[-1]] for name, seqs in everywhere.items()}
    assert seqs_of(shared.lifecycle_events) == ends


@settings(max_examples=10, deadline=None)
@given(st.lists(PAUSES, min_size=2, max_size=6))
def test_many_executors_threads_and_one_task_lose_nothing(pauses: list[list[int]]) -> None:
    memory, told = InMemoryLogger(), Told([0, 1])
    manager = TaskManager(loggers=[told, memory])

    def body() -> None:
        with ThreadPoolExecutor(len(pauses)) as executor:
            for number, each in enumerate(pauses):
                executor.submit(bind_task_context(work), str(number), each * 10)

    manager.run(body)

    count = 10 * sum(map(len, pauses)) + 2
    assert [event.seq for event in told.events] == list(range(count))
    assert [event.seq for event in memory.log_events] == list(range(1, count - 1))


def test_managers_in_threads_of_their_own_each_keep_their_order() -> None:
    memories = [InMemoryLogger() for _ in range(4)]
    ids: list[str] = []

    def run(memory: InMemoryLogger) -> None:
        manager = TaskManager(loggers=[memory])
        ids.extend(manager.run(work, "own", [0, 1] * 20).task_id for _ in range(5))

    threads = [threading.Thread(target=run, args=(memory,)) for memory in memories]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    for memory in memories:
        assert list(seqs_of(memory.log_events).values()) == [list(range(1, 41))] * 5
    assert len(ids) == len(set(ids)) == 20
