"""The commands of ``fastapi-taskflow``."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from fastapi_taskflow.cli.demo import Demo

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
