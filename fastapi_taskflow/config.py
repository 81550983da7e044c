"""A ready logging configuration: tasks, the app and uvicorn in one stream, by strings alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi_taskflow.checks import one_of, whole_number, yes_or_no
from fastapi_taskflow.errors import ConfigurationError, ConfigurationTypeError
from fastapi_taskflow.formatters.json import PRESETS
from fastapi_taskflow.formatters.preset import Preset
from fastapi_taskflow.levels import Level, level_name, level_number
from fastapi_taskflow.loggers.file import BACKUP_COUNT, MAX_BYTES, MODES

LOG_CONFIG_FILE = Path(__file__).with_name("log_config.json")
"""``logging_config()`` as a file, for ``uvicorn --log-config``."""

FORMATS = ("text", "json")

_KNOWN_EVERYWHERE = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def logging_config(
    *,
    format: str = "text",
    preset: str | Preset = "default",
    stdout: bool = True,
    file: str | os.PathLike[str] | None = None,
    max_bytes: int = MAX_BYTES,
    backup_count: int = BACKUP_COUNT,
    file_mode: str = "rotate",
    lifecycle: bool = True,
    level: Level = "info",
    loggers: Mapping[str, Level] | None = None,
    uvicorn: bool = True,
    access_log: bool = True,
    disable_existing_loggers: bool = False,
) -> dict[str, Any]:
    """A dict for ``logging.config.dictConfig``, or as JSON for ``uvicorn --log-config``.

    It sets up root, so that the records of tasks, of the app and of every library come in one
    stream. A record of any library that was made inside a task carries the task's id. The
    dict is new at each call, and has only what JSON has: change it as you like.

    This is the pipeline of the process, and a manager's observers are a second road beside it,
    each with its own levels. With a ``StdoutLogger`` *and* ``stdout=True`` here, each event of
    a task is two lines; ``TaskManager(propagate=False)`` keeps tasks out of the pipeline.

    Args:
        format: "text" for people, or "json", one object a line.
        preset: The names of the JSON fields: "default", "ecs" (Elastic Common Schema), "otel"
            (OpenTelemetry's log data model) or "gcp" (Google Cloud), or a ``Preset``, such as
            ``google_cloud("my-project")``, with which the dict is not for a file any more.
        stdout: Whether lines go to standard output.
        file: A file that lines go to, beside standard output or instead of it. A relative
            path is taken from the directory of the process that is configured.
        max_bytes: The size in bytes at which the file is rolled; 0 means none. Not used with
            ``file_mode="watched"``.
        backup_count: How many rolled files to keep; with 0 the file is never rolled. Not used
            with ``file_mode="watched"``.
        file_mode: "rotate" to roll the file here, "watched" where logrotate or the like does.
        lifecycle: Whether status changes get a line.
        level: Root's level, and so that of every logger which has none of its own.
        loggers: Levels by logger name, such as ``{"fastapi_taskflow.task.noisy": "warning"}``
            for one function's entries. A level on ``fastapi_taskflow.task`` or below is a
            filter at the source: observers and the task's own log don't get the rest either.
        uvicorn: Whether uvicorn's records come in the same stream, whatever was set before;
            otherwise its loggers stay as they are.
        access_log: Whether requests get a line. Not used with ``uvicorn=False``.
        disable_existing_loggers: Whether loggers that exist already, and aren't named here,
            are silenced. This library's never are.

    Raises:
        ConfigurationError: A value that can't be used, or neither stdout nor a file.
    """
    for name, choice in (
        ("stdout", stdout),
        ("lifecycle", lifecycle),
        ("uvicorn", uvicorn),
        ("access_log", access_log),
        ("disable_existing_loggers", disable_existing_loggers),
    ):
        yes_or_no(name, choice)
    filters = _filters(lifecycle=lifecycle)
    handlers = {
        **_stdout_handler(wanted=stdout),
        **_file_handler(_file_name(file), max_bytes, backup_count, file_mode),
    }
    if not handlers:
        raise ConfigurationError("stdout", stdout, "True, or a file")
    known = _uvicorn_loggers(access_log=access_log) if uvicorn else {}
    return {
        "version": 1,
        "disable_existing_loggers": disable_existing_loggers,
        "formatters": {"line": _formatter(format, preset)},
        "filters": filters,
        "handlers": {
            name: {**handler, "formatter": "line", "filters": [*filters]}
            for name, handler in handlers.items()
        },
        "loggers": _with_levels(known, loggers),
        "root": {"level": _level("level", level), "handlers": [*handlers]},
    }


def _formatter(format: str, preset: str | Preset) -> dict[str, Any]:
    one_of("format", format, FORMATS)
    if not isinstance(preset, Preset):
        one_of("preset", preset, tuple(PRESETS))
    chosen = {} if preset == "default" else {"preset": preset}
    if format == "json":
        return {"()": "fastapi_taskflow.formatters.TaskJsonFormatter", **chosen}
    if chosen:
        raise ConfigurationError("preset", preset, "'default', unless format is 'json'")
    return {"()": "fastapi_taskflow.formatters.TaskFormatter"}


def _filters(*, lifecycle: bool) -> dict[str, Any]:
    context = {"()": "fastapi_taskflow.filters.TaskContextFilter"}
    if lifecycle:
        return {"context": context}
    return {
        "no_lifecycle": {"()": "fastapi_taskflow.filters.NoLifecycleFilter"},
        "context": context,
    }


def _stdout_handler(*, wanted: bool) -> dict[str, Any]:
    return {"stdout": {"class": "fastapi_taskflow.handlers.TaskStreamHandler"}} if wanted else {}


def _file_handler(name: str | None, max_bytes: int, backup_count: int, mode: str) -> dict[str, Any]:
    one_of("file_mode", mode, MODES)
    sizes = {
        "maxBytes": whole_number("max_bytes", max_bytes),
        "backupCount": whole_number("backup_count", backup_count),
    }
    if name is None:
        return {}
    if mode == "watched":
        kind = "fastapi_taskflow.handlers.TaskWatchedFileHandler"
        return {"file": {"class": kind, "filename": name}}
    kind = "fastapi_taskflow.handlers.TaskRotatingFileHandler"
    return {"file": {"class": kind, "filename": name, **sizes}}


def _file_name(file: object) -> str | None:
    expected = "the path of a file, as str or os.PathLike, or None"
    if file is None:
        return None
    name = os.fspath(file) if isinstance(file, os.PathLike) else file
    if not isinstance(name, str):
        raise ConfigurationTypeError("file", file, expected)
    if not name:
        raise ConfigurationError("file", file, expected)
    return name


def _uvicorn_loggers(*, access_log: bool) -> dict[str, dict[str, Any]]:
    """Uvicorn's loggers, without the handlers, levels and barriers of its own configuration.

    It makes no access line where neither their logger nor one above it has a handler.
    """
    loggers: dict[str, dict[str, Any]] = {
        name: {"level": "NOTSET", "propagate": True}
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access")
    }
    loggers["uvicorn.access"]["propagate"] = access_log
    return loggers


def _with_levels(known: Mapping[str, dict[str, Any]], levels: object) -> dict[str, dict[str, Any]]:
    expected = "a mapping of logger names to levels, without root, whose level is `level`"
    if not isinstance(levels, Mapping | None):
        raise ConfigurationTypeError("loggers", levels, expected)
    loggers = {**known}
    for name, level in (levels or {}).items():
        if not isinstance(name, str):
            raise ConfigurationTypeError("loggers", levels, expected)
        if name in ("", "root"):
            raise ConfigurationError("loggers", levels, expected)
        number = _level(f"loggers[{name!r}]", level)
        loggers[name] = {"propagate": True, **loggers.get(name, {}), "level": number}
    return loggers


def _level(parameter: str, level: object) -> str | int:
    """The level's name, or its number where another process may not know the name."""
    number = level_number(level, parameter=parameter)
    name = level_name(number).upper()
    return name if name in _KNOWN_EVERYWHERE else number
