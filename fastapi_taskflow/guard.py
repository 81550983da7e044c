"""Which errors are failures of somebody else's code, and which are not for us to keep."""

from __future__ import annotations

import asyncio
from typing import Any


def let_pass(error: BaseException, *, within: asyncio.Task[Any] | None = None) -> None:
    """Raise an error again that is no failure of whoever raised it; return for all others.

    ``SystemExit`` and ``CancelledError`` are failures here: raised by a handler or a body,
    they are no word to the process or to the task around it.

    Args:
        error: What was raised.
        within: The asyncio task in which it came out of an ``await``. There ``GeneratorExit``
            means that the coroutine is being closed, unless the task is just running.
    """
    if isinstance(error, KeyboardInterrupt):
        raise error
    if isinstance(error, GeneratorExit) and within is not None and _running_task() is not within:
        raise error


def _running_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop is running: the garbage collector is
        return None


def is_cancelled() -> bool:
    """Whether the asyncio task that asks is being cancelled from outside."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
