"""Handlers and loggers of the user's own as observers, given by themselves or by name."""

from __future__ import annotations

import asyncio
import logging
import logging.config
import logging.handlers
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fastapi_taskflow import (
    ConfigurationError,
    InMemoryLogger,
    LifecycleEvent,
    LogEvent,
    ObserverHandler,
    ObserverStats,
    TaskManager,
    TaskObserver,
    get_task_context,
    task_log,
)
from fastapi_taskflow.loggers import adopt
from fastapi_taskflow.loggers.adopt import AdoptedHandler, AdoptingHandler
from fastapi_taskflow.loggers.dispatch import Sink
from fastapi_taskflow.loggers.queued import QUEUE_SIZE

PATIENCE = 30.0
"""Seconds after which a test gives up on what should happen at once."""

ALL = ["-- RUNNING", "hello", "again", "-- SUCCESS"]

# Here before the first test, each has a list of handlers to go back to that is its own.
for _name in ("myapp", "myapp.audit", "myapp.other", "myapp.http", "fastapi_taskflow.observers"):
    logging.getLogger(_name)


async def greet() -> None:
    task_log("hello", level="debug")
    task_log("again", level="warning")


def greet_in_thread() -> None:
    task_log("hello", level="debug")
    task_log("again", level="warning")


class Listing(logging.Handler):
    """A handler of somebody's own: it formats, and has no ``handleError()``."""

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.records: list[logging.LogRecord] = []
        self.lines: list[str] = []
        self.calls: list[str] = []
        self.ended = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))
        self.records.append(record)
        if self.lines[-1] == "-- SUCCESS":
            self.ended.set()

    def flush(self) -> None:
        self.calls.append("flush")

    def close(self) -> None:
        self.calls.append("close")
        super().close()


