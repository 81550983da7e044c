"""The web face of a manager, mounted on an app."""

from __future__ import annotations

from fastapi import FastAPI

from fastapi_taskflow.background import InstallMiddleware
from fastapi_taskflow.checks import yes_or_no
from fastapi_taskflow.errors import ConfigurationError, ConfigurationTypeError
from fastapi_taskflow.manager import TaskManager

_PATHS = "fastapi_taskflow_paths"
"""Where an app's state remembers which paths are taken."""


class TaskAdmin:
    """Puts a manager on an app: its routes, and its start and stop with the app.

    Works with ``FastAPI(lifespan=...)`` and without, whether the app's own routes are
    declared before or after.

    Args:
        app: The app.
        task_manager: The manager.
        path: Where its routes are, such as ``/tasks``.
        auto_install: Whether endpoints with the plain ``BackgroundTasks`` annotation are
            given managed background tasks too.
        read_only: Whether to leave out the routes that change something. Whoever reaches the
            others can cancel, repeat and delete tasks: guarding them is the app's part.

    Raises:
        ConfigurationError: The app or the manager is none, or the path is none or taken.
    """

    def __init__(
        self,
        app: FastAPI,
        task_manager: TaskManager,
        *,
        path: str = "/tasks",
        auto_install: bool = False,
        read_only: bool = False,
    ) -> None:
        if not isinstance(app, FastAPI):
            raise ConfigurationTypeError("app", app, "a FastAPI app")
        if not isinstance(task_manager, TaskManager):
            raise ConfigurationTypeError("task_manager", task_manager, "a TaskManager")
        if not str(path).startswith("/") or path.endswith("/"):
            expected = 'a path that begins with "/" and does not end with it, such as "/tasks"'
            raise ConfigurationError("path", path, expected)
        yes_or_no("read_only", read_only)
        taken: set[str] = getattr(app.state, _PATHS, set())
        if path in taken:
            expected = "a path of its own: another manager's routes are there"
            raise ConfigurationError("path", path, expected)
        # The models of what routes answer are made as they are imported, which takes its time.
        from fastapi_taskflow.admin import actions, routes, stream  # noqa: PLC0415  # late, so

        setattr(app.state, _PATHS, taken | {path})
        self.app = app
        self.task_manager = task_manager
        self.path = path
        app.include_router(stream.stream_route(task_manager), prefix=path)
        app.include_router(actions.audit_route(task_manager), prefix=path)  # before /{task_id}
        app.include_router(routes.task_routes(task_manager), prefix=path)
        if not read_only:
            app.include_router(actions.action_routes(task_manager), prefix=path)
        task_manager.init_app(app)
        if auto_install:
            app.add_middleware(InstallMiddleware, engine=task_manager.engine)


__all__ = ["TaskAdmin"]
