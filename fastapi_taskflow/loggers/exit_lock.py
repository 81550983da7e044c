"""How a handler that hangs in one of our threads is kept from holding up the interpreter's exit.

At exit ``logging.shutdown`` takes the lock of every handler, and flushes it. Where a thread hangs
in one, its peer not reading, that thread has the lock, or the exit would hang in the same flush.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

LOCK_SECONDS = 2.0
"""How long the interpreter's exit waits for a handler."""


class Feeder(Protocol):
    """What hands records to handlers."""

    def handlers(self) -> Iterable[logging.Handler]:
        """The handlers, as things are now."""


def pass_over_at_exit(feeder: Feeder) -> None:
    """Have the interpreter's exit pass over the handlers that hang in a thread then."""
    _feeders.add(feeder)


@contextmanager
def passed_over_while(handler: logging.Handler) -> Iterator[None]:
    """Have the interpreter's exit pass over a handler that it finds in this block."""
    _flushing[id(handler)] = handler
    try:
        yield
    finally:
        _flushing.pop(id(handler), None)


class _ExitLock:
    """A handler's own lock, for which nobody waits long.

    On an ``OSError`` ``logging.shutdown`` passes the handler over, and neither flushes nor closes
    it, either of which may hang as well.
    """

    def __init__(self, lock: Any) -> None:
        self._lock = lock

    def acquire(self, *, timeout: float = LOCK_SECONDS) -> bool:
        if not self._lock.acquire(timeout=timeout):
            raise TimeoutError("the handler hangs")
        return True

    def release(self) -> None:
        with contextlib.suppress(RuntimeError):  # logging.shutdown releases what it didn't get
            self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def __getattr__(self, name: str) -> Any:  # a fork asks for another method
        return getattr(self._lock, name)


class _NoLock(_ExitLock):
    """The lock of a handler that is known to hang."""

    def acquire(self, *, timeout: float = 0.0) -> bool:
        raise TimeoutError("the handler hangs")


def _let_exit() -> None:
    fed = [handler for feeder in list(_feeders) for handler in feeder.handlers()]
    for handler in {part for each in fed for part in _with_targets(each)}:
        lock: Any = getattr(handler, "lock", None)
        if lock is not None:
            vars(handler)["lock"] = _ExitLock(lock)
    for handler in list(_flushing.values()):
        vars(handler)["lock"] = _NoLock(handler.lock)


def _with_targets(handler: object) -> Iterator[logging.Handler]:
    """A handler, and what it feeds in turn, as ``MemoryHandler`` does."""
    while isinstance(handler, logging.Handler):
        yield handler
        handler = getattr(handler, "target", None)


_flushing: dict[int, logging.Handler] = {}
_feeders: weakref.WeakSet[Feeder] = weakref.WeakSet()
atexit.register(_let_exit)  # logging was imported before: its own shutdown runs after this