class Blocked(Listing):
    """A handler that does not come back before it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go_on = threading.Event(), threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.entered.set()
        assert self.go_on.wait(PATIENCE)
        super().emit(record)


@pytest.fixture
def blocked() -> Iterator[Blocked]:
    handler = Blocked()
    yield handler
    handler.go_on.set()


def logger_of(*handlers: logging.Handler, name: str = "myapp.audit") -> logging.Logger:
    """A logger that has just these handlers, and lets everything through."""
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    for handler in handlers:
        logger.addHandler(handler)
    return logger


def given_itself(handler: logging.Handler) -> object:
    return handler


def given_its_logger(handler: logging.Handler) -> object:
    return logger_of(handler)


def given_its_loggers_name(handler: logging.Handler) -> object:
    return logger_of(handler).name


WAYS = [given_itself, given_its_logger, given_its_loggers_name]
Way = Callable[[logging.Handler], Any]


def events_of(handler: Listing) -> list[tuple[int, str]]:
    return [(vars(record)["seq"], record.getMessage()) for record in handler.records]


# What it gets


@pytest.mark.parametrize("function", [greet, greet_in_thread])
@pytest.mark.parametrize("way", WAYS)
def test_it_gets_every_event_once_and_in_order(way: Way, function: Callable[[], Any]) -> None:
    listing = Listing()
    manager = TaskManager(loggers=[way(listing)])

    first, second = manager.run(function), manager.run(function)

    assert events_of(listing) == [*enumerate(ALL), *enumerate(ALL)]
    ids = [vars(record)["task_id"] for record in listing.records]
    assert ids == [first.task_id] * 4 + [second.task_id] * 4


@pytest.mark.parametrize("way", WAYS)
def test_a_long_task_reaches_it_whole(way: Way) -> None:
    listing = Listing()

    def chatter() -> None:
        for number in range(500):
            task_log(str(number))

    TaskManager(loggers=[way(listing)]).run(chatter)

    assert [seq for seq, _ in events_of(listing)] == list(range(502))


def test_a_handler_of_the_standard_librarys_works(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(levelname)s %(func_name)s %(message)s"))

    TaskManager(loggers=[handler]).run(greet)
    handler.close()

    assert path.read_text().splitlines() == [
        "INFO greet -- RUNNING",
        "DEBUG greet hello",
        "WARNING greet again",
        "INFO greet -- SUCCESS",
    ]


def on_root(handler: logging.Handler) -> list[Any]:
    logging.root.addHandler(handler)
    logging.root.setLevel(logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.INFO)  # it tells of its loops
    return [handler]


def on_the_library(handler: logging.Handler) -> list[Any]:
    library = logging.getLogger("fastapi_taskflow")
    library.addHandler(handler)
    library.setLevel(logging.DEBUG)
    return [handler]


def twice(handler: logging.Handler) -> list[Any]:
    return [handler, handler]


def logger_twice(handler: logging.Handler) -> list[Any]:
    logger = logger_of(handler)
    return [logger, logger.name, logger]


def two_loggers(handler: logging.Handler) -> list[Any]:
    return [logger_of(handler), logger_of(handler, name="myapp.other")]


def before_its_logger(handler: logging.Handler) -> list[Any]:
    return [handler, logger_of(handler)]


def after_its_logger(handler: logging.Handler) -> list[Any]:
    return [logger_of(handler), handler]


def on_root_and_two_loggers(handler: logging.Handler) -> list[Any]:
    on_root(handler)
    parent = logger_of(handler, name="myapp")
    child = logger_of(handler)
    parent.propagate = child.propagate = True
    return [handler, child, "myapp"]


def root_itself(handler: logging.Handler) -> list[Any]:
    on_root(handler)
    return [logging.root]


SHARED = [
    on_root,
    on_the_library,
    twice,
    logger_twice,
    two_loggers,
    before_its_logger,
    after_its_logger,
    on_root_and_two_loggers,
    root_itself,
]


@pytest.mark.parametrize("place", SHARED)
def test_a_handler_within_reach_by_several_ways_gets_an_event_once(
    place: Callable[[logging.Handler], list[Any]],
) -> None:
    listing, other = Listing(), Listing()

    TaskManager(loggers=[*place(listing), other]).run(greet)

    assert events_of(listing) == list(enumerate(ALL))
    assert events_of(other) == list(enumerate(ALL))


def test_two_managers_share_a_handler() -> None:
    listing = Listing()
    one, two = TaskManager(loggers=[listing]), TaskManager(loggers=[listing])

    one.run(greet)
    two.run(greet)

    assert events_of(listing) == [*enumerate(ALL), *enumerate(ALL)]


def test_it_gets_a_copy_of_the_record_with_the_extras_as_they_were() -> None:
    listing, seen = Listing(), Listing()
    logging.root.addHandler(seen)
    items = [1]

    def change() -> None:
        task_log("items", level="warning", items=items)
        items.append(2)

    TaskManager(loggers=[listing]).run(change)

    assert vars(listing.records[1])["items"] == [1]
    assert listing.records[1] is not seen.records[0]


# Levels and filters


def reject_debug(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG


def level_of_handler(handler: Listing) -> Any:
    handler.setLevel("INFO")
    return handler


def filter_of_handler(handler: Listing) -> Any:
    handler.addFilter(reject_debug)
    return handler


def level_of_logger(handler: Listing) -> Any:
    logger_of(handler).setLevel("INFO")
    return "myapp.audit"


def level_of_parent(handler: Listing) -> Any:
    logger_of(handler).setLevel(logging.NOTSET)
    logging.getLogger("myapp").setLevel("INFO")
    return "myapp.audit"


def filter_of_logger(handler: Listing) -> Any:
    logger_of(handler).addFilter(reject_debug)
    return "myapp.audit"


@pytest.mark.parametrize(
    "choose",
    [level_of_handler, filter_of_handler, level_of_logger, level_of_parent, filter_of_logger],
)
def test_its_level_and_filters_count(choose: Callable[[Listing], Any]) -> None:
    listing = Listing()
    choice = choose(listing)
    manager = TaskManager(loggers=[choice])

    manager.run(greet)

    assert [text for _, text in events_of(listing)] == ["-- RUNNING", "again", "-- SUCCESS"]
    stats = manager.observer_stats()["Listing" if choice is listing else "Logger"]
    assert (stats.delivered, stats.filtered, stats.errors) == (3, 1, 0)


def test_a_level_that_is_set_later_counts() -> None:
    listing = Listing()
    manager = TaskManager(loggers=[listing])
    manager.run(greet)

    listing.setLevel("WARNING")
    manager.run(greet)

    assert [text for _, text in events_of(listing)] == [*ALL, "again"]


def test_what_a_logger_has_no_handler_for_is_counted_as_filtered() -> None:
    logger = logging.getLogger("myapp.nobody")
    logger.propagate = False
    logger.setLevel("DEBUG")
    manager = TaskManager(loggers=[logger])

    manager.run(greet)

    stats, _ = manager.observer_stats().values()  # under whatever class loggers have now
    assert (stats.delivered, stats.filtered) == (0, len(ALL))


def test_a_loggers_propagation_counts() -> None:
    own, above, top = Listing(), Listing(), Listing()
    parent, child = logger_of(above, name="myapp"), logger_of(own)
    logging.root.addHandler(top)
    child.propagate = True
    manager = TaskManager(loggers=[child], propagate=False)

    manager.run(greet)

    assert [len(handler.records) for handler in (own, above, top)] == [4, 4, 0]
    parent.propagate = True
    manager.run(greet)
    assert [len(handler.records) for handler in (own, above, top)] == [8, 8, 4]


@pytest.mark.parametrize("reject", ["level", "filter"])
def test_what_an_adopted_logger_turns_away_still_reaches_root_by_the_pipeline(reject: str) -> None:
    top = Listing()
    logging.root.addHandler(top)
    library = logging.getLogger("fastapi_taskflow")
    library.setLevel(logging.DEBUG)
    audit = logger_of()
    audit.propagate = True
    if reject == "level":
        audit.setLevel(logging.ERROR)
    else:
        audit.addFilter(lambda _: False)

    TaskManager(loggers=[audit]).run(greet)

    assert events_of(top) == list(enumerate(ALL))


@pytest.mark.parametrize("existing", [True, False], ids=["disabling", "not disabling"])
def test_a_logger_that_dictconfig_has_disabled_is_fed(existing: bool) -> None:
    listing = Listing()
    logger = logger_of(listing)
    manager = TaskManager(loggers=[logger])

    logging.config.dictConfig({"version": 1, "disable_existing_loggers": existing})
    manager.run(greet)

    assert logger.disabled is existing
    assert events_of(listing) == list(enumerate(ALL))


def test_logging_disable_does_not_silence_it() -> None:
    listing, audited = Listing(), Listing()
    manager = TaskManager(loggers=[listing, logger_of(audited)])

    logging.disable()
    manager.run(greet)

    assert events_of(listing) == events_of(audited) == list(enumerate(ALL))


# Slow ones


@pytest.mark.parametrize("way", WAYS)
def test_a_handler_that_blocks_delays_nobody(blocked: Blocked, way: Way) -> None:
    memory, listing, top = InMemoryLogger(), Listing(), Listing()
    logging.root.addHandler(top)
    logging.getLogger("fastapi_taskflow").setLevel(logging.DEBUG)
    manager = TaskManager(loggers=[way(blocked), memory, listing], drain_timeout=0.0)

    record = manager.run(greet)

    assert (record.status, len(record.logs)) == ("success", 2)
    assert [event.message for event in memory.log_events] == ["hello", "again"]
    assert top.lines == ALL
    assert listing.ended.wait(PATIENCE)
    assert listing.lines == ALL
    assert blocked.lines == []
    blocked.go_on.set()
    assert blocked.ended.wait(PATIENCE)
    assert events_of(blocked) == list(enumerate(ALL))


def test_a_full_queue_drops_log_entries_and_counts_them(
    blocked: Blocked, reports: list[logging.LogRecord]
) -> None:
    manager = TaskManager(loggers=[blocked], drain_timeout=0.0, propagate=False)

    def flood() -> None:
        assert blocked.entered.wait(PATIENCE)  # it is at RUNNING
        for number in range(QUEUE_SIZE + 5):
            task_log(str(number))

    manager.run(flood)

    stats = manager.observer_stats()["Blocked"]
    assert (stats.dropped, stats.high_water) == ({"overflow": 5}, QUEUE_SIZE + 1)
    assert (stats.queued, stats.errors) == (QUEUE_SIZE + 2, 0)
    assert ["overflow" in report.getMessage() for report in reports] == [True]
    blocked.go_on.set()
    assert blocked.ended.wait(PATIENCE)
    assert blocked.lines == ["-- RUNNING", *map(str, range(QUEUE_SIZE)), "-- SUCCESS"]


def test_a_full_queue_takes_status_changes_all_the_same(blocked: Blocked) -> None:
    listing = Listing()
    TaskManager(loggers=[listing]).run(greet)
    running, hello, again, success = listing.records
    queued = AdoptingHandler(AdoptedHandler(blocked), queue_size=1)
    sink = Sink(queued, queued.ledger)

    sink.send(running, [])
    assert blocked.entered.wait(PATIENCE)
    for record in (hello, again, running, success):
        sink.send(record, [])

    assert queued.ledger.stats(queued.queued).dropped == {"overflow": 1}
    assert queued.queued == 4
    blocked.go_on.set()
    assert blocked.ended.wait(PATIENCE)
    assert blocked.lines == ["-- RUNNING", "hello", "-- RUNNING", "-- SUCCESS"]


def test_what_a_blocked_handler_has_not_had_at_shutdown_is_counted_as_lost(
    blocked: Blocked,
) -> None:
    app, manager = FastAPI(), TaskManager(loggers=[blocked], drain_timeout=0.0)
    manager.init_app(app)

    @app.post("/greet")
    async def start() -> None:
        await manager.execute(greet)

    with TestClient(app) as client:
        client.post("/greet")
        assert blocked.entered.wait(PATIENCE)

    assert manager.observer_stats()["Blocked"].dropped == {"shutdown": 3}
    assert blocked.calls == []


# Failing ones


def break_emit(handler: Listing, error: BaseException) -> None:
    def emit(record: logging.LogRecord) -> None:
        raise error

    handler.emit = emit  # type: ignore[method-assign]  # a handler of the user's, made short


def break_filter(handler: Listing, error: BaseException) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        raise error

    handler.addFilter(refuse)


def break_format(handler: Listing, error: BaseException) -> None:
    class Broken(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            raise error

    handler.setFormatter(Broken())


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), RecursionError(), SystemExit(3), StopIteration(), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("breaks", [break_emit, break_filter, break_format])
@pytest.mark.parametrize("way", WAYS)
def test_one_that_raises_is_counted_and_reported_and_hurts_nobody(
    reports: list[logging.LogRecord],
    way: Way,
    breaks: Callable[[Listing, BaseException], None],
    error: BaseException,
) -> None:
    broken, after = Listing(), Listing()
    breaks(broken, error)
    choice = way(broken)
    manager = TaskManager(loggers=[choice, after])

    record = manager.run(greet)

    assert (record.status, record.error) == ("success", None)
    assert events_of(after) == list(enumerate(ALL))
    name = "Listing" if choice is broken else "Logger"
    stats = manager.observer_stats()[name]
    assert (stats.delivered, stats.errors, stats.queued) == (0, 4, 0)
    assert type(error).__name__ in str(stats.last_error)
    assert [name in report.getMessage() for report in reports] == [True]


def test_the_next_handler_of_a_logger_gets_what_the_first_one_failed_on() -> None:
    broken, after = Listing(), Listing()
    break_emit(broken, ValueError("no"))
    manager = TaskManager(loggers=[logger_of(broken, after)])

    manager.run(greet)

    assert events_of(after) == list(enumerate(ALL))
    assert manager.observer_stats()["Logger"].errors == 4


def test_a_loggers_filter_that_raises_is_counted(reports: list[logging.LogRecord]) -> None:
    logger = logger_of(Listing())
    logger.addFilter(lambda record: bool(1 // 0))
    manager = TaskManager(loggers=[logger])

    record = manager.run(greet)

    assert record.status == "success"
    assert manager.observer_stats()["Logger"].errors == 4
    assert ["ZeroDivisionError" in report.getMessage() for report in reports] == [True]


def test_figures_are_by_class_and_numbered() -> None:
    loggers: list[Any] = [Listing(), logger_of(), Listing(), "myapp.other", InMemoryLogger()]

    stats = TaskManager(loggers=loggers).observer_stats()

    assert list(stats) == [
        "Listing",
        "Logger",
        "Listing-2",
        "Logger-2",
        "InMemoryLogger",
        "pipeline",
    ]


# Shutdown


@pytest.mark.parametrize("way", WAYS)
def test_it_is_flushed_at_shutdown_and_never_closed(way: Way) -> None:
    app, listing = FastAPI(), Listing()
    TaskManager(loggers=[way(listing)]).init_app(app)

    with TestClient(app):
        assert listing.calls == []

    assert listing.calls == ["flush"]


def test_it_is_flushed_after_the_last_event_and_works_after_a_restart() -> None:
    target = Listing()
    buffering = logging.handlers.MemoryHandler(100, flushLevel=100, target=target)
    app, manager = FastAPI(), TaskManager(loggers=[buffering])
    manager.init_app(app)

    @app.post("/greet")
    async def start() -> None:
        await manager.execute(greet)

    for starts in (1, 2):
        with TestClient(app) as client:
            client.post("/greet")
            assert len(target.lines) == 4 * (starts - 1)
        assert target.lines == ALL * starts


def test_a_flush_that_raises_is_reported_and_the_app_stops(
    reports: list[logging.LogRecord],
) -> None:
    class Broken(Listing):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    app, manager = FastAPI(), TaskManager(loggers=[Broken()])
    manager.init_app(app)

    with TestClient(app):
        pass

    assert manager.observer_stats()["Broken"].errors == 1
    assert ["No space left" in report.getMessage() for report in reports] == [True]


def test_a_flush_is_no_event() -> None:
    manager = TaskManager(loggers=[Listing()])

    asyncio.run(manager.startup())
    asyncio.run(manager.shutdown())

    assert manager.observer_stats()["Listing"] == ObserverStats()


def test_a_flush_that_takes_too_long_is_an_error_that_says_so(
    blocked: Blocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adopt, "FLUSH_SECONDS", 0.05)
    monkeypatch.setattr(blocked, "flush", lambda: blocked.go_on.wait(PATIENCE))
    manager = TaskManager(loggers=[blocked])

    asyncio.run(manager.startup())
    asyncio.run(manager.shutdown())

    stats = manager.observer_stats()["Blocked"]
    assert (stats.errors, stats.last_error) == (1, "TimeoutError: flush() not done in 0.05 s")


HANGING_FLUSH = """
import asyncio, logging, sys, threading
from fastapi_taskflow import TaskManager, task_log
from fastapi_taskflow.loggers import adopt

