"""A coroutine taken by steps: one that has nothing to wait for is done in the first."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any


class Rest:
    """What is left of a coroutine after its first step.

    Args:
        coroutine: The coroutine.
        waited: What it waits for.
    """

    __slots__ = ("_coroutine", "_waited")

    def __init__(self, coroutine: Coroutine[Any, Any, object], waited: Any) -> None:
        self._coroutine = coroutine
        self._waited = waited

    @types.coroutine
    def run(self) -> Generator[Any, Any, None]:
        """Run it to its end. A cancellation meanwhile is the coroutine's, as by an ``await``."""
        coroutine, waited = self._coroutine, self._waited
        try:
            while True:
                try:
                    sent = yield waited
                except BaseException as error:  # noqa: BLE001  # whatever it is, it is its own
                    waited = coroutine.throw(error)
                else:
                    waited = coroutine.send(sent)
        except StopIteration:
            return


def begin(awaitable: Awaitable[object]) -> Rest | None:
    """Take the first step of a coroutine, in the asyncio task that runs.

    Most of what is awaited for each event never waits for anything. To set a timer for it, and
    take it away again, would cost ten times what it does itself; here it is known by the first
    step whether there is need of one.

    Returns:
        What is left; None where nothing is.

    Raises:
        BaseException: What the coroutine raised in that step.
    """
    coroutine = awaitable if isinstance(awaitable, types.CoroutineType) else _awaited(awaitable)
    try:
        return Rest(coroutine, coroutine.send(None))
    except StopIteration:
        return None


async def _awaited(awaitable: Awaitable[object]) -> None:
    await awaitable
