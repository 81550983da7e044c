"""What a forked child begins anew: it has a copy of everything, but of one thread only."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Restarted(Protocol):
    """What has threads, what waits for them, or locks that one of them may have held."""

    def start_afresh(self) -> None:
        """Begin as if just made. No other thread runs, and no lock of the parent's counts."""


_living: weakref.WeakSet[Restarted] = weakref.WeakSet()


def restart_after_fork(thing: Restarted) -> None:
    """Have it begin anew in every child that is forked while it lives."""
    _living.add(thing)


def _after_fork() -> None:
    for thing in list(_living):
        thing.start_afresh()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
