"""What a forked child begins anew: it has a copy of everything, but of one thread only."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol


class Restarted(Protocol):
    """What has threads, what waits for them, or locks that one of them may have held."""

    def start_afresh(self) -> None:
        """Begin as if just made. No other thread runs, and no lock of the parent's counts."""


class _Lineage:
    """Which process this is, told sooner than by its id.

    Attributes:
        forks: How many forks lie between it and the one that imported this module.
    """

    forks = 0


lineage = _Lineage()
_living: weakref.WeakSet[Restarted] = weakref.WeakSet()
_left: list[object] = []
_last: list[Callable[[], None]] = []


def restart_after_fork(thing: Restarted) -> None:
    """Have it begin anew in every child that is forked while it lives."""
    _living.add(thing)


def leave_to_parent(*things: object) -> None:
    """Keep things of the parent's from being taken apart in the child: they are in use there."""
    _left.extend(things)


def run_at_child_end(function: Callable[[], None]) -> None:
    """Have a function called where a child ends of which the interpreter's exit knows nothing.

    That is the end of a child of ``multiprocessing``, and of one that ``ChildEnds`` ends.
    """
    _last.append(function)


class ForkGate:
    """A block in which no other thread of the process forks, unless the block takes long.

    It is for what a child could not begin anew: locks of a C library, which a thread of the
    parent's would hold in the child for ever.
    """

    def __init__(self) -> None:
        self.start_afresh()
        restart_after_fork(self)
        _gates.add(self)

    def start_afresh(self) -> None:
        """Have nobody in it."""
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._closed, GATE_SECONDS)
            self._inside += 1

    def __exit__(self, *exc_info: object) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in, and wait until nobody is in it any more."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._inside, GATE_SECONDS)

    def open(self) -> None:
        """Let everybody in again."""
        with self._changed:
            self._closed = False
            self._changed.notify_all()


_gates: weakref.WeakSet[ForkGate] = weakref.WeakSet()


def _close_gates() -> None:
    for gate in list(_gates):
        gate.close()


def _open_gates() -> None:
    for gate in list(_gates):
        gate.open()


class ChildEnds:
    """A block that a child forked in it doesn't come out of: what is around it is the parent's.

    It ends as a child of ``multiprocessing`` does, by ``os._exit()``.
    """

    __slots__ = ("_forks",)

    def __enter__(self) -> None:
        self._forks = lineage.forks

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if lineage.forks != self._forks:
            _end(error)


def _end(error: BaseException | None) -> None:
    status = 0 if error is None else 1
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        sys.excepthook(type(error), error, error.__traceback__)
    try:
        _run_last()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    finally:
        os._exit(status)


def _run_last() -> None:
    for function in _last:
        function()


def _after_fork() -> None:
    lineage.forks += 1
    for thing in list(_living):
        thing.start_afresh()
    _listen_to_multiprocessing()


def _listen_to_multiprocessing() -> None:
    """Have a child of ``multiprocessing`` do at its end what ``atexit`` does elsewhere.

    It forgets finalizers that it was forked with, and then calls what is registered for that.
    """
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.register_after_fork(lineage, _finalize)


def _finalize(_: object) -> None:
    util: Any = sys.modules["multiprocessing.util"]
    # Before its queues close: a handler of the user's may put records in one.
    util.Finalize(lineage, _run_last, exitpriority=FIRST)


GATE_SECONDS = 1.0
"""How long a fork waits for blocks that it had better not be in."""

FIRST = 100
"""Higher than any priority in ``multiprocessing`` itself."""


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=_close_gates, after_in_parent=_open_gates, after_in_child=_after_fork
    )
