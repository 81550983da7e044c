"""A thread that does one thing again and again, whatever becomes of it each time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from fastapi_taskflow.fork import restart_after_fork

JOIN_SECONDS = 1.0
"""How long the thread may take to end: it waits for a database for longer only if that is gone."""

Turn = Callable[[threading.Event], float | None]
"""What is done once: given the event that it is to end by, it returns how many seconds later it is
to be done again, or None where it never is."""

Failed = Callable[[BaseException], float]
"""What hears of an error in a turn, and returns how many seconds later there is another one."""


class Periodic:
    """Takes turns in a daemon thread, from ``start()`` to ``stop()``. No error ends it.

    Args:
        name: The thread's name.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Have no thread, and a lock that nobody holds."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._bell = threading.Event()

    def start(self, turn: Turn, failed: Failed) -> None:
        """Begin with a turn, unless it has begun. Only the thread keeps alive what is given here.

        Args:
            turn: What is done.
            failed: Told of each turn that raises.
        """
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            self._stopped, self._bell = threading.Event(), threading.Event()
            thread = threading.Thread(
                target=self._run,
                args=(turn, failed, self._stopped, self._bell),
                name=self._name,
                daemon=True,
            )
            thread.start()
            self._thread = thread

    def ring(self) -> None:
        """Have the next turn now, or as soon as the present one ends."""
        self._bell.set()

    def stop(self) -> None:
        """End, without waiting for that."""
        self._stopped.set()
        self._bell.set()

    def close(self) -> None:
        """End, and wait a little for that. After it, it may begin again."""
        with self._lock:
            self.stop()
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(JOIN_SECONDS)

    @staticmethod
    def _run(turn: Turn, failed: Failed, stopped: threading.Event, bell: threading.Event) -> None:
        while True:
            bell.clear()
            if stopped.is_set():  # looked at after that, so that no stop() is waited through
                break
            try:
                seconds = turn(stopped)
            except BaseException as error:  # noqa: BLE001  # a driver's, or a task's own code's
                seconds = failed(error)
            if seconds is None:
                break
            bell.wait(seconds)
