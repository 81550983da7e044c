"""An observer's ``startup()`` and ``close()``, run so that neither can hurt or hold anyone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fastapi_taskflow.errors import TaskflowError
from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.loggers.ledger import Ledger

HOOK_TIMEOUT = 10.0
"""Seconds that a hook may take."""


async def run_hook(
    hook: Callable[[], Awaitable[None]], ledger: Ledger, doing: str, *, ours: bool = False
) -> None:
    """Run a hook; what it raises is counted and reported, and so is one that takes too long.

    One that does not even end when it is cancelled is left behind.

    Args:
        hook: What to run.
        ledger: Whose figures it goes into.
        doing: What it does, for the report.
        ours: Whether it is a built-in observer's.

    Raises:
        TaskflowError: A built-in observer can't do its work: that is the user's to know.
    """
    task = asyncio.ensure_future(_outcome(hook))
    try:
        await asyncio.wait({task}, timeout=HOOK_TIMEOUT)
    finally:
        task.cancel()
    error = task.result() if task.done() else TimeoutError(f"not done in {HOOK_TIMEOUT:g} s")
    if ours and isinstance(error, TaskflowError):
        raise error
    if error is not None:
        ledger.fail(error, doing)


async def _outcome(hook: Callable[[], Awaitable[None]]) -> BaseException | None:
    """What a hook raised, as a value: a task must not end with SystemExit."""
    here = asyncio.current_task()
    try:
        await hook()
    except BaseException as error:  # noqa: BLE001  # see let_pass
        let_pass(error, within=here)
        return error
    return None
