"""FastAPI's ``BackgroundTasks``, managed: what an endpoint is given to enqueue tasks."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

from fastapi import BackgroundTasks
from fastapi.dependencies import utils as injection
from starlette.background import BackgroundTask
from starlette.types import ASGIApp, Receive, Scope, Send

from fastapi_taskflow.execution.execution import Execution


class Engine(Protocol):
    """What managed background tasks need of their manager."""

    def accept(
        self,
        call: object,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        tags: dict[str, str] | None,
        idempotency_key: str | None,
    ) -> tuple[str, Execution | None]:
        """Accept a task: its id, and what to run unless the key was used before."""

    async def enqueue(
        self,
        call: object,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        tags: dict[str, str] | None,
        idempotency_key: str | None,
    ) -> tuple[str, Execution | None]:
        """Accept a task, and wait until it is where it lasts."""

    def settle(self, task_id: str, execution: Execution | None) -> str:
        """Wait until what was accepted is where it lasts, unless that would hold up a loop.

        Returns the id of the task that has its idempotency key.
        """

    async def run(self, execution: Execution) -> None:
        """Run an accepted task to its end."""

    def discard(self, execution: Execution, reason: str) -> None:
        """Call off an accepted task, if it has not started."""


class ManagedTask(BackgroundTask):
    """One managed task in a list of background tasks. Its call never raises."""

    def __init__(self, engine: Engine, execution: Execution) -> None:
        function = execution.function
        # What super().__init__() sets, without its own look at what kind of function it is.
        vars(self).update(
            func=function.call,
            args=execution.args,
            kwargs=execution.kwargs,
            is_async=function.is_async,
        )
        self.engine = engine
        self.execution = execution

    async def __call__(self) -> None:
        """Run the task to its end."""
        await self.engine.run(self.execution)


class ManagedBackgroundTasks(BackgroundTasks):
    """Background tasks of one request, run after its response in the order of their addition.

    Args:
        engine: The manager's engine.
        tasks: Plain background tasks whose list to share, so that both run in order.
    """

    def __init__(self, engine: Engine, tasks: BackgroundTasks | None = None) -> None:
        super().__init__()
        if tasks is not None:
            self.tasks = tasks.tasks
        self.engine = engine

    def add_task(  # type: ignore[override]  # the id is what FastAPI's None is not
        self,
        func: Callable[..., Any],
        *args: Any,
        tags: dict[str, str] | None = None,
        idempotency_key: str | None = None,
        **kwargs: Any,
    ) -> str:
        """Enqueue a task, to run after the response.

        With a database it is committed before this returns, unless an event loop runs in this
        thread: then soon after, and before its body starts. ``enqueue()`` waits there, too.

        Args:
            func: A function, registered with the manager or not.
            *args: Its positional arguments.
            tags: Labels that the task's events and record carry.
            idempotency_key: While a task with this key is pending, runs, or has succeeded,
                no second one is enqueued.
            **kwargs: Its keyword arguments.

        Returns:
            The task's id; the first task's where the idempotency key is in use. On an event
            loop the first one of another process is not known yet: ``enqueue()`` waits for it.

        Raises:
            TaskArgumentError: It can't be called so, or the tags are no dict[str, str].
            LogFileError: The manager's log file can't be written.
            ShuttingDownError: The manager is shutting down.
        """
        task_id, execution = self.engine.accept(
            func, args, kwargs, tags=tags, idempotency_key=idempotency_key
        )
        if execution is not None:
            self.tasks.append(ManagedTask(self.engine, execution))
        return self.engine.settle(task_id, execution)

    async def enqueue(
        self,
        func: Callable[..., Any],
        *args: Any,
        tags: dict[str, str] | None = None,
        idempotency_key: str | None = None,
        **kwargs: Any,
    ) -> str:
        """Enqueue a task as ``add_task()`` does, and return once it is where it lasts.

        With a database that means that it is committed: whatever happens to the process
        then, the task is not forgotten. Without one it means nothing more.

        Args:
            func: A function, registered with the manager or not.
            *args: Its positional arguments.
            tags: Labels that the task's events and record carry.
            idempotency_key: While a task with this key is pending, runs, or has succeeded,
                no second one is enqueued.
            **kwargs: Its keyword arguments.

        Returns:
            The task's id; the first task's where the idempotency key is in use.

        Raises:
            StoreUnavailableError: The database has not taken it within ``store_timeout``; it
                is cancelled.
            TaskflowError: As ``add_task()``.
        """
        task_id, execution = await self.engine.enqueue(
            func, args, kwargs, tags=tags, idempotency_key=idempotency_key
        )
        if execution is not None:
            self.tasks.append(ManagedTask(self.engine, execution))
        return task_id

    def discard_unstarted(self, reason: str) -> None:
        """Cancel the managed tasks that nobody has started; plain ones stay."""
        for task in self.tasks:
            if isinstance(task, ManagedTask):
                task.engine.discard(task.execution, reason)


NEVER_RUN = (
    "the request ended without running its background tasks: "
    "it raised an error, or returned a response with background tasks of its own"
)

_request: ContextVar[_RequestTasks | None] = ContextVar("fastapi_taskflow_request", default=None)


class _RequestTasks:
    """The managed background tasks that were injected into one request."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._made: list[ManagedBackgroundTasks] = []

    def make(self) -> ManagedBackgroundTasks:
        tasks = ManagedBackgroundTasks(self._engine)
        self._made.append(tasks)
        return tasks

    def close(self) -> None:
        for tasks in self._made:
            tasks.discard_unstarted(NEVER_RUN)


class InjectedBackgroundTasks(BackgroundTasks):
    """Stands in for ``BackgroundTasks`` where FastAPI makes the one it injects.

    It gives managed ones in requests to an app that has them installed, and plain ones
    everywhere else.
    """

    def __new__(cls, *args: Any) -> Any:  # noqa: D102  # Any: never one of this class
        request = _request.get()
        return BackgroundTasks(*args) if request is None else request.make()


_INJECTED = "BackgroundTasks"
"""The name in ``fastapi.dependencies.utils`` that FastAPI makes injected tasks from."""


class InstallMiddleware:
    """Makes the plain ``BackgroundTasks`` annotation managed in the app it wraps.

    Args:
        app: The app.
        engine: The manager's engine.
    """

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self.app = app
        self.engine = engine
        # FastAPI has no hook for this. The name is looked up anew for each request, and what
        # stands there does nothing different for other apps of the process.
        setattr(injection, _INJECTED, InjectedBackgroundTasks)  # not typed as public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or whatever else the scope is."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = _RequestTasks(self.engine)
        token = _request.set(request)
        try:
            await self.app(scope, receive, send)
        finally:
            _request.reset(token)
            request.close()
