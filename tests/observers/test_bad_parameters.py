"""Every wrong parameter is an error at construction that names it, its value, the right ones."""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastapi_taskflow import (
    ConfigurationError,
    FileLogger,
    InMemoryLogger,
    ObserverHandler,
    StdoutLogger,
    TaskflowError,
    TaskFormatter,
    TaskManager,
    TaskObserver,
)

LEVELS = ["debug", "info", "warning", "error", "critical"]
BAD_LEVELS: list[object] = ["loud", "", "20", "notset", None, 0, -10, 15, 20.0, True, b"info", []]
BAD_MODES: list[object] = ["roll", "ROTATE", "", "a", "w", None, 1, b"rotate", []]
BAD_FORMATTERS: list[object] = ["xml", "", "TEXT", None, 1, TaskFormatter, {}, "%(message)s"]
BAD_SIZES: list[object] = [-1, 1.5, "10", None, True, float("nan"), float("inf"), [], b"1"]
BAD_PATHS: list[object] = ["", None, 3, b"tasks.log", ["tasks.log"], True, object()]


def make_file(**options: Any) -> FileLogger:
    return FileLogger(options.pop("path", "tasks.log"), **options)


def make_manager(**options: Any) -> TaskManager:
    return TaskManager(**{"log_file": "tasks.log", **options})


def make_handler(**options: Any) -> ObserverHandler:
    return ObserverHandler(options.pop("observer", TaskObserver()), **options)


def make_leveled(**options: Any) -> TaskManager:
    return TaskManager(loggers=[type("Leveled", (TaskObserver,), options)()])


def make_late_leveled(**options: Any) -> TaskManager:
    observer = TaskObserver()
    vars(observer).update(options)
    return TaskManager(loggers=[observer])


CASES: list[tuple[Callable[..., object], str, list[object], list[str]]] = [
    (make_file, "path", BAD_PATHS, ["path"]),
    (make_file, "max_bytes", BAD_SIZES, ["whole number", "0"]),
    (make_file, "backup_count", BAD_SIZES, ["whole number", "0"]),
    (make_file, "mode", BAD_MODES, ["'rotate'", "'watched'"]),
    (make_file, "min_level", BAD_LEVELS, LEVELS),
    (make_file, "formatter", BAD_FORMATTERS, ["'text'", "'json'", "Formatter"]),
    (StdoutLogger, "min_level", BAD_LEVELS, LEVELS),
    (StdoutLogger, "formatter", BAD_FORMATTERS, ["'text'", "'json'", "Formatter"]),
    (InMemoryLogger, "min_level", BAD_LEVELS, LEVELS),
    (InMemoryLogger, "capacity", [0, *(bad for bad in BAD_SIZES if bad is not None)], ["1"]),
    (make_handler, "queue_size", [0, *BAD_SIZES], ["whole number", "1"]),
    (make_handler, "timeout", [0, -1.0, "30", True, float("nan"), float("inf"), []], ["0 seconds"]),
    (make_handler, "observer", [None, object(), "x", print, 3], ["TaskObserver", "on_log"]),
    (make_leveled, "min_level", [bad for bad in BAD_LEVELS if bad is not None], LEVELS),
    (make_late_leveled, "min_level", ["loud", True], LEVELS),
    (make_manager, "log_file", [bad for bad in BAD_PATHS if bad is not None], ["path"]),
    (make_manager, "log_file_max_bytes", BAD_SIZES, ["whole number", "0"]),
    (make_manager, "log_file_backup_count", BAD_SIZES, ["whole number", "0"]),
    (make_manager, "log_file_mode", BAD_MODES, ["'rotate'", "'watched'"]),
    (make_manager, "max_concurrent_tasks", [0, -1, 1.5, "10", True], ["whole number", "1"]),
    (make_manager, "max_sync_threads", [0, -1, 1.5, "10", True], ["whole number", "1"]),
    (make_manager, "shutdown_timeout", [-1, "10", True, None, float("nan")], ["0 seconds"]),
    (make_manager, "drain_timeout", [-1, "10", True, None, float("nan")], ["0 seconds"]),
]


