"""The demo: an app that takes files, and a manager whose tasks digest them."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request

from fastapi_taskflow.background import ManagedBackgroundTasks
from fastapi_taskflow.cli.work import archive_file, count_words, hash_file, verify_signature
from fastapi_taskflow.loggers import FileLogger, StdoutLogger
from fastapi_taskflow.manager import TaskManager

MAX_NAME = 200
"""Bytes of the longest file name taken: the file system's limit, less what is put behind it."""


class Demo:
    """The demo's manager and what it works on.

    Args:
        directory: Where the log, the database and the uploads go.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manager = TaskManager(
            snapshot_db=directory / "tasks.db",
            loggers=[
                FileLogger(directory / "tasks.log", log_lifecycle=True, min_level="debug"),
                StdoutLogger(log_lifecycle=True),
            ],
        )
        self.manager.task()(hash_file)
        self.manager.task(timeout=60.0)(count_words)
        self.manager.task(retries=2, delay=0.5, backoff=2.0)(archive_file)
        self.manager.task(retries=1, delay=0.2)(verify_signature)

    def steps(self, path: Path) -> list[tuple[Callable[..., Any], tuple[Path, ...]]]:
        """The tasks for one file, in order: a function each, and its arguments."""
        return [
            (hash_file, (path,)),
            (count_words, (path,)),
            (archive_file, (path, self.directory / "archive")),
            (verify_signature, (path,)),
        ]

    async def digest(self, path: Path) -> None:
        """Run the tasks for one file, and stop."""
        async with self.manager:
            for function, arguments in self.steps(path):
                await self.manager.execute(function, *arguments, tags={"file": path.name})

    def make_app(self, mount: Callable[[FastAPI, TaskManager], object]) -> FastAPI:
        """The app: a place for files, and the manager's routes.

        Args:
            mount: Puts the manager on the app.
        """
        app = FastAPI(title="fastapi_taskflow demo", docs_url=None, redoc_url=None)
        mount(app, self.manager)
        uploads = self.directory / "uploads"
        get_tasks = self.manager.get_tasks

        @app.get("/")
        async def where(request: Request) -> dict[str, str]:
            """Say where to look."""
            base = str(request.base_url)
            return {
                "give it a file": f"curl -T README.md {base}files/",
                "tasks": f"{base}tasks",
                "figures": f"{base}tasks/metrics",
            }

        @app.put("/files/{name}", status_code=202)
        async def upload(
            name: str,
            request: Request,
            tasks: Annotated[ManagedBackgroundTasks, Depends(get_tasks)],
        ) -> dict[str, list[str]]:
            """Take a file, and enqueue the tasks that digest it."""
            path = uploads / name
            if not _is_file_name(name):
                raise HTTPException(400, f"{name!r} is no plain file name")
            if request.headers.get("content-type", "").startswith("multipart/"):
                raise HTTPException(415, "send the file itself, as `curl -T FILE` does, no form")
            await _save(request, path)
            ids = [
                tasks.add_task(function, *arguments, tags={"file": name})
                for function, arguments in self.steps(path)
            ]
            return {"task_ids": ids}

        return app


def _is_file_name(name: str) -> bool:
    if name in (".", "..") or Path(name).name != name or "\0" in name:
        return False
    return len(name.encode()) <= MAX_NAME


async def _save(request: Request, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:  # a demo's small writes, chunk by chunk
        async for chunk in request.stream():
            file.write(chunk)
