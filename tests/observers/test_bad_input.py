"""Bad input to observers: an error at construction that names parameter, value and right values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fastapi_taskflow import (
    ConfigurationError,
    FileLogger,
    InMemoryLogger,
    ObserverHandler,
    StdoutLogger,
    TaskManager,
    TaskObserver,
)

NOT_AN_OBSERVER: Any = object()
NOT_A_SIZE: Any = "10"
NOT_A_PATH: Any = 7
NOT_A_LIST: Any = StdoutLogger()
PATHS: Any = ["tasks.log"]
CLASSES: Any = [TaskObserver]

CASES: dict[str, tuple[Callable[[], object], list[str]]] = {
    "file level": (lambda: FileLogger("x", min_level="loud"), ["min_level='loud'", "'debug'"]),
    "file mode": (
        lambda: FileLogger("x", mode="append"),
        ["mode='append'", "'rotate'", "'watched'"],
    ),
    "file formatter": (
        lambda: FileLogger("x", formatter="xml"),
        ["formatter='xml'", "'text'", "'json'", "logging.Formatter"],
    ),
    "file size": (lambda: FileLogger("x", max_bytes=-1), ["max_bytes=-1", "0 or more"]),
    "file size kind": (lambda: FileLogger("x", max_bytes=NOT_A_SIZE), ["max_bytes='10'"]),
    "file backups": (lambda: FileLogger("x", backup_count=-2), ["backup_count=-2", "0 or more"]),
    "file path kind": (lambda: FileLogger(NOT_A_PATH), ["path=7", "path of a file"]),
    "file path empty": (lambda: FileLogger(""), ["path=''", "path of a file"]),
    "stdout level": (lambda: StdoutLogger(min_level=17), ["min_level=17", "'info'"]),
    "stdout formatter": (lambda: StdoutLogger(formatter=""), ["formatter=''", "'text'"]),
    "memory level": (lambda: InMemoryLogger(min_level=""), ["min_level=''", "'critical'"]),
    "memory capacity": (lambda: InMemoryLogger(capacity=0), ["capacity=0", "1 or more"]),
    "queue": (lambda: ObserverHandler(TaskObserver(), queue_size=0), ["queue_size=0", "1 or more"]),
    "timeout": (lambda: ObserverHandler(TaskObserver(), timeout=0), ["timeout=0", "more than 0"]),
    "no observer": (lambda: ObserverHandler(NOT_AN_OBSERVER), ["observer=", "on_log"]),
    "loggers entry": (
        lambda: TaskManager(loggers=PATHS),
        ["loggers='tasks.log'", "FileLogger"],
    ),
    "loggers class": (lambda: TaskManager(loggers=CLASSES), ["loggers=", "FileLogger"]),
    "loggers single": (lambda: TaskManager(loggers=NOT_A_LIST), ["loggers=", "a list"]),
    "log_file mode": (
        lambda: TaskManager(log_file="x", log_file_mode="w"),
        ["mode='w'", "'watched'"],
    ),
    "log_file size": (lambda: TaskManager(log_file="x", log_file_max_bytes=-1), ["max_bytes=-1"]),
    "tasks at once": (lambda: TaskManager(max_concurrent_tasks=0), ["max_concurrent_tasks=0"]),
    "threads": (lambda: TaskManager(max_sync_threads=-1), ["max_sync_threads=-1", "1 or more"]),
    "shutdown": (lambda: TaskManager(shutdown_timeout=-1), ["shutdown_timeout=-1", "0 seconds"]),
    "drain": (lambda: TaskManager(drain_timeout=NOT_A_SIZE), ["drain_timeout='10'"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_value_is_refused_at_construction(case: str) -> None:
    make, says = CASES[case]

    with pytest.raises(ConfigurationError) as caught:
        make()

    assert all(part in str(caught.value) for part in says), caught.value


class Loud(TaskObserver):
    min_level = "loud"


def test_a_wrong_min_level_of_an_observer_is_refused_by_the_manager() -> None:
    with pytest.raises(ConfigurationError, match="min_level='loud'"):
        TaskManager(loggers=[Loud()])


def test_a_wrong_type_is_a_type_error_and_a_value_error() -> None:
    with pytest.raises(TypeError) as caught:
        TaskManager(loggers=NOT_A_LIST)

    assert isinstance(caught.value, ValueError)


def test_a_bad_directory_is_refused_at_the_first_task_before_anything_runs(tmp_path: Any) -> None:
    ran: list[int] = []
    manager = TaskManager(log_file=tmp_path)

    with pytest.raises(OSError, match=r"path=.* can't be written: Is a directory; expected a file"):
        manager.run(ran.append, 1)

    assert ran == []
