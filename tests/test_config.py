"""The ready configuration: what it is made of, and where the records go once it is applied."""

from __future__ import annotations

import json
import logging
import logging.config
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from fastapi_taskflow import ConfigurationError
from fastapi_taskflow.cli.commands import app
from fastapi_taskflow.config import FORMATS, LOG_CONFIG_FILE, logging_config
from fastapi_taskflow.formatters import google_cloud
from fastapi_taskflow.formatters.json import PRESETS, TaskJsonFormatter
from fastapi_taskflow.handlers import TaskRotatingFileHandler

RunPython = Callable[..., "subprocess.CompletedProcess[str]"]

PROGRAM = """
import json, logging.config, sys
import uvicorn.config
from fastapi_taskflow import TaskManager, task_log
from fastapi_taskflow.config import logging_config

options, order = json.loads(sys.argv[1]), sys.argv[2]
logging.config.dictConfig(uvicorn.config.LOGGING_CONFIG)  # what uvicorn does by itself
uvicorn.config.LOGGING_CONFIG = None
other = logging.getLogger("other")

def send():
    task_log("sending", level="debug")
    other.info("other's, in the task")
    task_log("sent", to="ada")

def fail():
    raise OSError("gone")

manager = TaskManager() if order == "manager first" else None
logging.config.dictConfig(logging_config(**options))
manager = manager or TaskManager()

logging.warning("root's")
logging.getLogger("uvicorn").info("uvicorn's")
logging.getLogger("uvicorn.error").info("uvicorn.error's")
logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "::1", "GET", "/", "1.1", 200)
record = manager.run(send)
manager.run(fail)
other.info("other's, outside")
assert len(record.logs) == int(sys.argv[3]), record.logs
"""

TEXT = re.compile(r"\[(.{8}|-)\] \[([\w.]+)\] \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d (.*)")

ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Line(NamedTuple):
    """What a line tells, in whichever format."""

    source: str
    message: str
    in_task: bool


def read_text(line: str) -> Line:
    match = TEXT.fullmatch(line)
    assert match is not None, line
    message, _, _ = match[3].partition(r"\n")  # a traceback follows
    return Line(match[2], ID.sub("ID", message), match[1] != "-")


def read_json(line: str) -> Line:
    data = json.loads(line)
    source = data["func_name"] if "event" in data else data["logger"]
    return Line(source, ID.sub("ID", data["message"]), data.get("task_id", "-") != "-")


READERS = {"text": read_text, "json": read_json}

ROOTS = Line("root", "root's", in_task=False)
UVICORNS = [
    Line("uvicorn", "uvicorn's", in_task=False),
    Line("uvicorn.error", "uvicorn.error's", in_task=False),
]
ACCESS = Line("uvicorn.access", '::1 - "GET / HTTP/1.1" 200', in_task=False)
SENDING = Line("send", "sending", in_task=True)
OTHERS = Line("other", "other's, in the task", in_task=True)
SENT = Line("send", "sent", in_task=True)
OUTSIDE = Line("other", "other's, outside", in_task=False)


def is_lifecycle(line: Line) -> bool:
    return line.message.startswith("-- ")


def task_lines(func_name: str, *lines: Line) -> list[Line]:
    end = "SUCCESS" if func_name == "send" else "FAILED"
    running = Line(func_name, "-- RUNNING", in_task=True)
    return [running, *lines, Line(func_name, f"-- {end}", in_task=True)]


FAILED_ATTEMPT = Line(
    "fastapi_taskflow.execution", "Task fail [ID]: attempt 1 of 1 failed: gone", in_task=True
)
ALL = [
    ROOTS,
    *UVICORNS,
    ACCESS,
    *task_lines("send", OTHERS, SENT),
    *task_lines("fail", FAILED_ATTEMPT),
    OUTSIDE,
]

DESTINATIONS: dict[str, dict[str, Any]] = {
    "stdout": {},
    "file": {"stdout": False, "file": "logs/all.log"},
    "watched": {"stdout": False, "file": "logs/all.log", "file_mode": "watched"},
    "both": {"file": "logs/all.log"},
    "small": {"stdout": False, "file": "logs/all.log", "max_bytes": 0, "backup_count": 0},
}


@pytest.fixture
def lines_of(
    run_python: RunPython, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[Line]]:
    """Apply a configuration in a new process, and read the lines that the records became."""
    monkeypatch.chdir(tmp_path)

    def run(order: str = "configuration first", entries: int = 2, **options: Any) -> list[Line]:
        done = run_python(PROGRAM, json.dumps(options), order, str(entries))
        assert (done.returncode, done.stderr) == (0, "")
        streams = [done.stdout] if options.get("stdout", True) else []
        if "file" in options:
            streams.append(Path(options["file"]).read_text("utf-8"))
        assert streams[1:] in ([], streams[:1])
        read = READERS[options.get("format", "text")]
        return [read(line) for line in streams[0].splitlines()]

    return run


