"""Which task is running here: one context variable, read wherever a record is born."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from fastapi_taskflow.errors import ConfigurationTypeError

P = ParamSpec("P")
R = TypeVar("R")


class _Signal:
    """Whether a task was cancelled: one for all its attempts."""

    __slots__ = ("is_set",)

    def __init__(self) -> None:
        self.is_set = False


_NEVER = _Signal()
"""What a context has that was copied, or is in another process."""


class _Told:
    """Holds the signal, which is no field: it counts neither for equality nor in a copy."""

    __slots__ = ("_signal",)

    _signal: _Signal


@dataclass(frozen=True, slots=True)
class TaskContext(_Told):
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

    def __post_init__(self) -> None:
        """Have a signal of one's own."""
        object.__setattr__(self, "_signal", _Signal())

    @property
    def cancelled(self) -> bool:
        """Whether the task was cancelled, as it is now: a body in a thread looks, and returns.

        In a worker process, which is ended, it stays False.
        """
        return getattr(self, "_signal", _NEVER).is_set


def next_attempt(context: TaskContext) -> TaskContext:
    """The context of the attempt after this one. Whoever has this one is told with it."""
    following = replace(context, attempt=context.attempt + 1)
    object.__setattr__(following, "_signal", context._signal)  # noqa: SLF001  # this module's
    return following


def tell_cancelled(context: TaskContext) -> None:
    """Tell all who have this context, or one of another attempt, that the task is cancelled."""
    context._signal.is_set = True  # noqa: SLF001  # this module's


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
