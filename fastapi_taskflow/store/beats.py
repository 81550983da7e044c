"""The threads that say that this process lives, hear others, and take over from the dead."""

from __future__ import annotations

import logging
import threading
import time
import weakref

from sqlalchemy.exc import SQLAlchemyError

from fastapi_taskflow.store.base import Cancel, Decide, Take
from fastapi_taskflow.store.leases import Lease
from fastapi_taskflow.store.periodic import Periodic

BEAT_SECONDS = 5.0
"""Seconds between two beats, and two looks at the other processes."""

REPORT_SECONDS = 60.0

LOOK_SECONDS = 1.0
"""Seconds between two looks at what other processes want cancelled here."""


class Beats:
    """Beats for a lease, and does what it asks for, from ``start()`` to ``stop()``.

    It doesn't keep alive what it works for: it ends when that is gone.

    The beats have a thread of their own, which calls nothing but the database: to take tasks over
    is to call their functions' validators and the user's handlers, which may be slow, and one that
    hangs must not make a living process a dead one.

    Args:
        lease: The lease.
        log: Where to report that the database can't be used; a logger that never raises.
    """

    def __init__(self, lease: Lease, log: logging.Logger) -> None:
        self._lease = lease
        self._log = log
        self._next_report = 0.0
        self._due = 0.0
        self._news: str | None = None  # for the other thread to report: a handler may hang
        self._heart = Periodic("fastapi_taskflow-heart")
        self._care = Periodic("fastapi_taskflow-lease")

    def ring(self) -> None:
        """Look for the dead at once."""
        self._due = 0.0
        self._care.ring()

    def start(self, decide: Decide, take: Take, cancel: Cancel) -> None:
        """Begin, or look again, at once.

        Args:
            decide: A method that says what becomes of a dead process's task.
            take: A method that sees to it.
            cancel: A method that cancels a task of this process.
        """
        deciding, taking = weakref.WeakMethod(decide), weakref.WeakMethod(take)
        cancelling = weakref.WeakMethod(cancel)

        def turn(stopped: threading.Event) -> float | None:
            return self._look_after(deciding(), taking(), cancelling(), stopped)

        self._heart.start(self._beat, self._missed)
        self._care.start(turn, self._failed)
        self.ring()

    def stop(self) -> None:
        """End, soon."""
        self._heart.stop()
        self._care.stop()

    def close(self) -> None:
        """End, and give the lease back, if the database takes it."""
        self.stop()
        self._heart.close()
        self._care.close()
        try:
            self._lease.end()
        except (SQLAlchemyError, OSError) as error:
            self._log.warning("the lease on tasks could not be given back: %s", error)

    def _beat(self, _stopped: threading.Event) -> float:
        if not self._lease.beat():
            self._news = "this process was taken for dead, and its tasks by another one"
        return BEAT_SECONDS

    def _missed(self, error: BaseException) -> float:
        self._news = f"{error}; it is tried again"
        return BEAT_SECONDS

    def _look_after(
        self,
        decide: Decide | None,
        take: Take | None,
        cancel: Cancel | None,
        stopped: threading.Event,
    ) -> float | None:
        """Do once what there is to do. Returns None where there is nobody to do it for."""
        if decide is None or take is None or cancel is None:
            self._heart.stop()
            return None
        news, self._news = self._news, None
        if news is not None:
            self._report(news)
        now = time.monotonic()
        if now >= self._due:
            self._due = now + BEAT_SECONDS
            self._take_over(decide, take, stopped)
        for task_id in self._lease.unwanted():
            cancel(task_id)
        return LOOK_SECONDS

    def _take_over(self, decide: Decide, take: Take, stopped: threading.Event) -> None:
        self._lease.ensure()  # what it takes would be anyone's, had it no row
        for record, fate in self._lease.claim(decide):
            take(record, fate)
            if stopped.is_set():
                break

    def _failed(self, error: BaseException) -> float:
        self._report(f"{error}; it is tried again")
        return LOOK_SECONDS

    def _report(self, what: str) -> None:
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + REPORT_SECONDS
            self._log.error("the lease on tasks: %s", what)
