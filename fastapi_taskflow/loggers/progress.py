"""How far tasks have come: in the record at once, to all others the newest now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

from fastapi_taskflow.context import TaskContext
from fastapi_taskflow.events import ProgressEvent, TaskProgress
from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.loggers.watchers import Watchers
from fastapi_taskflow.redact import Redactor

GATHER_SECONDS = 0.04
"""How long what is reported gathers: from a worker process, twice that is below 0.1 seconds."""

T = TypeVar("T")


class ProgressKeeper(Protocol):
    """What keeps it; a store does."""

    def set_progress(self, task_id: str, attempt: int, progress: TaskProgress) -> bool:
        """Say how far a running attempt has come. Returns whether that attempt runs."""

    def save_progress(self, task_id: str) -> None:
        """Write a task's progress to where it lasts."""


class Gathered(Generic[T]):
    """The newest item of each task, handed on after a while.

    A timer runs only while something waits, and putting an item there takes no lock.

    Args:
        hand_on: Called in the timer's thread, or in that of who settles, with a task's id and
            the newest item; one call at a time.
    """

    def __init__(self, hand_on: Callable[[str, T], None]) -> None:
        self._hand_on = hand_on
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Have nothing that waits, and no timer."""
        self._items: dict[str, T] = {}
        self._turn = threading.RLock()  # of the garbage collector, too: it may run anything
        self._is_timed = False

    def put(self, task_id: str, item: T) -> None:
        """Have this handed on, in place of what waits of the task."""
        self._items[task_id] = item
        if not self._is_timed:
            self._is_timed = True
            timer = threading.Timer(GATHER_SECONDS, self._time_is_up)
            timer.name, timer.daemon = "fastapi_taskflow-progress", True
            try:
                timer.start()
            except RuntimeError:  # no more threads: the next one tries again
                self._is_timed = False

    def settle(self, task_id: str) -> None:
        """Hand on what waits of a task. Nothing of before is handed on after this."""
        with self._turn:
            self._hand_on_one(task_id)

    def _time_is_up(self) -> None:
        self._is_timed = False  # first: what comes from now on has another timer
        for task_id in list(self._items):
            with self._turn:
                self._hand_on_one(task_id)

    def _hand_on_one(self, task_id: str) -> None:
        item = self._items.pop(task_id, None)
        if item is not None:
            self._hand_on(task_id, item)


class ProgressNews:
    """Takes what tasks say of their progress, and tells those who watch.

    Args:
        watchers: Those who watch.
        keeper: Where it is kept; None keeps it nowhere.
        redactor: What takes secrets out of the messages; None leaves them in.
    """

    def __init__(
        self, watchers: Watchers, keeper: ProgressKeeper | None, redactor: Redactor | None
    ) -> None:
        self._watchers = watchers
        self._keeper = keeper
        self._redactor = redactor
        self._gathered: Gathered[tuple[TaskContext, TaskProgress]] = Gathered(self._tell)

    def put(self, context: TaskContext, progress: TaskProgress) -> None:
        """An attempt has come so far."""
        if self._redactor is not None and progress.message is not None:
            message = self._redactor.text(progress.message)
            progress = TaskProgress(progress.done, progress.total, message)
        keeper = self._keeper
        if keeper is not None and keeper.set_progress(context.task_id, context.attempt, progress):
            self._gathered.put(context.task_id, (context, progress))

    def settle(self, task_id: str) -> None:
        """Tell what has gathered of a task, before something else is told of it."""
        self._gathered.settle(task_id)

    def _tell(self, task_id: str, item: tuple[TaskContext, TaskProgress]) -> None:
        context, progress = item
        if self._keeper is not None:
            self._keeper.save_progress(task_id)
        if not len(self._watchers):
            return
        tags = context.tags
        self._watchers.publish(
            ProgressEvent(
                task_id=task_id,
                func_name=context.func_name,
                progress=progress,
                timestamp=datetime.now(UTC),
                attempt=context.attempt,
                tags=dict(tags if self._redactor is None else self._redactor.mapping(tags)),
            )
        )
