"""Every kind of sink with every failure: neither the tasks nor the other sinks notice."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import BackgroundTasks

from fastapi_taskflow import (
    FileLogger,
    InMemoryLogger,
    LifecycleEvent,
    LogEvent,
    ObserverStats,
    StdoutLogger,
    TaskManager,
    TaskObserver,
    TaskRecord,
    get_task_context,
    task_log,
)
from fastapi_taskflow.loggers import adopt, hooks

PATIENCE = 10.0
"""Seconds after which a test gives up on what should happen at once."""


# The tasks: one that succeeds, one that is tried again, one that fails.


def greet() -> str:
    task_log("hello", colour="red")
    task_log("100 % again", level="error")
    return "greeted"


def stumble() -> str:
    context = get_task_context()
    assert context is not None
    task_log("trying")
    if context.attempt == 0:
        raise ValueError("not yet")
    task_log("made it", level="warning")
    return "in the end"


def fall() -> None:
    task_log("oh")
    raise LookupError("never")


def on_the_loop(function: Callable[[], Any]) -> Callable[[], Any]:
    @functools.wraps(function)
    async def call() -> Any:
        return function()

    return call


BODIES: dict[str, list[Callable[[], Any]]] = {
    "thread": [greet, stumble, fall],
    "loop": [on_the_loop(function) for function in (greet, stumble, fall)],
}
RUNS = 2
"""Once in an app with a lifespan, once in a script."""


# The failures


def raising(kind: type[BaseException]) -> Callable[[], None]:
    def fail() -> None:
        raise kind("no")  # a new one each time: one that is shared gathers tracebacks

    fail.__name__ = kind.__name__
    return fail


def dive() -> None:
    """Recurse for real, until there is no room left."""
    dive()


KINDS = (
    ValueError,
    asyncio.CancelledError,
    SystemExit,
    GeneratorExit,
    RecursionError,
    MemoryError,
)
FAILURES = [*map(raising, KINDS), dive]


# The sinks. Each is made whole, and broken in one place.


class Told(TaskObserver):
    """An async observer that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[LogEvent | LifecycleEvent] = []
        self._ended = asyncio.Semaphore(0)

    async def all_ended(self, tasks: int) -> None:
        """Wait until it has been told of the ends of so many tasks."""
        for _ in range(tasks):
            await self._ended.acquire()

    async def on_log(self, event: LogEvent) -> None:
        await asyncio.sleep(0)
        self.events.append(event)

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        await asyncio.sleep(0)
        self.events.append(event)
        if event.status.is_final:
            self._ended.release()