adopt.FLUSH_SECONDS = 0.05

class Hanging(logging.Handler):
    def emit(self, record):
        pass
    def flush(self):  # the standard library calls it without the handler's lock, too
        threading.Event().wait()

handler = Hanging()
manager = TaskManager(loggers=[handler])
manager.run(task_log, "hello")
if sys.argv[1] == "after a shutdown":
    asyncio.run(manager.shutdown())
"""


@pytest.mark.parametrize("case", ["script", "after a shutdown"])
def test_a_flush_that_hangs_does_not_keep_the_process_from_ending(
    run_python: Callable[..., subprocess.CompletedProcess[str]], case: str
) -> None:
    outcome = run_python(HANGING_FLUSH, case)

    assert outcome.returncode == 0, outcome.stderr


# Contexts


span: ContextVar[str] = ContextVar("span", default="none")


@pytest.mark.parametrize("way", WAYS)
def test_it_sees_the_context_variables_of_the_emitter_but_no_task(way: Way) -> None:
    seen: list[tuple[str, object]] = []

    class Looking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append((span.get(), get_task_context()))

    def traced() -> None:
        for name in ("first", "second"):
            span.set(name)
            task_log(name)

    TaskManager(loggers=[way(Looking())]).run(traced)

    assert [name for name, _ in seen][1:3] == ["first", "second"]
    assert [context for _, context in seen] == [None] * 4


@pytest.mark.parametrize("way", WAYS)
def test_what_it_logs_itself_is_no_entry_of_the_task(way: Way) -> None:
    class Chatty(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            task_log(f"handled {record.getMessage()}")
            logging.getLogger("myapp.http").warning("posted")

    memory, chatty = InMemoryLogger(), Chatty()
    manager = TaskManager(loggers=[way(chatty), memory], capture_loggers=["myapp.http"])

    record = manager.run(greet)

    assert [event.message for event in memory.log_events] == ["hello", "again"]
    assert len(record.logs) == 2


# Processes

FORKING = """
import logging, os, sys, warnings
from fastapi_taskflow import TaskManager, task_log

