"""The contract of a store, written once for all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple, Protocol

from fastapi_taskflow.checks import whole_number
from fastapi_taskflow.errors import ConfigurationError
from fastapi_taskflow.events import News, TaskProgress, TaskStatus
from fastapi_taskflow.records import Noted
from fastapi_taskflow.store.history import TaskHistory
from fastapi_taskflow.store.record import LogEntry, TaskRecord, read_noted

MAY_RUN_AGAIN = (TaskStatus.FAILED, TaskStatus.INTERRUPTED, TaskStatus.CANCELLED)
"""The statuses whose tasks leave their idempotency key to another one."""


class Fate(Enum):
    """What becomes of a task whose process is dead."""

    LEAVE = "leave"
    INTERRUPT = "interrupt"
    CANCEL = "cancel"
    AGAIN = "again"


Decide = Callable[[TaskRecord], Fate]
"""What says it, of a record as its process left it."""

Take = Callable[[TaskRecord, Fate], None]
"""What sees to it."""

Cancel = Callable[[str], None]
"""What cancels the task of this id, as another process has asked."""


class Audience(Protocol):
    """Those who watch tasks in this process. Any thread may call it; nothing waits."""

    def __len__(self) -> int:
        """How many they are."""

    def is_watched(self, task_id: str) -> bool:
        """Whether somebody watches this task alone."""

    def publish(self, event: News) -> None:
        """Tell them."""

    def end_task(self, task_id: str) -> None:
        """Have those end who watch this task alone."""

    def break_off(self, *, unless_watched: bool = False) -> bool:
        """Keep nothing for readers that come back, who would have a gap.

        Args:
            unless_watched: Not if somebody watches.

        Returns:
            Whether nothing is kept.
        """


class Position(NamedTuple):
    """A record's place in the order of a listing: newest first, ids break ties."""

    created_at: datetime
    task_id: str


@dataclass(frozen=True, slots=True)
class Query:
    """Which records a listing has.

    Attributes:
        status: Only records of this status.
        func_name: Only those of this function.
        tags: Only those that have all these tags.
        text: Only those whose id, function or error contains this, in any case.
        since: Only those enqueued at this time or later.
        until: Only those enqueued before this time.
        after: Only those that come after this position in the listing.
        limit: The most records to list.

    Raises:
        ConfigurationError: The limit is no whole number of 0 or more, or a time is not aware.
    """

    status: TaskStatus | None = None
    func_name: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: Position | None = None
    limit: int = 50

    def __post_init__(self) -> None:
        """Refuse what stores can't compare with."""
        whole_number("limit", self.limit)
        for name, time in (("since", self.since), ("until", self.until)):
            if time is not None and time.utcoffset() is None:
                raise ConfigurationError(name, time, "a time with a time zone")


@dataclass(frozen=True, slots=True)
class Totals:
    """Figures over all tasks that a store knows.

    Attributes:
        by_status: How many tasks have each status.
        avg_duration: Mean duration of the tasks that succeeded or failed, in seconds; None
            when there are none.
    """

    by_status: dict[TaskStatus, int]
    avg_duration: float | None


class Samples(NamedTuple):
    """Some stored tasks, with their arguments and results as they are stored.

    Attributes:
        left: Tasks that have not ended, or are to run again.
        newest: The newest of all.
    """

    left: list[TaskRecord]
    newest: list[TaskRecord]


class TaskStore(ABC):
    """Keeps task records and their log entries. Every method may be called by any thread.

    Attributes:
        history: What is done to ended tasks.
    """

    history: TaskHistory

    @abstractmethod
    def add(self, record: TaskRecord) -> TaskRecord:
        """Keep a new record.

        Returns:
            The record, or the one there is already under its idempotency key.
        """

    @abstractmethod
    def update(
        self, task_id: str, expected: Collection[TaskStatus], **changes: Any
    ) -> TaskRecord | None:
        """Change a record's fields, in one step, if its status is one of those expected.

        Returns:
            The record as it is now, without its logs; None where it was left as it was.
        """

    @abstractmethod
    def append(self, task_id: str, entry: LogEntry) -> None:
        """Add a log entry to a record; an unknown id is passed over."""

    def note(self, task_id: str, noted: Noted) -> None:
        """Add a log entry that was just logged, as ``append()`` would."""
        self.append(task_id, read_noted(noted))

    @abstractmethod
    def set_progress(self, task_id: str, attempt: int, progress: TaskProgress) -> bool:
        """Say how far a running attempt has come; it is in the record at once.

        Returns:
            Whether that attempt runs. What is late of another one changes nothing.
        """

    def save_progress(self, task_id: str) -> None:  # memory has nothing to do
        """Write a task's progress to where it lasts."""

    @abstractmethod
    def get(self, task_id: str) -> TaskRecord | None:
        """A record with its logs, or None."""

    @abstractmethod
    def entries(self, task_id: str) -> list[LogEntry] | None:
        """A record's log entries, the oldest first, or None where there is no such record."""

    @abstractmethod
    def query(self, query: Query) -> list[TaskRecord]:
        """The records that a query asks for, newest first, without their logs."""

    @abstractmethod
    def totals(self) -> Totals:
        """The figures over all records."""

    def holding(self, task_id: str) -> AbstractContextManager[None]:
        """Keep a record in reach within a ``with`` block, though its task ends and others do.

        A store that forgets nothing has nothing to do here.
        """
        return nullcontext()

    # Memory has no other processes.
    def look_after(self, decide: Decide, take: Take, cancel: Cancel) -> None:
        """Begin, in a thread, to take over what dead processes have left, and to hear the living.

        Args:
            decide: Says what becomes of a task. May be called at any time.
            take: Called with each task that was taken over, and what becomes of it.
            cancel: Called with each task of this process that another one wants cancelled.
        """

    def take_over(self, record: TaskRecord) -> None:
        """Keep a record that was taken over."""

    def serve(self, audience: Audience) -> None:
        """Tell these, once ``follow()`` is called, of other processes' tasks.

        Args:
            audience: They; not kept alive.
        """

    def follow(self, task_id: str | None) -> None:
        """Somebody watches from now on.

        Args:
            task_id: The task that is watched, and has not ended; None means all.
        """

    @abstractmethod
    def find(self, task_id: str) -> TaskRecord | None:
        """A record with its arguments, live or stored, but without its logs, or None."""

    def samples(self) -> Samples:
        """Some stored tasks, to see whether they can be read: none where none last.

        Raises:
            StoreError: The database can't be read now.
        """
        return Samples([], [])

    def request_cancel(self, task_id: str) -> None:  # nor are there tasks of others
        """Ask the process that has a task to cancel it, or whoever takes it over.

        Raises:
            StoreError: The database can't be written now.
        """

    @property
    def is_durable(self) -> bool:
        """Whether it outlasts the process, so that tasks need arguments that can be stored."""
        return False

    def holder(self, task_id: str) -> str:
        """The task that has a flushed task's idempotency key: it itself, or one before it."""
        return task_id

    def open(self) -> None:  # memory has nothing to open
        """Open what is needed, now; idempotent.

        Raises:
            StoreError: It can't be used.
        """

    def flush(self, timeout: float) -> bool:
        """Wait until everything so far is where it lasts.

        Returns:
            Whether that was so within the timeout, in seconds.
        """
        return True

    async def flush_async(self, timeout: float) -> bool:
        """Do what ``flush`` does, on an event loop, which goes on meanwhile."""
        return self.flush(timeout)

    def close(self, timeout: float) -> None:  # nor to close
        """Flush within the timeout, in seconds, and let go of what is open; idempotent."""