class Kept(logging.Handler):
    """A handler of the user's own, without ``handleError()``, as third parties write them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.name, self.format(record)))


class BrokenRotating(FileLogger):
    """Broken where the test says, as the next ones."""


class BrokenWatched(FileLogger):
    pass


class BrokenStdout(StdoutLogger):
    pass


class BrokenMemory(InMemoryLogger):
    pass


class BrokenObserver(Told):
    pass


class BrokenHandler(Kept):
    pass


@dataclass
class Broken:
    """A sink on its way to be broken.

    Attributes:
        handler: Its handler.
        observer: What the manager is given, if it is.
        logger: The logger that it is on, if it is.
    """

    handler: logging.Handler
    observer: Any = None
    logger: logging.Logger | None = None
    name: str = "pipeline"


def observed(observer: TaskObserver) -> Broken:
    return Broken(observer.handler, observer, name=type(observer).__name__)


def rotating(folder: Path) -> Broken:
    return observed(BrokenRotating(folder / "broken.log", log_lifecycle=True))


def watched(folder: Path) -> Broken:
    return observed(BrokenWatched(folder / "broken.log", mode="watched", log_lifecycle=True))


def stdout(folder: Path) -> Broken:
    return observed(BrokenStdout(log_lifecycle=True))


def queued_file(folder: Path) -> Broken:
    return observed(BrokenRotating(folder / "broken.log", log_lifecycle=True, queued=True))


def queued_stdout(folder: Path) -> Broken:
    return observed(BrokenStdout(log_lifecycle=True, queued=True))


def memory(folder: Path) -> Broken:
    return observed(BrokenMemory())


def async_observer(folder: Path) -> Broken:
    return observed(BrokenObserver())


def adopted_handler(folder: Path) -> Broken:
    handler = BrokenHandler()
    return Broken(handler, handler, name="BrokenHandler")


def adopted_logger(folder: Path) -> Broken:
    logger, handler = logging.getLogger("myapp.audit"), BrokenHandler()
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(handler)
    return Broken(handler, logger, logger, name="Logger")


def root_handler(folder: Path) -> Broken:
    return Broken(BrokenHandler(), logger=logging.getLogger())


def tree_handler(folder: Path) -> Broken:
    return Broken(BrokenHandler(), logger=logging.getLogger("fastapi_taskflow"))


def tree_logger(folder: Path) -> Broken:
    return Broken(BrokenHandler(), logger=logging.getLogger("fastapi_taskflow.task.greet"))


# Here before the first test, they have a list of handlers of their own to go back to.
for _name in ("myapp.audit", "fastapi_taskflow.task.greet", "fastapi_taskflow.execution"):
    logging.getLogger(_name)


# The places to break

Make = Callable[[Path], Broken]
Place = Callable[[Broken, Callable[[], Any]], None]


def in_emit(broken: Broken, fail: Callable[[], Any]) -> None:
    def emit(record: logging.LogRecord) -> None:
        fail()
        type(broken.handler).emit(broken.handler, record)

    broken.handler.emit = emit  # type: ignore[method-assign]  # a user's, made short


def in_format(broken: Broken, fail: Callable[[], Any]) -> None:
    class Failing(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            fail()
            return super().format(record)

    broken.handler.setFormatter(Failing())


def in_filter(broken: Broken, fail: Callable[[], Any]) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        fail()
        return True

    broken.handler.addFilter(refuse)


def in_the_loggers_filter(broken: Broken, fail: Callable[[], Any]) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        fail()
        return True

    assert broken.logger is not None
    broken.logger.addFilter(refuse)


def in_flush(broken: Broken, fail: Callable[[], Any]) -> None:
    broken.handler.flush = fail  # type: ignore[method-assign]  # a user's, made short


def in_method(name: str) -> Place:
    def break_method(broken: Broken, fail: Callable[[], Any]) -> None:
        async def broken_method(*event: object) -> None:
            waiting = fail()
            if waiting is not None:
                await waiting
            await getattr(type(broken.observer), name)(broken.observer, *event)

        setattr(broken.observer, name, broken_method)

    break_method.__name__ = f"in_{name}"
    return break_method


in_on_log, in_on_lifecycle = in_method("on_log"), in_method("on_lifecycle")
in_startup, in_close = in_method("startup"), in_method("close")

HOOKS: list[Place] = [in_startup, in_close]
ONCE_A_RUN = [*HOOKS, in_flush]
RECORDS: list[Place] = [in_emit, in_format, in_filter]
PLACES: dict[Make, list[Place]] = {
    rotating: [*RECORDS, *HOOKS],
    watched: [*RECORDS, *HOOKS],
    stdout: [*RECORDS, *HOOKS],
    queued_file: [in_format, in_filter, *HOOKS],
    queued_stdout: [in_format, in_filter, *HOOKS],
    memory: [in_emit, in_filter, *HOOKS],
    async_observer: [in_emit, in_filter, in_on_log, in_on_lifecycle, *HOOKS],
    adopted_handler: [*RECORDS, in_flush],
    adopted_logger: [*RECORDS, in_the_loggers_filter, in_flush],
    root_handler: RECORDS,
    tree_handler: RECORDS,
    tree_logger: [in_the_loggers_filter],
}
METHODS: list[Place] = [in_on_log, in_on_lifecycle, *HOOKS]
MATRIX = [
    pytest.param(make, place, fail, id=f"{make.__name__}-{place.__name__}-{fail.__name__}")
    for make, places in PLACES.items()
    for place in places
    for fail in FAILURES
]


# What there is to compare


def same(text: str) -> str:
    """A text without ids and times."""
    text = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "ID", text)
    text = re.sub(r"^\[[0-9a-f]{8}\]", "[ID]", text)
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?", "TIME", text)


def same_event(event: LogEvent | LifecycleEvent) -> dict[str, Any]:
    changing = {"task_id", "timestamp", "duration"}
    return {key: value for key, value in asdict(event).items() if key not in changing}


def same_record(record: TaskRecord) -> dict[str, Any]:
    changing = {"task_id", "created_at", "start_time", "end_time", "duration", "logs"}
    fields = {key: value for key, value in asdict(record).items() if key not in changing}
    return {**fields, "logs": [same(line) for line in record.logs]}


def same_object(line: str) -> dict[str, Any]:
    changing = {"task_id", "timestamp", "duration"}
    return {key: value for key, value in json.loads(line).items() if key not in changing}


def same_stats(stats: ObserverStats) -> ObserverStats:
    return replace(stats, high_water=0)  # how far one was behind is a matter of luck


@dataclass
class Neighbours:
    """Sound sinks before and after a broken one, in the manager's list and in the pipeline."""

    folder: Path
    memories: list[InMemoryLogger] = field(default_factory=lambda: [InMemoryLogger() for _ in "ab"])
    observers: list[Told] = field(default_factory=lambda: [Told(), Told()])
    handlers: list[Kept] = field(default_factory=lambda: [Kept() for _ in "abcd"])

    def __post_init__(self) -> None:
        text = FileLogger(self.folder / "before.log", log_lifecycle=True)
        objects = FileLogger(self.folder / "after.log", log_lifecycle=True, formatter="json")
        self.files = [text, objects]

    def around(self, broken: Broken | None) -> list[Any]:
        """Set up the pipeline, and give the manager's list."""
        middle = [] if broken is None or broken.observer is None else [broken.observer]
        for logger, pair in (
            (logging.getLogger(), self.handlers[:2]),
            (logging.getLogger("fastapi_taskflow"), self.handlers[2:]),
        ):
            logger.setLevel(logging.INFO)
            logger.addHandler(pair[0])
            if broken is not None and broken.logger is logger:
                logger.addHandler(broken.handler)
            logger.addHandler(pair[1])
        one, two = zip(self.files, self.memories, self.observers, strict=True)
        return [*one, *middle, *two]

    async def all_ended(self, tasks: int) -> None:
        """Wait until the observers have been told of the ends of so many tasks."""
        for observer in self.observers:
            await observer.all_ended(tasks)

    def heard(self) -> dict[str, Any]:
        """What each of them was told, without ids and times."""
        before, after = (Path(file.path).read_text().splitlines() for file in self.files)
        return {
            "text file": [same(line) for line in before],
            "json file": [same_object(line) for line in after],
            "memories": [
                [*map(same_event, memory.log_events), *map(same_event, memory.lifecycle_events)]
                for memory in self.memories
            ],
            "observers": [[same_event(e) for e in told.events] for told in self.observers],
            "pipeline": [
                [line for line in kept.lines if not line[0].endswith(".observers")]
                for kept in self.handlers
            ],
        }