@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("format", FORMATS)
def test_every_record_is_one_line(
    lines_of: Callable[..., list[Line]], format: str, destination: str
) -> None:
    assert lines_of(format=format, **DESTINATIONS[destination]) == ALL


def test_status_changes_can_be_left_out(lines_of: Callable[..., list[Line]]) -> None:
    lines = lines_of(lifecycle=False, file="all.log")

    assert lines == [line for line in ALL if not is_lifecycle(line)]


@pytest.mark.parametrize("disable", [False, True], ids=["not disabling", "disabling"])
@pytest.mark.parametrize("order", ["configuration first", "manager first"])
def test_order_and_disabling_lose_none_of_a_tasks_records(
    lines_of: Callable[..., list[Line]], order: str, disable: bool
) -> None:
    lines = lines_of(order, disable_existing_loggers=disable)

    lost = [OTHERS, OUTSIDE] if disable else []
    assert lines == [line for line in ALL if line not in lost]


LEVELS: dict[str, tuple[dict[str, Any], list[Line]]] = {
    "debug": (
        {"level": "debug"},
        [
            ROOTS,
            *UVICORNS,
            ACCESS,
            *task_lines("send", SENDING, OTHERS, SENT),
            *task_lines("fail", FAILED_ATTEMPT),
            OUTSIDE,
        ],
    ),
    "warning": (
        {"level": "WARNING"},
        [ROOTS, FAILED_ATTEMPT, Line("fail", "-- FAILED", in_task=True)],
    ),
    "a number": (
        {"level": logging.ERROR},
        [Line("fail", "-- FAILED", in_task=True)],
    ),
    "a logger above root": (
        {"loggers": {"other": "warning", "uvicorn.access": "Error"}},
        [line for line in ALL if line not in (OTHERS, OUTSIDE, ACCESS)],
    ),
    "a logger below root": (
        {"level": "error", "loggers": {"other": "info"}},
        [OTHERS, Line("fail", "-- FAILED", in_task=True), OUTSIDE],
    ),
    "a function's status changes": (
        {"loggers": {"fastapi_taskflow.lifecycle.send": "warning"}},
        [line for line in ALL if line.source != "send" or not is_lifecycle(line)],
    ),
    "no access lines": ({"access_log": False}, [line for line in ALL if line != ACCESS]),
}


@pytest.mark.parametrize(("options", "expected"), LEVELS.values(), ids=LEVELS)
def test_levels_choose_the_lines(
    lines_of: Callable[..., list[Line]], options: dict[str, Any], expected: list[Line]
) -> None:
    lines = lines_of(**options)

    assert [line for line in lines if line.source != "asyncio"] == expected


@pytest.mark.parametrize(
    ("level", "entries"), [("debug", 2), ("info", 1), ("warning", 0)], ids=["debug", "info", "none"]
)
def test_a_level_of_a_function_filters_at_the_source(
    lines_of: Callable[..., list[Line]], level: str, entries: int
) -> None:
    """It counts below root's level as well, and for the task's own log."""
    loggers = {"fastapi_taskflow.task.send": level}

    lines = lines_of(entries=entries, level="warning", loggers=loggers)

    shown = [line for line in lines if line.source == "send"]
    assert shown == [SENDING, SENT][2 - entries :]


def test_without_uvicorn_its_loggers_stay_as_they_are(run_python: RunPython) -> None:
    options = json.dumps({"uvicorn": False})

    done = run_python(PROGRAM, options, "manager first", "2")

    access = 'INFO:     ::1 - "GET / HTTP/1.1" 200 OK\n'
    assert done.stderr == "INFO:     uvicorn's\nINFO:     uvicorn.error's\n"
    assert done.stdout.count(access) == 1
    lines = [read_text(line) for line in done.stdout.replace(access, "").splitlines()]
    assert lines == [line for line in ALL if line not in (*UVICORNS, ACCESS)]


@pytest.mark.parametrize("preset", PRESETS)
def test_each_preset_gives_one_object_a_line(run_python: RunPython, preset: str) -> None:
    options = json.dumps({"format": "json", "preset": preset})
    record = logging.LogRecord("root", logging.WARNING, "app.py", 1, "root's", (), None)

    done = run_python(PROGRAM, options, "configuration first", "2")

    objects = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr, len(objects)) == (0, "", len(ALL))
    for line, fields in zip(ALL, objects, strict=True):
        assert line.message in {ID.sub("ID", str(value)) for value in fields.values()}
    names = json.loads(TaskJsonFormatter(preset=preset).format(record)).keys()
    assert names <= objects[0].keys()