@pytest.mark.parametrize(
    ("make", "parameter", "value", "right"),
    [
        pytest.param(make, parameter, value, right, id=f"{make.__name__}-{parameter}-{value!r:.20}")
        for make, parameter, values, right in CASES
        for value in values
    ],
)
def test_a_wrong_value_is_refused_with_the_right_ones(
    make: Callable[..., object], parameter: str, value: object, right: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make(**{parameter: value})

    message = str(caught.value)
    assert re.match(rf"{parameter}=", message)
    assert repr(value) in message
    for word in right:
        assert word in message.split("expected", 1)[1]


@pytest.mark.parametrize(
    ("loggers", "culprit"),
    [
        pytest.param([object], "object", id="a class"),
        pytest.param([TaskObserver], "TaskObserver", id="an observer's class"),
        pytest.param([None], "None", id="None"),
        pytest.param(["no.such.observer", 3], "", id="text"),
        pytest.param([InMemoryLogger(), 3], "3", id="a number after an observer"),
        pytest.param([[InMemoryLogger()]], "InMemoryLogger", id="a list in the list"),
        pytest.param([print], "print", id="a function"),
        pytest.param(InMemoryLogger(), "InMemoryLogger", id="no list"),
        pytest.param("tasks.log", "'tasks.log'", id="a path"),
        pytest.param(b"tasks.log", "b'tasks.log'", id="bytes"),
        pytest.param(7, "7", id="no iterable"),
    ],
)
def test_what_is_no_observer_is_refused_by_the_manager(loggers: Any, culprit: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TaskManager(loggers=loggers)

    assert str(caught.value).startswith("loggers=")
    assert culprit in str(caught.value)
    for word in ("FileLogger", "StdoutLogger", "InMemoryLogger", "TaskObserver"):
        assert word in str(caught.value).split("expected", 1)[1]


def test_a_class_in_place_of_an_observer_is_refused_by_its_handler() -> None:
    with pytest.raises(ConfigurationError, match=r"observer=.*TaskObserver"):
        ObserverHandler(TaskObserver)  # type: ignore[arg-type]  # the mistake


def test_a_wrong_mode_is_refused_even_where_it_has_no_effect() -> None:
    with pytest.raises(ConfigurationError, match=r"log_file_mode='roll'.*'rotate', 'watched'"):
        TaskManager(log_file_mode="roll")


@pytest.mark.parametrize("call", [FileLogger, StdoutLogger, InMemoryLogger, ObserverHandler])
def test_options_are_given_by_name_only(call: Callable[..., object]) -> None:
    with pytest.raises(TypeError):
        call("tasks.log", "info")


def test_a_configuration_error_is_a_value_error_and_one_of_ours() -> None:
    with pytest.raises(ValueError, match="mode") as caught:
        FileLogger("tasks.log", mode="roll")

    assert isinstance(caught.value, TaskflowError)


@pytest.mark.parametrize("value", ["INFO", "Info", 20, logging.INFO, "WARN", "fatal"], ids=repr)
def test_a_level_is_a_name_in_any_case_or_a_number_of_the_standard_library(value: Any) -> None:
    for make in (make_file, StdoutLogger, InMemoryLogger, make_leveled):
        make(min_level=value)


def test_a_registered_level_is_a_level_and_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    for table in ("_nameToLevel", "_levelToName"):  # there is no public way back
        monkeypatch.setattr(logging, table, dict(getattr(logging, table)))
    logging.addLevelName(25, "NOTICE")

    StdoutLogger(min_level="notice")

    with pytest.raises(ConfigurationError, match="'info', 'notice', 'warning'"):
        StdoutLogger(min_level="loud")


def test_a_manager_without_a_file_needs_no_current_directory(
    tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """A deployment may have replaced the directory that the process was started in."""
    program = """
import os, sys
from fastapi_taskflow import TaskManager
os.chdir(sys.argv[1])
os.rmdir(sys.argv[1])
TaskManager()
"""
    folder = tmp_path / "gone"
    folder.mkdir()

    outcome = run_python(program, str(folder))

    assert (outcome.stderr, outcome.returncode) == ("", 0)


def test_construction_touches_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    TaskManager(log_file="logs/tasks.log", loggers=[FileLogger(tmp_path / "x" / "y.log")])

    assert list(tmp_path.iterdir()) == []
