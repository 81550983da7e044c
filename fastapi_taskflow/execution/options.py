"""How a task function is run: its options, checked once, when they are given."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fastapi_taskflow.checks import Seconds, number, one_of, seconds, whole_number, yes_or_no
from fastapi_taskflow.errors import (
    ConfigurationError,
    ConfigurationTypeError,
    TaskArgumentError,
)
from fastapi_taskflow.execution.callables import is_async, is_generator, name_of, surely_fits

EXECUTORS: tuple[str, ...] = ("async", "thread", "process")
if sys.platform == "win32":  # worker processes inherit a socket, and get signals
    EXECUTORS = ("async", "thread")


RetryOn = type[BaseException] | tuple[type[BaseException], ...]
"""The errors after which a task is tried again."""


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """How a task function is run. Times are in seconds.

    Attributes:
        retries: How often a failed attempt is tried again.
        delay: The wait before the first retry.
        backoff: The factor by which each further wait grows.
        jitter: The most that is added to each wait, at random.
        max_delay: The longest wait, jitter aside; None means no limit.
        retry_on: The errors after which it is tried again; others fail the task at once.
        timeout: The longest that one attempt may take; None means no limit.
        executor: "async" on the event loop, "thread" in a worker thread, "process" in a worker
            process; None chooses one of the first two by the function's kind.
        log_prints: Whether what it prints becomes log entries; None leaves it to the manager.
        persist: Whether it runs in another process if its own dies before it has begun.
        requeue_on_interrupt: Whether it runs again if it was interrupted.
    """

    retries: int = 0
    delay: float = 0.0
    backoff: float = 1.0
    jitter: float = 0.0
    max_delay: float | None = None
    retry_on: RetryOn = Exception
    timeout: float | None = None
    executor: str | None = None
    log_prints: bool | None = None
    persist: bool = False
    requeue_on_interrupt: bool = False


def make_options(
    *,
    retries: int,
    delay: Seconds,
    backoff: float,
    jitter: Seconds,
    max_delay: Seconds | None,
    retry_on: RetryOn,
    timeout: Seconds | None,
    executor: str | None,
    log_prints: bool | None,
    persist: bool,
    requeue_on_interrupt: bool,
) -> TaskOptions:
    """Check options as callers give them.

    Raises:
        ConfigurationError: One of them can't be used; the message names it and the right values.
    """
    _check_retry_on(retry_on)
    if executor is not None:
        one_of("executor", executor, EXECUTORS)
    return TaskOptions(
        retries=whole_number("retries", retries),
        delay=seconds("delay", delay),
        backoff=number("backoff", backoff),
        jitter=seconds("jitter", jitter),
        max_delay=None if max_delay is None else seconds("max_delay", max_delay),
        retry_on=retry_on,
        timeout=None if timeout is None else seconds("timeout", timeout, positive=True),
        executor=executor,
        log_prints=None if log_prints is None else yes_or_no("log_prints", log_prints),
        persist=yes_or_no("persist", persist),
        requeue_on_interrupt=yes_or_no("requeue_on_interrupt", requeue_on_interrupt),
    )


def _check_retry_on(retry_on: object) -> None:
    kinds = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        expected = "an exception class, or a tuple of them"
        raise ConfigurationTypeError("retry_on", retry_on, expected)


@dataclass(frozen=True)
class TaskFunction:
    """A function with the name and options that it runs under.

    Attributes:
        call: The function.
        name: The name of its tasks, and the last part of its loggers' names.
        options: How it is run.
        is_async: Whether a call makes a coroutine.
    """

    call: Callable[..., Any]
    name: str
    options: TaskOptions
    is_async: bool

    @property
    def in_thread(self) -> bool:
        """Whether it runs in a worker thread."""
        executor = self.options.executor
        return not self.is_async if executor is None else executor == "thread"

    @property
    def in_process(self) -> bool:
        """Whether it runs in a worker process."""
        return self.options.executor == "process"

    @cached_property
    def signature(self) -> inspect.Signature | None:
        """The function's signature; None for a built-in one that has none."""
        try:
            return inspect.signature(self.call)
        except (TypeError, ValueError):
            return None

    def check_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Check that the function can be called so.

        Raises:
            TaskArgumentError: It can't; the message says why.
        """
        if surely_fits(self.call, args, kwargs) or self.signature is None:
            return
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TaskArgumentError(self.name, f"{error}; it takes {self.signature}") from error


def make_function(call: object, options: TaskOptions, name: str | None = None) -> TaskFunction:
    """Put a function, its name and its options together.

    Raises:
        TaskArgumentError: It is not callable.
        ConfigurationError: The name is empty, or the executor doesn't suit the function.
    """
    if not callable(call):
        raise TaskArgumentError(repr(call), "expected a function or another callable")
    if name is not None and (not isinstance(name, str) or not name.strip()):  # type: ignore[redundant-expr]  # unless it isn't checked
        raise ConfigurationError("name", name, "a text that is not empty, or None")
    if is_generator(call):
        raise TaskArgumentError(name_of(call), "it is a generator function: a call runs nothing")
    function = TaskFunction(call, name or name_of(call), options, is_async(call))
    if options.executor == "async" and not function.is_async:
        expected = (
            "'thread', 'process' or None: the function is not async and would block the event loop"
        )
        raise ConfigurationError("executor", options.executor, expected)
    return function