@dataclass
class Outcome:
    """What a play was like, for the tasks and for all sinks but the broken one."""

    records: list[dict[str, Any]]
    heard: dict[str, Any]
    stats: dict[str, ObserverStats]


def manager_of(loggers: list[Any], bodies: str, **options: Any) -> TaskManager:
    manager = TaskManager(loggers=loggers, **options)
    for function in BODIES[bodies]:
        manager.task(retries=int(function.__name__ == "stumble"))(function)
    return manager


def play(
    folder: Path,
    bodies: str,
    broken: Broken | None = None,
    between: Callable[[], object] = lambda: None,
    *,
    script: bool = True,
) -> Outcome:
    """Run all tasks in an app and, after ``between``, in a script, if it is wanted."""
    neighbours = Neighbours(folder)
    manager = manager_of(neighbours.around(broken), bodies)
    # Attempts that fail are told of to root too, and counted apart: not what is compared here.
    logging.getLogger("fastapi_taskflow.execution").propagate = False

    async def app() -> list[TaskRecord]:
        async with manager:
            return [await manager.execute(function) for function in BODIES[bodies]]

    records = asyncio.run(app())
    between()
    if script:
        records += [manager.run(function) for function in BODIES[bodies]]
        asyncio.run(manager.shutdown())
    return Outcome(
        [same_record(record) for record in records], neighbours.heard(), manager.observer_stats()
    )


