"""Rows that a database refuses for good: found by halves, so that they hold up no other."""

from __future__ import annotations

from collections.abc import Callable

from fastapi_taskflow.store.batches import Batch
from fastapi_taskflow.store.dialects import may_pass, was_cut_off

MAX_TRIES = 5
"""Tries after which a row is refused that ends the connection, though others are written."""


class Refusals:
    """Tells a row that can't be stored from a database that takes nothing.

    Args:
        write: Writes a batch as a whole, or raises.
        probe: Writes what can be stored in any case, or raises.
        pause: Waits before another try.
        report: Told of each error.
        drop: Called for each row that is refused.
    """

    def __init__(
        self,
        *,
        write: Callable[[Batch], None],
        probe: Callable[[], None],
        pause: Callable[[], object],
        report: Callable[[Exception], None],
        drop: Callable[[], None],
    ) -> None:
        self._write = write
        self._probe = probe
        self._pause = pause
        self._report = report
        self._drop = drop

    def is_refused(self, error: Exception) -> bool:
        """Whether the database takes rows, but not the ones that it was just given.

        A row above MariaDB's ``max_allowed_packet``, say, ends the connection.
        """
        if not was_cut_off(error):
            return not may_pass(error)
        try:
            self._probe()
        except Exception:  # noqa: BLE001  # a driver's own; the next try reports it
            return False
        return True

    def write_all_but_refused(self, batch: Batch) -> Batch:
        """Write a batch of which a row can't be stored: all but that row.

        Returns:
            What is still to be written, as the database takes nothing any more.
        """
        parts = [batch]  # the next one is the last one
        while parts:
            part = parts.pop()
            error = self._failure(part)
            if error is None:
                continue
            if not self.is_refused(error):
                return Batch.of([part, *reversed(parts)])
            if part.is_one:
                self._drop()
            else:
                parts += reversed(part.halves())
        return Batch()

    def _failure(self, part: Batch) -> Exception | None:
        """Write a part. Returns what prevents that.

        A row alone is tried more than once where the connection ends: it may be chance.
        """
        for tries in range(1, MAX_TRIES + 1):
            try:
                self._write(part)
            except Exception as error:  # noqa: BLE001  # a driver's own; the thread must go on
                self._report(error)
                if tries == MAX_TRIES or not (part.is_one and was_cut_off(error)):
                    return error
                self._pause()
            else:
                break
        return None