warnings.simplefilter("ignore", DeprecationWarning)  # of forking while threads run
parent = os.getpid()
read, write = os.pipe()
entered, at_work = os.pipe()

class Telling(logging.Handler):
    waiting = True
    def emit(self, record):
        if self.waiting and os.getpid() == parent:
            os.write(at_work, b"x")
            os.read(read, 1)
            self.waiting = False
        who = "parent" if os.getpid() == parent else "child"
        os.write(1, f"{who} {record.seq} {record.getMessage()}\\n".encode())

handler = Telling()
choice = handler
if sys.argv[1] == "logger":
    choice = logging.getLogger("myapp.audit")
    choice.setLevel("DEBUG")
    choice.propagate = False
    choice.addHandler(handler)

async def tell(text):  # no thread of its own: the observer's is what this is about
    task_log(text)

manager = TaskManager(loggers=[choice], drain_timeout=0.0)
manager.run(tell, "before")
os.read(entered, 1)  # one record is being handled, three wait
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
    os.write(write, b"x")
    manager.run(tell, "after")
else:
    manager.run(tell, "in the child")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("kind", ["handler", "logger"])
def test_a_forked_child_has_a_working_queue_and_nothing_of_its_parents(
    run_python: Callable[..., subprocess.CompletedProcess[str]], kind: str
) -> None:
    outcome = run_python(FORKING, kind)

    assert (outcome.stderr, outcome.returncode) == ("", 0)
    assert outcome.stdout.splitlines() == [
        "child 0 -- RUNNING",
        "child 1 in the child",
        "child 2 -- SUCCESS",
        *(
            f"parent {seq} {text}"
            for message in ("before", "after")
            for seq, text in enumerate(["-- RUNNING", message, "-- SUCCESS"])
        ),
    ]


