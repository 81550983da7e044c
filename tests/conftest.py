"""What all tests share: logging as before each one, records, events, processes, a clock."""

from __future__ import annotations

import asyncio
import logging
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from fastapi_taskflow import LifecycleEvent, LogEvent, TaskStatus

# Started in a shell's background, this process ignores Ctrl-C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


def _state_of(logger: logging.Logger) -> dict[str, Any]:
    names = ("level", "propagate", "disabled")
    state = {name: getattr(logger, name) for name in names}
    return {**state, "handlers": logger.handlers[:], "filters": logger.filters[:]}


_FRESH: dict[str, Any] = {
    "level": 0,
    "propagate": True,
    "disabled": False,
    "handlers": [],
    "filters": [],
}


# What logging.addLevelName adds can't be taken back in public.
_LEVEL_NAMES: list[dict[Any, Any]] = [logging._levelToName, logging._nameToLevel]  # noqa: SLF001


def _known_loggers() -> dict[str, logging.Logger]:
    known = logging.root.manager.loggerDict.items()
    return {name: logger for name, logger in known if isinstance(logger, logging.Logger)}


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Put back, after each test, what it changed in the process's logging."""
    before = {logger: _state_of(logger) for logger in (logging.root, *_known_loggers().values())}
    disabled, factory = logging.root.manager.disable, logging.getLogRecordFactory()
    names = [(known, known.copy()) for known in _LEVEL_NAMES]

    yield

    for known, saved in names:
        known.clear()
        known.update(saved)

    for logger in (logging.root, *_known_loggers().values()):
        state = before.get(logger, _FRESH)
        for handler in logger.handlers:
            if handler not in state["handlers"]:
                handler.close()
        for name in ("propagate", "disabled"):
            setattr(logger, name, state[name])
        for name in ("handlers", "filters"):
            setattr(logger, name, state[name][:])  # a list of its own
        logger.setLevel(state["level"])  # last: it also clears what loggers have cached
    logging.disable(disabled)
    logging.setLogRecordFactory(factory)  # noqa: TID251  # tests set it, to see it honoured


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Give what the library has reported.

    What asyncio says, or a status change of a task, may be of what another test has left.
    """
    return lambda: [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("fastapi_taskflow")
        and not record.name.startswith("fastapi_taskflow.lifecycle")
    ]


@pytest.fixture
def run_python() -> RunPython:
    """Run a program in a new interpreter, and give its output and exit code.

    A program that hangs fails the test, after ``timeout`` seconds.
    """

    def run(program: str, *arguments: str, timeout: float = 60.0, **environment: str) -> Any:
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", program, *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**os.environ, **environment},
        )

    return run


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TASK_ID = "abc12345-0000-4000-8000-000000000000"


class _Collector(logging.Handler):
    """Keeps the records themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def reports() -> Iterator[list[logging.LogRecord]]:
    """What is reported about observers while the test runs."""
    collector = _Collector()
    logger = logging.getLogger("fastapi_taskflow.observers")
    logger.addHandler(collector)

    yield collector.records

    logger.removeHandler(collector)


@pytest.fixture
def records() -> list[logging.LogRecord]:
    """The records that the pipeline gets."""
    collector = _Collector()
    library = logging.getLogger("fastapi_taskflow")
    library.addHandler(collector)
    library.setLevel("DEBUG")
    return collector.records


@pytest.fixture
def log_event() -> Callable[..., LogEvent]:
    """Make a log entry; what isn't given is that of OBSERVABILITY's sample lines."""

    def make(message: str = "hello", **fields: Any) -> LogEvent:
        given = {"level": "info", "timestamp": NOON, "attempt": 0, **fields}
        return LogEvent(TASK_ID, "send_email", message, **given)

    return make


@pytest.fixture
def status_event() -> Callable[..., LifecycleEvent]:
    """Make a status change; what isn't given is that of OBSERVABILITY's sample lines."""

    def make(status: str = "running", **fields: Any) -> LifecycleEvent:
        given = {"timestamp": NOON, "attempt": 0, "retries_used": 0, **fields}
        return LifecycleEvent(TASK_ID, "send_email", TaskStatus(status), **given)

    return make


class _SkippingSelector(selectors.DefaultSelector):
    """Where nothing is ready, time jumps to the next timer instead of passing."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(None if timeout is None else 0)
        if not ready and timeout is not None:
            self.now += max(timeout, 0.0)
        return ready


class _SkippingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now


@pytest.fixture
def run_skipping() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine on a loop whose clock jumps over waits, so that an hour takes no time.

    Nothing in it may wait for a thread. What would wait forever fails, an hour later.
    """

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=_SkippingLoop) as runner:
            return runner.run(asyncio.wait_for(main, 3600))

    return run
