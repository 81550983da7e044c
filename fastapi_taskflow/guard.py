"""Which errors are failures of somebody else's code, and which are not for us to keep."""

from __future__ import annotations

import asyncio


def let_pass(error: BaseException, *, awaited: bool = False) -> None:
    """Raise an error again that is no failure of whoever raised it; return for all others.

    ``SystemExit`` and ``CancelledError`` are failures here: raised by a handler or a body,
    they are no word to the process or to the task around it.

    Args:
        error: What was raised.
        awaited: Whether it came out of an ``await``: there ``GeneratorExit`` means that the
            coroutine is being closed.
    """
    if isinstance(error, KeyboardInterrupt) or (awaited and isinstance(error, GeneratorExit)):
        raise error


def is_cancelled() -> bool:
    """Whether the asyncio task that asks is being cancelled from outside."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