Undisturbed = Callable[..., Outcome]


@pytest.fixture(scope="module", autouse=True)
def nothing_left_of_other_tests() -> None:
    """Let asyncio say now what it says of the loops that other tests have left."""
    gc.collect()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """How it is without a failing sink. Asked for first: it leaves logging as it was."""

    @functools.cache
    def outcome(bodies: str, *, script: bool = True) -> Outcome:
        loggers = [logging.getLogger(), logging.getLogger("fastapi_taskflow")]
        before = [logger.handlers[:] for logger in loggers]
        outcome = play(tmp_path_factory.mktemp(bodies), bodies, script=script)
        for logger, handlers in zip(loggers, before, strict=True):
            logger.handlers[:] = handlers
        return outcome

    return outcome


def check_the_others(outcome: Outcome, expected: Outcome) -> None:
    assert outcome.records == expected.records
    assert outcome.heard == expected.heard
    for name in expected.stats.keys() - {"pipeline"}:
        assert same_stats(outcome.stats[name]) == same_stats(expected.stats[name])


def without_what_is_behind(logger: logging.Logger | None, outcome: Outcome) -> Outcome:
    """What is left where a logger lets nothing through to the users' handlers."""
    assert logger is not None
    pipeline = [
        [line for line in lines if line[0] != logger.name] for lines in outcome.heard["pipeline"]
    ]
    return replace(outcome, heard={**outcome.heard, "pipeline": pipeline})


@pytest.mark.parametrize("bodies", BODIES)
@pytest.mark.parametrize(("make", "place", "fail"), MATRIX)
def test_what_a_sink_raises_is_nobody_elses_matter(
    tmp_path: Path,
    reports: list[logging.LogRecord],
    report_clock: Any,
    undisturbed: Undisturbed,
    make: Make,
    place: Place,
    fail: Callable[[], None],
    bodies: str,
) -> None:
    expected = undisturbed(bodies)
    broken = make(tmp_path)
    place(broken, fail)

    outcome = play(tmp_path, bodies, broken, between=lambda: report_clock.move(60.0))
    vars(broken.handler).pop("flush", None)  # the interpreter calls it at exit

    events = expected.heard["memories"][0]
    failed = len(events)
    if place in ONCE_A_RUN:
        failed = RUNS
    elif place in (in_on_log, in_on_lifecycle):
        failed = sum(("message" in event) == (place is in_on_log) for event in events)
    elif make is tree_logger:
        failed = sum(event.get("message") in ("hello", "100 % again") for event in events)
        expected = without_what_is_behind(broken.logger, expected)
    check_the_others(outcome, expected)
    stats = outcome.stats[broken.name]
    assert stats.errors == failed
    assert str(stats.last_error).startswith("RecursionError" if fail is dive else fail.__name__)
    if broken.name == "pipeline":
        if make is not tree_logger:
            assert stats.delivered == expected.stats["pipeline"].delivered
    else:
        assert stats.delivered == len(events) - (0 if place in ONCE_A_RUN else failed)
    # One report a minute and observer, and one at the end that counts what that did not.
    texts = [report.getMessage() for report in reports]
    assert all(f" {broken.name} " in text for text in texts)
    told = [int(number) for number in re.findall(r"\((\d+) since", "\n".join(texts))]
    each = failed // RUNS
    assert told == ([1] if each == 1 else [1, each - 1]) * RUNS


# What hangs, or is slow


