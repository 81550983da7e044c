"""JSON lines by either encoder: formatted alone, and written to a file."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.baselines import logger_with
from benchmarks.lines import FUNCTION, MESSAGE, TASK_ID, Shape
from benchmarks.ours import WRITE, in_task, task_log_to
from benchmarks.works import Call, Measure, Work, repeat
from benchmarks.written import calls, writes
from fastapi_taskflow import TaskJsonFormatter, TaskManager

ANY_FORMAT = Shape()

EXTRA: dict[str, object] = {
    "task_id": f"{TASK_ID}-0000-4000-8000-000000000000",
    "func_name": FUNCTION,
    "attempt": 0,
    "seq": 1,
    "tags": {},
}
"""The fields of our line that python-json-logger doesn't fill by itself."""


def their_formatter(encoder: str) -> logging.Formatter:
    """python-json-logger's own formatter with the fields that ours has.

    Args:
        encoder: "json" or "orjson".
    """
    module = importlib.import_module(f"pythonjsonlogger.{encoder}")
    name = {"json": "JsonFormatter", "orjson": "OrjsonFormatter"}[encoder]
    made: logging.Formatter = getattr(module, name)(
        "%(levelname)s %(name)s %(message)s", timestamp=True, static_fields={"event": "log"}
    )
    return made


def _their_file(encoder: str, path: Path) -> Iterator[Call]:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(their_formatter(encoder))
    with logger_with(handler) as logger:
        yield partial(logger.info, MESSAGE, extra=EXTRA)


class _Keeper(logging.Handler):
    """Keeps the last log entry that it was given."""

    kept: logging.LogRecord

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, unless it tells of a status change."""
        if record.getMessage() == MESSAGE:
            self.kept = record


def _record_of_a_task() -> logging.LogRecord:
    keeper = _Keeper()
    in_task(TaskManager(loggers=[keeper]), partial(repeat, WRITE))(1)
    return keeper.kept


def _formatted_by(make: Callable[[], logging.Formatter]) -> Work:
    """A task's record made a line, again and again, without a file."""

    @contextmanager
    def work(_folder: Path) -> Iterator[Measure]:
        call = partial(make().format, _record_of_a_task())
        if MESSAGE not in call():
            raise AssertionError(call())
        yield partial(repeat, call)

    return work


def json_works(encoder: str) -> Mapping[str, Work]:
    """Both sides with one encoder: "json" or "orjson"."""
    ours, theirs = partial(TaskJsonFormatter, encoder=encoder), partial(their_formatter, encoder)

    @contextmanager
    def our_file(path: Path) -> Iterator[Measure]:
        with task_log_to(formatter=ours())(
            path
        ) as measure:  # made here: the encoder may be missing
            yield measure

    return {
        "task_log": writes(our_file, shape=ANY_FORMAT),
        "python-json-logger": calls(
            contextmanager(partial(_their_file, encoder)), shape=ANY_FORMAT
        ),
        "TaskJsonFormatter.format": _formatted_by(ours),
        "python-json-logger's format()": _formatted_by(theirs),
    }
