"""Code of others that runs while a record is made or handled: it may wait, and it may log."""

from __future__ import annotations

import asyncio
import logging
import logging.config
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastapi_taskflow import (
    FileLogger,
    InMemoryLogger,
    LogEvent,
    ObserverHandler,
    RedactFilter,
    TaskManager,
    TaskObserver,
    bind_task_context,
    task_log,
)

PATIENCE = 30.0
"""Seconds after which a test gives up on what should happen at once."""


class Guarded:
    """An object whose text is made under a lock of its own."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.asked = threading.Event()

    def __repr__(self) -> str:
        self.asked.set()
        if not self.lock.acquire(timeout=PATIENCE):
            return "a deadlock"
        self.lock.release()
        return "guarded"


def log_of_both(guarded: Guarded, **extra: Any) -> None:
    """Log a thing while another thread, which has the thing's lock, logs for the same task."""

    def log_under_lock() -> None:
        with guarded.lock:
            ready.set()
            assert guarded.asked.wait(PATIENCE)
            task_log("from the other thread")

    ready = threading.Event()
    thread = threading.Thread(target=bind_task_context(log_under_lock))
    thread.start()
    assert ready.wait(PATIENCE)
    task_log("of the thing", **extra)
    thread.join(PATIENCE)


def test_a_text_that_waits_for_a_thread_which_logs_is_no_deadlock() -> None:
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[memory], redact=RedactFilter(keys=["password"]))
    thing = Guarded()

    manager.run(lambda: log_of_both(thing, thing=thing))

    messages = [event.message for event in memory.log_events]
    assert messages == ["from the other thread", "of the thing"]
    assert thing.lock.acquire(blocking=False)


def test_a_record_factory_that_waits_for_a_thread_which_logs_is_no_deadlock() -> None:
    memory = InMemoryLogger()
    thing, plain = Guarded(), logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = plain(*args, **kwargs)
        if record.msg == "of the thing":
            record.thing = repr(thing)
        return record

    logging.setLogRecordFactory(factory)  # noqa: TID251  # an application's own
    TaskManager(loggers=[memory]).run(lambda: log_of_both(thing))

    messages = [event.message for event in memory.log_events]
    assert messages == ["from the other thread", "of the thing"]


class Chatty:
    """An object that logs, to a captured logger, when it is asked for its text."""

    asked = 0

    def __repr__(self) -> str:
        self.asked += 1
        logging.getLogger("shop").warning("asked")
        return "chatty"

    __str__ = __repr__


def test_what_is_logged_while_a_record_is_made_comes_before_it() -> None:
    memory = InMemoryLogger()
    manager = TaskManager(
        loggers=[memory], capture_loggers=["shop"], redact=RedactFilter(secrets=["hunter2"])
    )

    manager.run(lambda: task_log("of a thing", thing=Chatty()))

    assert [event.seq for event in memory.log_events] == list(range(1, len(memory.log_events) + 1))
    assert [event.message for event in memory.log_events][-1] == "of a thing"


class Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_a_handler_gets_a_record_once_though_a_sink_logs_meanwhile(tmp_path: Path) -> None:
    keeper = Keeper()
    logging.getLogger().addHandler(keeper)
    manager = TaskManager(
        loggers=[keeper, FileLogger(tmp_path / "a.json", formatter="json")],
        capture_loggers=["shop"],
    )

    manager.run(lambda: task_log("of a thing", level="error", thing=Chatty()))

    assert keeper.lines.count("of a thing") == 1


class Observer(TaskObserver):
    def __init__(self) -> None:
        self.told: list[str] = []

    async def startup(self) -> None:
        self.told.append("startup")

    async def on_log(self, event: LogEvent) -> None:
        self.told.append(event.message)

    async def close(self) -> None:
        self.told.append("close")


class Reporter(logging.Handler):
    """Notes, when it is told of an observer, whether another thread could use its handler."""

    def __init__(self, handler: logging.Handler) -> None:
        super().__init__()
        self.handler = handler
        self.free: list[bool] = []

    def emit(self, record: logging.LogRecord) -> None:
        thread = threading.Thread(target=self._try)
        thread.start()
        thread.join(PATIENCE)

    def _try(self) -> None:
        lock = self.handler.lock
        assert lock is not None
        self.free.append(lock.acquire(timeout=0.1))
        if self.free[-1]:
            lock.release()


@pytest.fixture
def library_handler() -> Iterator[ObserverHandler]:
    handler = ObserverHandler(Observer(), queue_size=1)
    logger = logging.getLogger("fastapi_taskflow.task")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def test_an_overflow_of_a_pipelines_observer_is_reported_without_its_lock(
    library_handler: ObserverHandler,
) -> None:
    reporter = Reporter(library_handler)
    logging.getLogger("fastapi_taskflow.observers").addHandler(reporter)

    async def body() -> None:  # the loop has no turn meanwhile: the queue fills up
        for number in range(5):
            task_log(f"{number}", level="error")

    TaskManager().run(body)

    assert reporter.free == [True]


def configure(observer: Observer) -> None:
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"o": {"()": lambda: ObserverHandler(observer)}},
            "loggers": {"fastapi_taskflow.task": {"handlers": ["o"], "level": "DEBUG"}},
        }
    )


