"""One attempt: the function called in its place, within its time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

from fastapi_taskflow.errors import TaskTimeoutError
from fastapi_taskflow.execution.failure import RemoteTraceback
from fastapi_taskflow.execution.options import TaskFunction
from fastapi_taskflow.execution.threads import Outcome, WorkerThreads


class BodyEndedError(Exception):
    """A body in a thread, or in a worker process, raised an error.

    It is carried, not raised again: a coroutine can't raise ``StopIteration``, and
    ``KeyboardInterrupt`` would end the event loop, though Ctrl-C never reaches that thread.

    Args:
        error: What it raised.
        remote: The traceback of that, where it comes from a worker process.
    """

    def __init__(self, error: BaseException, remote: RemoteTraceback | None = None) -> None:
        super().__init__()
        self.error = error
        self.remote = remote


class Limit(NamedTuple):
    """A limit on the time of a call that is under way.

    Attributes:
        seconds: How long it may take.
        clock: What ends it then.
    """

    seconds: float
    clock: asyncio.Timeout


async def call_function(
    function: TaskFunction, call: Callable[[Limit | None], Awaitable[Any]]
) -> Any:
    """Call a task's function once and give what it returns.

    Args:
        function: The function.
        call: Makes the call in its place, within a limit that is set, if there is one.

    Raises:
        TaskTimeoutError: It took longer than its ``timeout``.
        BodyEndedError: It raised an error in a thread, or in a worker process.
        BaseException: Whatever it raises on the event loop.
    """
    timeout = function.options.timeout
    if timeout is None:
        return await call(None)
    try:
        async with asyncio.timeout(timeout) as clock:
            result = await call(Limit(timeout, clock))
        if clock.expired():  # the body hid its cancellation
            raise TaskTimeoutError(function.name, timeout)
        return result
    except TaskTimeoutError:
        raise
    except TimeoutError as error:
        if not clock.expired():
            raise
        raise TaskTimeoutError(function.name, timeout) from error


async def in_thread(call: Callable[[], Any], threads: WorkerThreads) -> Any:
    """Make a call in a worker thread. It is not awaited after its time, but runs to its end.

    Raises:
        BodyEndedError: It raised an error.
    """
    return result_of(await threads.submit(partial(run_body, call)))


def result_of(outcome: Outcome) -> Any:
    """What a body returned.

    Raises:
        BodyEndedError: It raised an error.
    """
    if outcome.error is not None:
        raise BodyEndedError(outcome.error, outcome.remote)
    return outcome.result


def run_body(call: Callable[[], Any]) -> Any:
    """Call a function off the event loop; what it returns to be awaited is awaited there."""
    result = call()
    return asyncio.run(_completed(result)) if inspect.isawaitable(result) else result


async def _completed(awaitable: Any) -> Any:
    return await awaitable