class Gate:
    """What a sink waits for, in a thread or on a loop, until the test opens it."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self.entered = threading.Event()

    def open(self) -> None:
        self._open.set()
        for loop, event in self._waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def wait(self) -> None:
        self.entered.set()
        assert self._open.wait(PATIENCE)

    async def wait_here(self) -> None:
        self.entered.set()
        event = asyncio.Event()
        self._waiting.append((asyncio.get_running_loop(), event))
        if not self._open.is_set():
            await event.wait()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


BEHIND_A_QUEUE = [
    pytest.param(make, place, id=f"{make.__name__}-{place.__name__}")
    for make, places in (
        (async_observer, METHODS),
        (queued_file, [in_format]),
        (queued_stdout, [in_format]),
        (adopted_handler, [*RECORDS, in_flush]),
        (adopted_logger, [*RECORDS, in_flush]),
    )
    for place in places
]


async def run_behind_a_response(
    manager: TaskManager, functions: list[Callable[[], Any]]
) -> list[TaskRecord]:
    """Run tasks as an app does, without waiting for their events."""
    async for tasks in manager.get_tasks(BackgroundTasks()):
        ids = [tasks.add_task(function) for function in functions]
        await tasks()
    return [manager.get_task(task_id) for task_id in ids]


@pytest.mark.parametrize("bodies", BODIES)
@pytest.mark.parametrize("forever", [False, True], ids=["slow", "hangs"])
@pytest.mark.parametrize(("make", "place"), BEHIND_A_QUEUE)
def test_what_waits_behind_a_queue_holds_nobody_up(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reports: list[logging.LogRecord],
    report_clock: Any,
    gate: Gate,
    undisturbed: Undisturbed,
    make: Make,
    place: Place,
    forever: bool,
    bodies: str,
) -> None:
    at_the_end = place in (in_close, in_flush)
    if forever:  # how long these may hang is tested elsewhere, with a clock of its own
        monkeypatch.setattr(hooks, "HOOK_TIMEOUT", 0.05)
        monkeypatch.setattr(adopt, "FLUSH_SECONDS", 0.05)
    expected = undisturbed(bodies, script=False)
    broken, neighbours = make(tmp_path), Neighbours(tmp_path)
    place(broken, gate.wait_here if make is async_observer else gate.wait)
    waits = at_the_end or not (forever or place is in_startup)
    manager = manager_of(
        neighbours.around(broken), bodies, drain_timeout=PATIENCE if waits else 0.0
    )
    logging.getLogger("fastapi_taskflow.execution").propagate = False

    async def app() -> Outcome:
        starting = asyncio.create_task(manager.startup())
        if place is not in_startup:
            await starting
        records = await run_behind_a_response(manager, BODIES[bodies])
        await neighbours.all_ended(len(records))
        if not at_the_end:
            assert await asyncio.to_thread(gate.entered.wait, PATIENCE)
        heard = neighbours.heard()  # while the one in question still waits
        if not forever:
            asyncio.get_running_loop().call_soon(gate.open)
        await starting
        if place is in_startup:
            await broken.observer.all_ended(len(records))
        await manager.shutdown()
        return Outcome([same_record(one) for one in records], heard, manager.observer_stats())

    async def in_time() -> Outcome:
        async with asyncio.timeout(PATIENCE):
            return await app()

    outcome = asyncio.run(in_time())

    events = len(expected.heard["memories"][0])
    check_the_others(outcome, expected)
    stats = outcome.stats[broken.name]
    lost = stats.queued + sum(stats.dropped.values())
    assert stats.delivered + lost == events
    assert stats.errors == int(forever and place in ONCE_A_RUN)
    assert (lost > 0) == (forever and place not in ONCE_A_RUN) or place in ONCE_A_RUN
    assert len(reports) == int(forever)


# What is no sink's failure, and failures of the report


def interrupt_once() -> Callable[[], None]:
    """Raise KeyboardInterrupt on the second record, which is a task's first entry."""
    calls = itertools.count()

    def fail() -> None:
        if next(calls) == 1:
            raise KeyboardInterrupt

    return fail


SYNCHRONOUS = [rotating, watched, stdout, memory, root_handler, tree_handler]


@pytest.mark.parametrize("make", SYNCHRONOUS)
def test_an_interrupt_from_the_keyboard_passes_and_leaves_no_task_running(
    tmp_path: Path, reports: list[logging.LogRecord], make: Make
) -> None:
    broken, neighbours = make(tmp_path), Neighbours(tmp_path)
    in_emit(broken, interrupt_once())
    manager = manager_of(neighbours.around(broken), "loop")

    with pytest.raises(KeyboardInterrupt):
        manager.run(BODIES["loop"][0])

    for memory in neighbours.memories:
        statuses = [event.status.value for event in memory.lifecycle_events]
        assert statuses == ["running", "interrupted"]
    assert manager.observer_stats()[broken.name].errors == 0
    assert reports == []
    assert manager.run(BODIES["loop"][0]).status == "success"