@pytest.fixture
def task_tree() -> Iterator[None]:
    yield
    logger = logging.getLogger("fastapi_taskflow.task")
    logger.handlers = []
    logger.setLevel(logging.NOTSET)


@pytest.mark.usefixtures("task_tree")
def test_observers_that_come_and_go_in_the_middle_of_a_task_lose_nothing() -> None:
    first, second = Observer(), Observer()
    logging.getLogger().setLevel("DEBUG")
    manager = TaskManager()

    async def body() -> None:
        for observer in (first, second):
            configure(observer)
            task_log("hello", level="error")

    async def use() -> None:
        async with manager:
            tasks = await manager.execute(body)
            assert tasks.status == "success"
        assert first.told == ["startup", "hello", "close"]
        assert second.told == ["startup", "hello", "close"]

    asyncio.run(use())
    assert list(manager.observer_stats()) == ["Observer-2", "pipeline"]


@pytest.mark.usefixtures("task_tree")
def test_an_observer_that_a_configuration_has_taken_away_is_closed_at_the_next_task() -> None:
    first, second = Observer(), Observer()
    logging.getLogger().setLevel("DEBUG")

    async def use() -> None:
        async with TaskManager() as manager:
            configure(first)
            await manager.execute(lambda: task_log("one", level="error"))
            configure(second)
            await manager.execute(lambda: task_log("two", level="error"))
            for _ in range(1000):
                if first.told[-1] == "close":
                    break
                await asyncio.sleep(0)
            assert first.told == ["startup", "one", "close"]
            assert second.told == ["startup", "two"]
            assert list(manager.observer_stats()) == ["Observer-2", "pipeline"]

    asyncio.run(use())


class Unprintable(Exception):
    @property
    def __notes__(self) -> Any:  # type: ignore[override]  # the point
        raise RuntimeError("no notes")

    @property
    def __cause__(self) -> Any:  # type: ignore[override]  # the point
        raise RuntimeError("no cause")


def unprintable() -> Exception:
    error = SyntaxError("no", ("f.py", 1, "x", "x", 1, 1))  # type: ignore[arg-type]
    error.text, error.offset = "x = 1", "one"  # type: ignore[assignment]
    return error


@pytest.mark.parametrize(
    "make", [Unprintable, unprintable], ids=["notes and cause raise", "offset is no number"]
)
@pytest.mark.parametrize("redact", [None, ["password"]], ids=["plain", "redacting"])
def test_an_error_that_has_no_text_fails_its_task_all_the_same(make: Any, redact: Any) -> None:
    manager = TaskManager(redact=redact)

    def body() -> None:
        raise make()

    manager.task(retries=1)(body)
    record = manager.run(body)

    assert (record.status, record.retries_used) == ("failed", 1)
    assert record.stacktrace


class Unsearchable(ExceptionGroup[Exception]):
    @property
    def exceptions(self) -> Any:
        raise RuntimeError("none of yours")


class Failing(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        raise Unsearchable("no", [ValueError("no")])


@pytest.mark.parametrize("raises", ["formatter", "body"])
def test_an_error_that_can_not_be_searched_hurts_nobody(raises: str, tmp_path: Path) -> None:
    def body() -> str:
        task_log("hello")
        if raises == "body":
            raise Unsearchable("no", [ValueError("no")])
        return "done"

    observer = FileLogger(tmp_path / "a.log", formatter=Failing())
    record = TaskManager(loggers=[observer], redact=["password"]).run(body)

    assert record.status == ("failed" if raises == "body" else "success")


class Compared(logging.LogRecord):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]  # the point


def test_records_that_have_no_hash_are_captured() -> None:
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[memory], capture_loggers=["shop"])
    logging.setLogRecordFactory(Compared)  # noqa: TID251  # an application's own

    def body() -> None:
        for number in range(3):
            logging.getLogger("shop").warning("%d", number)

    assert manager.run(body).status == "success"
    assert [event.message for event in memory.log_events] == ["0", "1", "2"]


@pytest.mark.usefixtures("task_tree")
def test_without_a_lifespan_an_observer_that_is_taken_away_gets_its_events() -> None:
    first, second = Observer(), Observer()
    logging.getLogger().setLevel("DEBUG")
    configure(first)

    def body() -> None:
        for number in range(50):
            task_log(f"{number}", level="error")
        configure(second)

    manager = TaskManager()
    manager.run(body)

    assert first.told == ["startup", *map(str, range(50)), "close"]
    assert list(manager.observer_stats()) == ["Observer-2", "pipeline"]


@pytest.mark.usefixtures("task_tree")
def test_observers_of_a_configuration_are_forgotten_with_it() -> None:
    manager = TaskManager()

    async def use() -> None:
        configure(Observer())
        async with manager:
            await manager.execute(lambda: task_log("hello", level="error"))

    for _ in range(3):
        asyncio.run(use())

    assert list(manager.observer_stats()) == ["Observer", "pipeline"]


def test_an_observer_of_two_managers_is_closed_with_the_last() -> None:
    observer = Observer()

    async def use() -> None:
        async with TaskManager(loggers=[observer]) as second:
            async with TaskManager(loggers=[observer]) as first:
                await first.execute(lambda: task_log("first"))
            await second.execute(lambda: task_log("second"))
            assert observer.told == ["startup", "first", "second"]

    asyncio.run(use())

    assert observer.told == ["startup", "first", "second", "close"]