TWO_ROADS = """
import logging.config, sys
from fastapi_taskflow import StdoutLogger, TaskManager, task_log
from fastapi_taskflow.config import logging_config

logging.config.dictConfig(logging_config())
TaskManager(loggers=[StdoutLogger()], propagate=sys.argv[1] == "True").run(task_log, "hello")
"""


@pytest.mark.parametrize(("propagate", "times"), [(True, 2), (False, 1)])
def test_an_observer_is_a_second_road(run_python: RunPython, propagate: bool, times: int) -> None:
    done = run_python(TWO_ROADS, str(propagate))

    messages = [read_text(line).message for line in done.stdout.splitlines()]
    assert messages.count("hello") == times


@pytest.fixture
def apply() -> Iterator[Callable[..., list[logging.Handler]]]:
    """Apply a configuration in this process; its handlers."""

    def apply(**options: Any) -> list[logging.Handler]:
        logging.config.dictConfig(logging_config(**options))
        return logging.root.handlers

    yield apply

    logging.config.dictConfig({"version": 1})


def test_a_logger_that_is_named_is_in_the_stream_whatever_was_before(
    apply: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    barred = logging.getLogger("barred")
    barred.propagate = False
    barred.addHandler(logging.StreamHandler(sys.stdout))

    apply(loggers={"barred": "info"})
    barred.info("hello")

    lines = [read_text(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [Line("barred", "hello", in_task=False)]


def test_a_file_is_rolled_as_asked(apply: Callable[..., Any], tmp_path: Path) -> None:
    handlers = apply(stdout=False, file=tmp_path / "all.log", max_bytes=1000, backup_count=2)

    (handler,) = handlers
    assert isinstance(handler, TaskRotatingFileHandler)
    assert (handler.maxBytes, handler.backupCount) == (1000, 2)


def test_a_watched_file_is_left_to_others_to_roll(
    apply: Callable[..., Any], tmp_path: Path
) -> None:
    log = tmp_path / "all.log"
    apply(stdout=False, file=log, file_mode="watched")

    logging.warning("before")  # noqa: LOG015  # what root's handlers do is the point
    log.rename(tmp_path / "old.log")
    logging.warning("after")  # noqa: LOG015

    assert [read_text(line).message for line in log.read_text().splitlines()] == ["after"]


COMBINED: dict[str, Any] = {
    "format": "json",
    "preset": "ecs",
    "file": Path("logs") / "all.log",
    "max_bytes": 1000,
    "backup_count": 2,
    "lifecycle": False,
    "level": "DEBUG",
    "loggers": {"a": "warning", "uvicorn.access": logging.ERROR},
    "access_log": False,
    "disable_existing_loggers": True,
}


@pytest.mark.parametrize(
    "options",
    [{}, *DESTINATIONS.values(), COMBINED, {"loggers": {}, "uvicorn": False}],
    ids=["none", *DESTINATIONS, "many", "empty"],
)
def test_a_configuration_has_only_what_json_has(options: dict[str, Any]) -> None:
    config = logging_config(**options)

    assert json.loads(json.dumps(config)) == config


def test_a_configuration_is_new_at_each_call() -> None:
    config = logging_config(file="all.log")
    for part in ("handlers", "loggers", "filters", "formatters"):
        for entry in config[part].values():
            entry["filters"] = entry.pop("filters", [])
            entry["filters"].append("mine")
        config[part].clear()
    config["root"]["handlers"].append("mine")

    assert "mine" not in json.dumps(logging_config(file="all.log"))
    assert logging_config(file="all.log")["handlers"].keys() == {"stdout", "file"}


def test_the_handlers_of_a_configuration_share_nothing() -> None:
    config = logging_config(file="all.log")

    config["handlers"]["stdout"]["filters"].append("mine")

    assert config["handlers"]["file"]["filters"] == ["context"]


@pytest.mark.parametrize(
    ("level", "written"),
    [("Info", "INFO"), (40, "ERROR"), ("notice", 25), (25, 25)],
    ids=["name", "number", "registered name", "registered number"],
)
def test_a_level_is_written_as_every_process_knows_it(level: str | int, written: str | int) -> None:
    logging.addLevelName(25, "Notice")

    config = logging_config(level=level, loggers={"a": level})

    assert config["root"]["level"] == config["loggers"]["a"]["level"] == written


LEVEL_NAMES = ["'debug'", "'info'", "'warning'", "'error'", "'critical'"]

BAD: list[tuple[str, list[object], list[str]]] = [
    ("format", ["xml", "", "JSON", None, []], ["format", "'text', 'json'"]),
    ("preset", ["elastic", "", None, {}], ["preset", "'default', 'ecs', 'otel', 'gcp'"]),
    ("preset", ["ecs"], ["preset", "'default'", "format", "'json'"]),
    ("file", ["", b"a.log", 3, True, ["a.log"]], ["file", "os.PathLike"]),
    ("file_mode", ["roll", "", "a", None, []], ["file_mode", "'rotate', 'watched'"]),
    ("max_bytes", [-1, 1.5, "10", None, True], ["max_bytes", "whole number"]),
    ("backup_count", [-1, 1.5, "10", None, True], ["backup_count", "whole number"]),
    ("level", ["loud", "", "20", "notset", None, 0, 15, True, []], ["level", *LEVEL_NAMES]),
    ("stdout", [False], ["stdout", "True", "file"]),
    ("loggers", [["a"], "a", 1, {1: "info"}, {None: "info"}], ["loggers", "names", "levels"]),
    ("loggers", [{"": "info"}, {"root": "info"}], ["loggers", "`level`"]),
    ("loggers", [{"a": "info", "b": "loud"}, {"b": None}], ["loggers['b']", *LEVEL_NAMES]),
]


@pytest.mark.parametrize(
    ("parameter", "value", "words"),
    [
        pytest.param(parameter, value, words, id=f"{parameter}={value!r}")
        for parameter, values, words in BAD
        for value in values
    ],
)
def test_a_wrong_value_is_an_error_that_lists_the_right_ones(
    parameter: str, value: object, words: list[str]
) -> None:
    format = "json" if parameter == "preset" and value != "ecs" else "text"
    options: dict[str, Any] = {"format": format, parameter: value}

    with pytest.raises(ConfigurationError) as caught:
        logging_config(**options)

    assert [word for word in words if word not in str(caught.value)] == []


def test_the_file_shipped_is_what_the_command_prints() -> None:
    shipped = LOG_CONFIG_FILE.read_text("utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "fastapi_taskflow", "logging-config"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert json.loads(shipped) == logging_config()
    assert done.stdout == shipped


def print_config(options: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["logging-config", *options.split()])
    return done.exit_code, done.output


ASKED: dict[str, dict[str, Any]] = {
    "": {},
    "--file all.log --file-mode watched --no-uvicorn": {
        "file": "all.log",
        "file_mode": "watched",
        "uvicorn": False,
    },
    "--format json --preset gcp --no-stdout --file all.log --max-bytes 1 --backup-count 2 "
    "--no-lifecycle --level DEBUG --logger a.b=info --logger c=Error --no-access-log "
    "--disable-existing-loggers": {
        "format": "json",
        "preset": "gcp",
        "stdout": False,
        "file": "all.log",
        "max_bytes": 1,
        "backup_count": 2,
        "lifecycle": False,
        "level": "debug",
        "loggers": {"a.b": "info", "c": "error"},
        "access_log": False,
        "disable_existing_loggers": True,
    },
}


@pytest.mark.parametrize(("options", "asked"), ASKED.items(), ids=["none", "some", "the others"])
def test_the_command_prints_what_its_options_ask_for(options: str, asked: dict[str, Any]) -> None:
    code, printed = print_config(options)

    assert (code, json.loads(printed)) == (0, logging_config(**asked))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--format xml", ["--format='xml'", "'text', 'json'"]),
        ("--preset ecs", ["--preset='ecs'", "'default'"]),
        ("--file-mode roll", ["--file-mode='roll'", "'rotate', 'watched'"]),
        ("--max-bytes -1", ["--max-bytes=-1", "whole number"]),
        ("--backup-count x", ["--backup-count"]),
        ("--no-stdout", ["--stdout=False", "a file"]),
        ("--level loud", ["--level='loud'", *LEVEL_NAMES]),
        ("--logger my_app=loud", ["--logger['my_app']='loud'", *LEVEL_NAMES]),
        ("--logger my_app", ["--logger='my_app'", "NAME=LEVEL"]),
        ("--logger =info", ["--logger='=info'", "NAME=LEVEL"]),
    ],
)
def test_a_wrong_option_is_a_usage_error(options: str, words: list[str]) -> None:
    code, printed = print_config(options)

    assert code == 2
    assert [word for word in words if word not in " ".join(printed.split())] == []


@pytest.mark.parametrize(
    "name", ["stdout", "lifecycle", "uvicorn", "access_log", "disable_existing_loggers"]
)
def test_what_is_neither_true_nor_false_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}='no'"):
        logging_config(**{name: "no"})  # type: ignore[arg-type]  # the point


def test_a_preset_of_ones_own_goes_in_as_it_is(tmp_path: Path) -> None:
    preset = google_cloud("shop-1234")

    config = logging_config(format="json", preset=preset, file=tmp_path / "a.log", stdout=False)

    assert config["formatters"]["line"]["preset"] is preset
    logging.config.dictConfig(config)
    logging.getLogger("shop").warning("hello")
    assert json.loads((tmp_path / "a.log").read_text())["severity"] == "WARNING"
