"""One process at a time rolls a file: a lock on the file itself, and no long wait for it."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO

try:
    import fcntl
except ImportError:  # Windows has none: there, one process a file may roll it
    fcntl = None  # type: ignore[assignment]

LOCK_SECONDS = 0.5
"""How long to wait for another process, which may be stopped, or no log writer at all."""


@contextmanager
def roll_lock(file: FileIO) -> Iterator[None]:
    """Keep others from rolling a file.

    The file has to be opened for this alone: processes forked from this one share the locks of
    its other files, and would neither exclude each other nor let anybody else go on.

    Raises:
        TimeoutError: Another process doesn't let go of it.
    """
    if fcntl is not None:
        _lock(file)
    try:
        yield
    finally:
        if fcntl is not None:
            # Not left to closing: a process that was forked meanwhile has the file open, too.
            fcntl.flock(file, fcntl.LOCK_UN)


def _lock(file: FileIO) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while not _try_to_lock(file):
        if time.monotonic() > deadline:
            raise TimeoutError(errno.ETIMEDOUT, "another process has locked the file", file.name)
        time.sleep(0.001)


def _try_to_lock(file: FileIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
