"""The thread that looks what other processes' tasks do, as long as somebody watches."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime

from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.store.base import Audience
from fastapi_taskflow.store.follow import Follower
from fastapi_taskflow.store.memory import MemoryStore
from fastapi_taskflow.store.others import Others
from fastapi_taskflow.store.record import TaskRecord
from fastapi_taskflow.store.sql import Database

POLL_SECONDS = 0.5
"""Seconds between two looks."""

LINGER_SECONDS = 300.0
"""How long it goes on for readers that may come back."""

JOIN_SECONDS = 1.0


class Poller:
    """Tells those who watch of other processes' tasks, from ``open()`` to ``close()``.

    Args:
        database: The database.
        memory: The tasks that are, or were, this process's.
        owner: Gives the id that this process has in the database.
        log: Where to report that it can't be read; a logger that never raises.
    """

    def __init__(
        self,
        database: Database,
        memory: MemoryStore,
        owner: Callable[[], str],
        log: logging.Logger,
    ) -> None:
        self._others = Others(database, owner)
        self._memory = memory
        self._log = log
        self._audience: Callable[[], Audience | None] = lambda: None
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Have no thread, and nobody who watches: they are in another process."""
        self._guard = threading.RLock()  # of the garbage collector, too: it may run anything
        self._turn = threading.Lock()  # of who looks
        self._bell = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._follower: Follower | None = None
        self._is_open = False
        self._is_failing = False
        self._since: datetime | None = None
        self._asked: set[str] = set()

    def serve(self, audience: Audience) -> None:
        """Have these told; they are not kept alive."""
        self._audience = weakref.ref(audience)

    def open(self) -> None:
        """The database may be read from now on."""
        with self._guard:
            self._is_open = True
            self._start()

    def follow(self, task_id: str | None) -> None:
        """Somebody watches from now on: all tasks, or one."""
        with self._guard:
            self._since = self._since or datetime.now(UTC)
            if task_id is not None:
                self._asked.add(task_id)
            self._start()
        self._bell.set()

    def take_over(self, record: TaskRecord) -> None:
        """Tell the rest of what others have done of a task, before this process goes on with it."""
        with self._turn:
            if self._follower is not None:
                try:
                    self._follower.take_over(record)
                except Exception as error:  # noqa: BLE001  # as in _look()
                    self._report(error)

    def stop(self) -> None:
        """End soon."""
        self._stopped.set()
        self._bell.set()

    def close(self) -> None:
        """End, and wait a little for that; idempotent."""
        with self._guard:
            self._is_open = False
            thread, self._thread = self._thread, None
            self._since = None
            self.stop()
        audience = self._audience()
        if thread is None or audience is None:
            return
        thread.join(JOIN_SECONDS)
        with self._turn:
            self._follower = None
        audience.break_off()

    def _start(self) -> None:
        audience = self._audience()
        if audience is None or not len(audience):
            self._since = None
        elif self._is_open and self._thread is None:
            since = self._since = self._since or datetime.now(UTC)
            self._stopped = threading.Event()
            self._thread = threading.Thread(
                target=self._run,
                args=(self._stopped, since),
                name="fastapi_taskflow-follow",
                daemon=True,
            )
            self._thread.start()

    def _run(self, stopped: threading.Event, since: datetime) -> None:
        watched_at = time.monotonic()
        while not stopped.is_set():
            audience = self._audience()
            if audience is None:
                return
            if len(audience):
                watched_at = time.monotonic()
            elif time.monotonic() - watched_at >= LINGER_SECONDS and self._rest(audience):
                return
            has_more = self._look(audience, since)
            del audience  # not kept alive while this waits
            if not has_more:
                self._bell.wait(POLL_SECONDS)
                self._bell.clear()

    def _look(self, audience: Audience, since: datetime) -> bool:
        """Look once. Returns whether there is more to see."""
        with self._guard:
            self._asked = {each for each in self._asked if audience.is_watched(each)}
            asked = list(self._asked)
        try:
            with self._turn:
                if self._follower is None:
                    near = weakref.proxy(audience)
                    self._follower = Follower(self._others, self._memory, near, since)
                has_more = self._follower.look(asked)
        except Exception as error:  # noqa: BLE001  # a driver's, or a row's that can't be read
            self._report(error)
            return False
        self._is_failing = False
        return has_more

    def _rest(self, audience: Audience) -> bool:
        """End until somebody watches again. Returns whether nobody does just now."""
        with self._guard:
            if not audience.break_off(unless_watched=True):
                return False
            self._thread = self._since = self._follower = None
            return True

    def _report(self, error: Exception) -> None:
        """Say it once, until it is over."""
        if not self._is_failing:
            self._is_failing = True
            self._log.error(
                "other processes' tasks can't be watched now, it is tried again: %s", error
            )
