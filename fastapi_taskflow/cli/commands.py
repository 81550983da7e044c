"""The commands of ``fastapi-taskflow``."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from fastapi_taskflow.cli.demo import Demo
from fastapi_taskflow.config import FORMATS, logging_config
from fastapi_taskflow.errors import ConfigurationError
from fastapi_taskflow.formatters.json import PRESETS
from fastapi_taskflow.levels import known_levels
from fastapi_taskflow.loggers.file import BACKUP_COUNT, MAX_BYTES, MODES

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text, for people and pipes alike
)

WHERE = """
fastapi_taskflow demo

  give it a file    curl -T README.md {url}/files/
  its tasks         {url}/tasks
  figures           {url}/tasks/metrics
  the log file      tail -f {directory}/tasks.log
  stop it           Ctrl-C

One task hashes the file in a thread, one counts its words on the event loop, one
succeeds at its third attempt, and one fails for good. Their lines follow.
"""


@app.callback()
def main() -> None:
    """Managed background tasks for FastAPI."""


@app.command()
def demo(
    context: typer.Context,
    *,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Where to listen.", min=1, max=65535)] = 8000,
    directory: Annotated[
        Path | None,
        typer.Option(
            help="For the log, the database and the uploads; a new temporary one by default.",
            file_okay=False,
        ),
    ] = None,
    once: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Run the tasks on this file, print their lines, and exit.",
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ] = None,
) -> None:
    """Serve an app whose background tasks digest the files you give it."""
    place = (directory or Path(tempfile.mkdtemp(prefix="taskflow-demo-"))).absolute()
    demo = Demo(place)
    if once is not None:
        asyncio.run(demo.digest(once.absolute()))
        return
    _check_free(host, port)
    typer.echo(WHERE.format(url=f"http://{host}:{port}", directory=place))
    uvicorn.run(demo.make_app(context.obj), host=host, port=port, log_level="warning")


def _check_free(host: str, port: int) -> None:
    """Refuse an address that can't be listened on before anybody is sent there."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise typer.BadParameter(f"{host}:{port}: {reason}; choose another --port") from error


@app.command("logging-config")
def print_logging_config(
    *,
    format: Annotated[
        str, typer.Option(metavar="|".join(FORMATS), help="Lines for people, or JSON objects.")
    ] = "text",
    preset: Annotated[
        str, typer.Option(metavar="|".join(PRESETS), help="The names of the JSON fields.")
    ] = "default",
    stdout: Annotated[bool, typer.Option(help="Write lines to standard output.")] = True,
    file: Annotated[str | None, typer.Option(help="Write lines to this file.")] = None,
    max_bytes: Annotated[int, typer.Option(help="Roll the file at this size.")] = MAX_BYTES,
    backup_count: Annotated[int, typer.Option(help="Keep this many rolled files.")] = BACKUP_COUNT,
    file_mode: Annotated[
        str, typer.Option(metavar="|".join(MODES), help="Roll the file here, or elsewhere.")
    ] = "rotate",
    lifecycle: Annotated[bool, typer.Option(help="Write a line for a status change.")] = True,
    level: Annotated[
        str, typer.Option(metavar="|".join(known_levels()), help="Root's level.")
    ] = "info",
    logger: Annotated[
        list[str] | None, typer.Option(metavar="NAME=LEVEL", help="A logger's level; repeatable.")
    ] = None,
    uvicorn: Annotated[bool, typer.Option(help="Take uvicorn's lines in.")] = True,
    access_log: Annotated[bool, typer.Option(help="Write a line for a request.")] = True,
    disable_existing_loggers: Annotated[
        bool, typer.Option(help="Silence loggers that exist already and aren't named.")
    ] = False,
) -> None:
    """Print a logging configuration as JSON, for uvicorn's --log-config."""
    try:
        config = logging_config(
            format=format,
            preset=preset,
            stdout=stdout,
            file=file,
            max_bytes=max_bytes,
            backup_count=backup_count,
            file_mode=file_mode,
            lifecycle=lifecycle,
            level=level,
            loggers=dict(_logger_level(pair) for pair in logger or ()),
            uvicorn=uvicorn,
            access_log=access_log,
            disable_existing_loggers=disable_existing_loggers,
        )
    except ConfigurationError as error:
        raise typer.BadParameter(_in_options_words(error)) from error
    typer.echo(json.dumps(config, indent=2))


def _logger_level(pair: str) -> tuple[str, str]:
    name, _, level = pair.rpartition("=")
    if not name:
        raise ConfigurationError("loggers", pair, "NAME=LEVEL")
    return name, level


def _in_options_words(error: ConfigurationError) -> str:
    """What an error says, of the option in place of the parameter."""
    name, bracket, key = error.parameter.partition("[")
    option = {"loggers": "logger"}.get(name, name).replace("_", "-")
    return str(error.renamed(f"--{option}{bracket}{key}"))
