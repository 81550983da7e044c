"""The connection that the writer keeps, as to take one from a pool costs more than to write."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from fastapi_taskflow.store.dialects import WRITES


class Held:
    """Has a connection between two transactions that write, as long as all goes well.

    Args:
        engine: Where it comes from.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._kept: tuple[Connection, int] | None = None
        self._is_closed = False

    @contextmanager
    def transaction(self, file: int) -> Iterator[Connection]:
        """A transaction: committed at the end, rolled back by an exception.

        Args:
            file: The number of the file to write to: a connection leads to the one it was made for.
        """
        connection = self._taken(file) or self._engine.connect().execution_options(**WRITES)
        try:
            with connection.begin():
                yield connection
        except BaseException:
            connection.invalidate()  # it may have been made while the file could not be written
            connection.close()
            raise
        with self._lock:
            if not self._is_closed:
                self._kept = connection, file
                return
        connection.close()

    def _taken(self, file: int) -> Connection | None:
        """The connection, which nobody else has from now on; None where it leads elsewhere."""
        with self._lock:
            kept, self._kept = self._kept, None
        if kept is None or kept[1] == file:
            return kept and kept[0]
        kept[0].close()
        return None

    def close(self) -> None:
        """Close it, or have it closed when it is not in use any more."""
        with self._lock:
            self._is_closed = True
            kept, self._kept = self._kept, None
        if kept is not None:
            kept[0].close()
