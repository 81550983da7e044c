"""What others do for a line with a time, a name and an id, each tuned as its own pages advise.

All of them write the same line to a file on the same disk, and have it in the kernel when the call
returns. Where the id comes from is the cheapest way that each of them knows for an id that is
another one in each task.
"""

from __future__ import annotations

import importlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from queue import Queue
from typing import Any

from benchmarks.lines import BACKUP_COUNT, FUNCTION, LINE, MAX_BYTES, MESSAGE, TASK_ID, TIME_FORMAT
from benchmarks.works import Call, Measure, repeat

EXTRA = {"task_id": TASK_ID}


class UtcFormatter(logging.Formatter):
    """The standard library's formatter, with the time in UTC as its documentation shows."""

    converter = staticmethod(time.gmtime)


def text_formatter() -> logging.Formatter:
    """The line that all write."""
    return UtcFormatter("[%(task_id)s] [%(name)s] %(asctime)s %(message)s", TIME_FORMAT)


def fresh_logger(*handlers: logging.Handler) -> logging.Logger:
    """A logger of the standard library's own at INFO, with these handlers and nothing above it."""
    logger = logging.Logger(FUNCTION, logging.INFO)  # noqa: LOG001  # gone with its benchmark
    for handler in handlers:
        logger.addHandler(handler)
    return logger


@contextmanager
def logger_with(handler: logging.Handler) -> Iterator[logging.Logger]:
    """Such a logger with one handler, which is closed in the end."""
    yield fresh_logger(handler)
    handler.close()


@contextmanager
def handler_call(handler: logging.Handler) -> Iterator[Call]:
    """``info()`` on such a logger. `extra=` is cheaper than an adapter or a filter would be."""
    with logger_with(handler) as logger:
        yield partial(logger.info, MESSAGE, extra=EXTRA)


def formatted(handler: logging.Handler) -> logging.Handler:
    """The handler with the formatter of the line that all write."""
    handler.setFormatter(text_formatter())
    return handler


@contextmanager
def file_handler(path: Path) -> Iterator[Call]:
    """``logging.FileHandler``, which flushes each line."""
    with handler_call(formatted(logging.FileHandler(path, encoding="utf-8"))) as call:
        yield call


@contextmanager
def rotating_file_handler(path: Path) -> Iterator[Call]:
    """``RotatingFileHandler`` with the size and number of files that ``FileLogger`` has."""
    handler = RotatingFileHandler(
        path, maxBytes=MAX_BYTES, backupCount=BACKUP_COUNT, encoding="utf-8"
    )
    with handler_call(formatted(handler)) as call:
        yield call


FLAGS = ("logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks")


@contextmanager
def tuned_file_handler(path: Path) -> Iterator[Measure]:
    """``FileHandler`` without what the line doesn't show, as logging's "Optimization" advises.

    The switches are the whole process's, so they are off only while this is measured.
    """
    with file_handler(path) as call:

        def measure(count: int) -> float:
            before = {flag: getattr(logging, flag) for flag in FLAGS if hasattr(logging, flag)}
            _set_flags(dict.fromkeys(before, False))
            try:
                return repeat(call, count)
            finally:
                _set_flags(before)

        yield measure


def _set_flags(flags: dict[str, bool]) -> None:
    for flag, value in flags.items():
        setattr(logging, flag, value)


@contextmanager
def queue_handler(path: Path) -> Iterator[Measure]:
    """``QueueHandler`` and ``QueueListener`` before a ``FileHandler``, set up as documented."""
    queue: Queue[logging.LogRecord] = Queue(-1)
    file = formatted(logging.FileHandler(path, encoding="utf-8"))
    listener = QueueListener(queue, file)
    with handler_call(QueueHandler(queue)) as call:
        listener.start()
        yield partial(timed_to_the_end, call, queue.join)
        listener.stop()
    file.close()


def timed_to_the_end(call: Call, settle: Call, count: int) -> dict[str, float]:
    """Time calls by themselves, and until what they began has ended."""
    start = time.perf_counter()
    caller = repeat(call, count)
    settle()
    return {"caller": caller, "end to end": (time.perf_counter() - start) / count}


@contextmanager
def os_write(path: Path) -> Iterator[Call]:
    """One system call with a line that is there already: nothing that keeps it can be cheaper."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    yield partial(os.write, descriptor, LINE.encode())
    os.close(descriptor)


@contextmanager
def loguru_file(path: Path) -> Iterator[Call]:
    """loguru's file sink, without its inspection of errors; `bind()` once a task."""
    logger = importlib.import_module("loguru").logger
    logger.remove()
    logger.add(
        path,
        format="[{extra[task_id]}] [{extra[func]}] {time:YYYY-MM-DDTHH:mm:ss!UTC} {message}",
        level="INFO",
        colorize=False,
        backtrace=False,
        diagnose=False,
    )
    yield partial(logger.bind(task_id=TASK_ID, func=FUNCTION).info, MESSAGE)
    logger.remove()


def _as_line(_logger: object, _method: str, event: dict[str, Any]) -> str:
    return f"[{event['task_id']}] [{event['func']}] {event['timestamp']} {event['event']}"


@contextmanager
def structlog_file(path: Path) -> Iterator[Call]:
    """structlog as its "Performance" page advises: a filtering logger, cached, that writes."""
    structlog = importlib.import_module("structlog")
    with path.open("a", encoding="utf-8") as file:
        logger = structlog.wrap_logger(
            structlog.WriteLogger(file),
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            processors=[structlog.processors.TimeStamper(TIME_FORMAT, utc=True), _as_line],
            cache_logger_on_first_use=True,
        )
        yield partial(logger.bind(task_id=TASK_ID, func=FUNCTION).info, MESSAGE)