ENDING = """
import atexit, logging, logging.handlers, sys, threading
from fastapi_taskflow import TaskManager, task_log

end = threading.Event()
atexit.register(end.set)  # runs before what was registered earlier

class Waiting(logging.Handler):
    def emit(self, record):
        end.wait()
        print("waiting:", record.getMessage(), flush=True)

buffering = logging.handlers.MemoryHandler(100, target=logging.StreamHandler(sys.stdout))
audit = logging.getLogger("myapp.audit")
audit.setLevel("DEBUG")
audit.propagate = False
audit.addHandler(buffering)
manager = TaskManager(loggers=[Waiting(), "myapp.audit"], drain_timeout=0.0)
manager.run(task_log, "hello")
print("end of script", flush=True)
"""


def test_a_script_that_just_ends_has_everything_delivered(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    outcome = run_python(ENDING)

    assert (outcome.stderr, outcome.returncode) == ("", 0)
    lines = outcome.stdout.splitlines()
    texts = ["-- RUNNING", "hello", "-- SUCCESS"]
    assert lines[0] == "end of script"
    assert [line for line in lines if line.startswith("waiting")] == [
        f"waiting: {text}" for text in texts
    ]
    assert [line for line in lines[1:] if not line.startswith("waiting")] == texts


# Wrong ones


@pytest.mark.parametrize(
    "entry",
    ["", " ", "logs/x.log", "logs\\x.log", 5, None, b"myapp", Listing, logging.Logger, print],
    ids=repr,
)
def test_a_wrong_entry_is_refused_with_the_right_values(entry: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TaskManager(loggers=[InMemoryLogger(), entry])

    message, _, expected = str(caught.value).partition("expected")
    assert message.startswith("loggers=")
    assert repr(entry) in message
    for word in ("FileLogger", "logger"):
        assert word in expected


def test_a_refused_name_makes_no_logger() -> None:
    with pytest.raises(ConfigurationError):
        TaskManager(loggers=["logs/x.log"])

    assert "logs/x.log" not in logging.root.manager.loggerDict


# Observers that a logging configuration names


class Diary(TaskObserver):
    """Named in a configuration by its path."""

    made: ClassVar[list[Diary]] = []

    def __init__(self) -> None:
        self.told: list[str] = []
        self.made.append(self)

    async def startup(self) -> None:
        self.told.append("startup")

    async def on_log(self, event: LogEvent) -> None:
        self.told.append(event.message)

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        self.told.append(f"-- {event.status.name}")

    async def close(self) -> None:
        self.told.append("close")


def make_diary() -> Diary:
    return Diary()


@pytest.fixture
def observing(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module of the user's, importable by name, with an observer in it."""
    module = ModuleType("myapp_observing")
    vars(module).update(Diary=Diary, diary=Diary(), make_diary=make_diary, number=5)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(Diary, "made", [])
    yield module
    logging.config.dictConfig({"version": 1})


def configure(observer: str, logger: str = "fastapi_taskflow", **options: Any) -> None:
    """Put the observer on a logger, by strings alone."""
    kind = "fastapi_taskflow.handlers.ObserverHandler"
    handler = {"class": kind, "observer": observer, **options}
    taker = {"level": "DEBUG", "handlers": ["diary"]}
    config: dict[str, Any] = {"version": 1, "handlers": {"diary": handler}}
    config |= {"root": taker} if logger == "root" else {"loggers": {logger: taker}}
    logging.config.dictConfig(config)


def make_app(manager: TaskManager) -> FastAPI:
    app = FastAPI()
    manager.init_app(app)

    @app.post("/greet")
    async def start() -> None:
        await manager.execute(greet)

    return app


@pytest.mark.parametrize(
    "place", ["root", "fastapi_taskflow", "fastapi_taskflow.task", "fastapi_taskflow.task.greet"]
)
def test_an_observer_in_a_configuration_lives_with_the_app(
    observing: ModuleType, place: str
) -> None:
    configure("myapp_observing.Diary", place)
    manager = TaskManager()
    texts = ALL if "task." not in f"{place}." else ["hello", "again"]

    with TestClient(make_app(manager)) as client:
        (diary,) = Diary.made
        assert diary.told == ["startup"]
        client.post("/greet")
        assert diary.told == ["startup", *texts]
        stats = manager.observer_stats()["Diary"]
        assert (stats.delivered, stats.errors, stats.queued) == (len(texts), 0, 0)

    assert diary.told == ["startup", *texts, "close"]


@pytest.mark.parametrize("name", ["Diary", "diary", "make_diary"])
def test_the_path_is_that_of_an_observer_or_of_what_makes_one(
    observing: ModuleType, name: str
) -> None:
    configure(f"myapp_observing.{name}", queue_size=5, timeout=1.0)

    with TestClient(make_app(TaskManager())) as client:
        client.post("/greet")

    diary = vars(observing)["diary"] if name == "diary" else Diary.made[0]
    assert diary.told == ["startup", *ALL, "close"]


def test_an_observer_in_a_configuration_starts_and_closes_each_time(
    observing: ModuleType,
) -> None:
    configure("myapp_observing.Diary")
    app = make_app(TaskManager())

    for _ in range(2):
        with TestClient(app) as client:
            client.post("/greet")

    assert Diary.made[0].told == ["startup", *ALL, "close"] * 2


def test_of_two_managers_one_serves_it_and_both_feed_it(observing: ModuleType) -> None:
    configure("myapp_observing.Diary")
    first, second = TaskManager(), TaskManager()

    with TestClient(make_app(first)), TestClient(make_app(second)) as client:
        assert Diary.made[0].told == ["startup"]
        client.post("/greet")
        assert "Diary" in first.observer_stats()
        assert "Diary" not in second.observer_stats()

    assert Diary.made[0].told == ["startup", *ALL, "close"]


def test_an_observer_in_a_configuration_is_served_without_a_lifespan(
    observing: ModuleType,
) -> None:
    configure("myapp_observing.Diary")

    TaskManager().run(greet)

    assert Diary.made[0].told == ["startup", *ALL]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("myapp_observing.Diray", "Diray"),
        ("no_such_module_here.Diary", "no_such_module_here"),
        ("myapp_observing", "TaskObserver"),
        ("myapp_observing.number", "TaskObserver"),
        ("not a path", "dotted path"),
        ("", "dotted path"),
    ],
)
def test_a_bad_path_is_an_error_that_names_it(observing: ModuleType, path: str, why: str) -> None:
    with pytest.raises(ValueError, match="handler 'diary'") as caught:
        configure(path)

    cause = caught.value.__cause__
    assert isinstance(cause, ConfigurationError)
    assert why in str(cause)
    assert path in str(cause) or "TaskObserver" in str(cause)


def test_an_async_observer_behind_an_adopted_logger_has_everything_when_the_call_returns() -> None:
    class Slow(InMemoryLogger):
        async def on_log(self, event: LogEvent) -> None:
            await asyncio.sleep(0)
            await super().on_log(event)

    slow = Slow()
    audit = logger_of(Listing(), ObserverHandler(slow))

    def body() -> None:
        for n in range(100):
            task_log(n)

    TaskManager(loggers=[audit]).run(body)

    assert [event.message for event in slow.log_events] == [str(n) for n in range(100)]
