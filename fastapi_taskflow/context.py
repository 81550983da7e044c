"""Which task is running here: one context variable, read wherever a record is born."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from fastapi_taskflow.errors import ConfigurationTypeError

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class TaskContext:
    """The task that the calling code belongs to.

    Attributes:
        task_id: The task's UUID.
        func_name: The task's function.
        attempt: Zero-based index of the attempt.
        tags: The tags given when the task was enqueued.
    """

    task_id: str
    func_name: str
    attempt: int
    tags: dict[str, str] = field(default_factory=dict)


class ContextCarrier(Protocol):
    """What the context variable holds: something that knows its task's context."""

    @property
    def context(self) -> TaskContext:
        """The context of the attempt that is running."""


active_task: ContextVar[ContextCarrier | None] = ContextVar("fastapi_taskflow_task", default=None)


def get_task_context() -> TaskContext | None:
    """The context of the task that calls this, or None outside a task.

    Right in async bodies and what they await or gather, in sync bodies, and in
    ``asyncio.to_thread``. A thread or an executor of one's own starts without it, unless
    it is given a function from ``bind_task_context()``.
    """
    carrier = active_task.get()
    return None if carrier is None else carrier.context


def bind_task_context(fn: Callable[P, R]) -> Callable[P, R]:
    """A function that runs in the task, and all other context variables, of now.

    For threads and executors, which start without: ``executor.submit(bind_task_context(work))``.
    It may be called any number of times, also at once from several threads; each call gets
    a copy of the context, so what it sets there stays its own. Outside a task it binds
    just that.

    Args:
        fn: A function, or one that gives a coroutine, which then runs as an asyncio task.

    Raises:
        ConfigurationTypeError: It is not callable, or a generator function, whose body would
            run outside.
    """
    is_generator = _is(inspect.isgeneratorfunction, fn) or _is(inspect.isasyncgenfunction, fn)
    if is_generator or not callable(fn):
        raise ConfigurationTypeError("fn", fn, "a function or a coroutine function")
    context = copy_context()

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        own = context.copy()
        result = own.run(fn, *args, **kwargs)
        return cast("R", _as_task(result, own)) if inspect.iscoroutine(result) else result

    @functools.wraps(fn)
    async def call_async(*args: P.args, **kwargs: P.kwargs) -> Any:
        return await cast("Any", call(*args, **kwargs))

    is_async = _is(inspect.iscoroutinefunction, fn)
    return cast("Callable[P, R]", call_async) if is_async else call


async def _as_task(coroutine: Coroutine[Any, Any, Any], context: Context) -> Any:
    return await asyncio.create_task(coroutine, context=context)


def _is(kind: Callable[[object], bool], fn: object) -> bool:
    """Whether a callable is of a kind, itself or by its ``__call__``."""
    return kind(fn) or kind(getattr(type(fn), "__call__", None))  # noqa: B004  # not whether
