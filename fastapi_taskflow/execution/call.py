"""One attempt: the function called in its place, within its time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi_taskflow.errors import TaskTimeoutError
from fastapi_taskflow.execution.options import TaskFunction
from fastapi_taskflow.execution.threads import WorkerThreads


class BodyEndedError(Exception):
    """A body in a thread raised an error.

    It is carried, not raised again: a coroutine can't raise ``StopIteration``, and
    ``KeyboardInterrupt`` would end the event loop, though Ctrl-C never reaches that thread.

    Args:
        error: What it raised.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


async def call_function(
    function: TaskFunction,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    threads: WorkerThreads,
) -> Any:
    """Call a task's function once and give what it returns.

    A body in a thread that exceeds its time is no longer awaited; it runs on to its end.

    Raises:
        TaskTimeoutError: It took longer than its ``timeout``.
        BodyEndedError: It raised an error in a thread.
        BaseException: Whatever it raises on the event loop.
    """
    timeout = function.options.timeout
    call = partial(function.call, *args, **kwargs)
    try:
        async with asyncio.timeout(timeout) as limit:
            result = await (_in_thread(call, threads) if function.in_thread else call())
        if timeout is not None and limit.expired():  # the body hid its cancellation
            raise TaskTimeoutError(function.name, timeout)
        return result
    except TaskTimeoutError:
        raise
    except TimeoutError as error:
        if timeout is None or not limit.expired():
            raise
        raise TaskTimeoutError(function.name, timeout) from error


async def _in_thread(call: Callable[[], Any], threads: WorkerThreads) -> Any:
    outcome = await threads.submit(partial(_run, call))
    if outcome.error is not None:
        raise BodyEndedError(outcome.error)
    return outcome.result


def _run(call: Callable[[], Any]) -> Any:
    """Call a function in a worker thread; what it returns to be awaited is awaited there."""
    result = call()
    return asyncio.run(_completed(result)) if inspect.isawaitable(result) else result


async def _completed(awaitable: Any) -> Any:
    return await awaitable