@pytest.mark.parametrize("make", SYNCHRONOUS)
def test_an_interrupt_in_a_thread_fails_the_task_that_ran_there(tmp_path: Path, make: Make) -> None:
    broken, neighbours = make(tmp_path), Neighbours(tmp_path)
    in_emit(broken, interrupt_once())
    manager = manager_of(neighbours.around(broken), "thread")

    record = manager.run(greet)

    assert (record.status, record.error) == ("failed", "KeyboardInterrupt")
    assert manager.run(greet).status == "success"


@pytest.mark.parametrize("make", [adopted_handler, adopted_logger])
def test_an_interrupt_in_the_thread_of_an_adopted_handler_is_a_failure_of_its_own(
    tmp_path: Path, undisturbed: Undisturbed, make: Make
) -> None:
    expected = undisturbed("loop")
    broken = make(tmp_path)
    in_emit(broken, interrupt_once())

    outcome = play(tmp_path, "loop", broken)

    check_the_others(outcome, expected)
    assert outcome.stats[broken.name].errors == 1


def log_a_report(record: logging.LogRecord) -> None:
    logging.getLogger("fastapi_taskflow.observers").error("I failed")
    raise ValueError("no")


def log_to_root(record: logging.LogRecord) -> None:
    logging.getLogger("myapp").error("I failed")
    raise ValueError("no")


@pytest.mark.parametrize("emit", [log_a_report, log_to_root])
@pytest.mark.parametrize("make", [root_handler, tree_handler])
def test_a_handler_that_logs_where_it_fails_ends_in_no_circle(
    tmp_path: Path,
    undisturbed: Undisturbed,
    make: Make,
    emit: Callable[[logging.LogRecord], None],
) -> None:
    expected = undisturbed("loop")
    broken = make(tmp_path)
    vars(broken.handler)["emit"] = emit

    outcome = play(tmp_path, "loop", broken)

    for lines in outcome.heard["pipeline"]:
        lines[:] = [line for line in lines if line[0] != "myapp"]
    check_the_others(outcome, expected)
    assert outcome.stats["pipeline"].errors == len(expected.heard["memories"][0])


def test_two_sinks_and_a_handler_that_answer_each_entry_with_one_come_to_an_end() -> None:
    def answer(record: logging.LogRecord) -> None:
        task_log("answer", level="warning")
        raise ValueError("no")

    chatty, root, sound = [InMemoryLogger(), InMemoryLogger()], Kept(), InMemoryLogger()
    for handler in (chatty[0].handler, chatty[1].handler, root):
        handler.emit = answer  # type: ignore[method-assign]  # a user's, made short
    logging.getLogger().addHandler(root)
    logging.getLogger().setLevel(logging.INFO)
    manager = TaskManager(loggers=[*chatty, sound])

    record = manager.run(greet)

    assert (record.status, record.result) == ("success", "greeted")
    logged = [event.seq for event in sound.log_events]
    seqs = logged + [event.seq for event in sound.lifecycle_events]
    assert sorted(seqs) == list(range(len(seqs)))
    assert logged == sorted(logged)
    texts = [event.message for event in sound.log_events if event.message != "answer"]
    assert texts == ["hello", "100 % again"]


@pytest.mark.parametrize("room", [1, 10, 30, 60, 100])
def test_a_body_out_of_stack_logs_or_not_and_goes_on(room: int, tmp_path: Path) -> None:
    memory = InMemoryLogger()
    file = FileLogger(tmp_path / "tasks.log")

    def descend(levels: int) -> None:
        task_log("deep", level="debug")
        if levels:
            descend(levels - 1)

    def body() -> str:
        with contextlib.suppress(RecursionError):
            descend(sys.getrecursionlimit() - room)
        task_log("back")
        return "done"

    manager = TaskManager(loggers=[file, memory])

    record = manager.run(body)

    assert (record.status, record.result) == ("success", "done")
    seqs = [event.seq for event in memory.log_events]
    assert seqs == sorted(set(seqs))
    assert memory.log_events[-1].message == "back"
    assert [event.status.value for event in memory.lifecycle_events] == ["running", "success"]
    assert Path(file.path).read_text().endswith(" back\n")
