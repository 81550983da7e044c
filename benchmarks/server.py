"""``python -m benchmarks.server FLAVOUR LOGFILE``: a real server whose requests log in background.

It prints its port. Both flavours answer the same request, and log the same five lines.
"""

import logging
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import BackgroundTasks, Depends, FastAPI

from benchmarks.baselines import EXTRA, formatted, fresh_logger
from benchmarks.lines import FUNCTION, MESSAGE
from benchmarks.ours import WRITE
from fastapi_taskflow import FileLogger, ManagedBackgroundTasks, TaskManager

LINES = 5


def managed_app(path: Path) -> FastAPI:
    """The task is a manager's, and logs with ``task_log()``."""
    app = FastAPI()
    manager = TaskManager(loggers=[FileLogger(path)])
    manager.init_app(app)

    @manager.task(name=FUNCTION)
    def send_email() -> None:
        for _ in range(LINES):
            WRITE()

    @app.post("/")
    async def send(
        tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)],
    ) -> dict[str, bool]:
        tasks.add_task(send_email)
        return {"accepted": True}

    return app


def plain_app(path: Path) -> FastAPI:
    """The task is FastAPI's own, and logs with the standard library."""
    app = FastAPI()
    logger = fresh_logger(formatted(logging.FileHandler(path)))

    def send_email() -> None:
        for _ in range(LINES):
            logger.info(MESSAGE, extra=EXTRA)

    @app.post("/")
    async def send(tasks: BackgroundTasks) -> dict[str, bool]:
        tasks.add_task(send_email)
        return {"accepted": True}

    return app


FLAVOURS: dict[str, Callable[[Path], FastAPI]] = {
    "fastapi_taskflow": managed_app,
    "BackgroundTasks": plain_app,
}


def main(flavour: str, path: str) -> None:
    """Serve until a signal comes."""
    config = uvicorn.Config(FLAVOURS[flavour](Path(path)), access_log=False, log_level="warning")
    # asyncio sets TCP_NODELAY only where the protocol is named, and answers wait 40 ms without.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        print(listening.getsockname()[1], flush=True)
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main(*sys.argv[1:])
