"""What the observers' tests share: time that is given."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

import pytest


class _SkippingSelector(selectors.DefaultSelector):
    """Where nothing is ready, time jumps to the next timer instead of passing."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(None if timeout is None else 0)
        if not ready and timeout is not None:
            self.now += max(timeout, 0.0)
        return ready


class _SkippingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now


@pytest.fixture
def run_skipping() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine on a loop whose clock jumps over waits, so that an hour takes no time.

    Nothing in it may wait for a thread. What would wait forever fails, an hour later.
    """

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=_SkippingLoop) as runner:
            return runner.run(asyncio.wait_for(main, 3600))

    return run
