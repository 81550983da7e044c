"""A coroutine taken by steps: one that has nothing to wait for is done in the first."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any


class Steps:
    """A coroutine that has begun, in the asyncio task that runs.

    Most of what is awaited for each event never waits for anything. To set a timer for it, and
    take it away again, would cost ten times what it does itself; here it is known by the first
    step whether there is need of one.

    Attributes:
        are_done: Whether it has ended by the first step.

    Raises:
        BaseException: What the coroutine raised in that step.
    """

    __slots__ = ("_coroutine", "_waited", "are_done")

    def __init__(self, awaitable: Awaitable[object]) -> None:
        self._coroutine: Coroutine[Any, Any, None] = _awaited(awaitable)
        self._waited: Any = None
        try:
            self._waited = self._coroutine.send(None)
        except StopIteration:
            self.are_done = True
        else:
            self.are_done = False

    @types.coroutine
    def rest(self) -> Generator[Any, Any, None]:
        """What is left. A cancellation meanwhile is the coroutine's, as by an ``await``."""
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


async def _awaited(awaitable: Awaitable[object]) -> None:
    await awaitable
