"""The thread that says that this process lives, hears others, and takes over from the dead."""

from __future__ import annotations

import logging
import threading
import time
import weakref

from sqlalchemy.exc import SQLAlchemyError

from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.store.base import Cancel, Decide, Take
from fastapi_taskflow.store.leases import Lease

BEAT_SECONDS = 5.0
"""Seconds between two beats, and two looks at the other processes."""

REPORT_SECONDS = 60.0
JOIN_SECONDS = 1.0

LOOK_SECONDS = 1.0
"""Seconds between two looks at what other processes want cancelled here."""


class Beats:
    """Beats for a lease, from ``start()`` to ``stop()``.

    It doesn't keep alive what it works for: it ends when that is gone.

    Args:
        lease: The lease.
        log: Where to report that the database can't be used; a logger that never raises.
    """

    def __init__(self, lease: Lease, log: logging.Logger) -> None:
        self._lease = lease
        self._log = log
        self._next_report = 0.0
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Have no thread."""
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._bell = threading.Event()

    def ring(self) -> None:
        """Beat, and look, at once."""
        self._bell.set()

    def start(self, decide: Decide, take: Take, cancel: Cancel) -> None:
        """Begin, or look again, at once.

        Args:
            decide: A method that says what becomes of a dead process's task.
            take: A method that sees to it.
            cancel: A method that cancels a task of this process.
        """
        self._bell.set()
        if self._thread is None:
            self._stopped = threading.Event()
            self._thread = threading.Thread(
                target=self._run,
                args=(
                    weakref.WeakMethod(decide),
                    weakref.WeakMethod(take),
                    weakref.WeakMethod(cancel),
                    self._stopped,
                ),
                name="fastapi_taskflow-lease",
                daemon=True,
            )
            self._thread.start()

    def stop(self) -> None:
        """End, soon."""
        self._stopped.set()
        self._bell.set()

    def close(self) -> None:
        """End, and give the lease back, if the database takes it."""
        self.stop()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(JOIN_SECONDS)
        try:
            self._lease.end()
        except (SQLAlchemyError, OSError) as error:
            self._log.warning("the lease on tasks could not be given back: %s", error)

    def _run(
        self,
        decide: weakref.WeakMethod[Decide],
        take: weakref.WeakMethod[Take],
        cancel: weakref.WeakMethod[Cancel],
        stopped: threading.Event,
    ) -> None:
        due = 0.0
        while not stopped.is_set():
            now = time.monotonic()
            is_due = self._bell.is_set() or now >= due
            self._bell.clear()
            try:
                if is_due:
                    due = now + BEAT_SECONDS
                    if not self._beat(decide, take, stopped):
                        break
                if not self._look(cancel):
                    break
            except (SQLAlchemyError, OSError) as error:
                self._report("%s; it is tried again", error)
            self._bell.wait(LOOK_SECONDS)

    def _look(self, cancel: weakref.WeakMethod[Cancel]) -> bool:
        """Do as others have asked. Returns False where there is nobody to do it for."""
        unwanted = self._lease.unwanted()
        cancelling = cancel()
        if cancelling is None:
            return False
        for task_id in unwanted:
            cancelling(task_id)
        return True

    def _beat(
        self,
        decide: weakref.WeakMethod[Decide],
        take: weakref.WeakMethod[Take],
        stopped: threading.Event,
    ) -> bool:
        """Beat once. Returns False where there is nobody to beat for."""
        if not self._lease.beat():
            self._report("this process was taken for dead%s", ", and its tasks by another one")
        deciding, taking = decide(), take()
        if deciding is None or taking is None:
            return False
        for record, fate in self._lease.claim(deciding):
            taking(record, fate)
            if stopped.is_set():
                break
        return True

    def _report(self, what: str, detail: object) -> None:
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + REPORT_SECONDS
            self._log.error("the lease on tasks: " + what, detail)
