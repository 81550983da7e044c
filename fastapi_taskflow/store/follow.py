"""Other processes' tasks as events, read off their rows: each once, in each task's order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fastapi_taskflow.events import (
    LifecycleEvent,
    LogEvent,
    ProgressEvent,
    TaskProgress,
    TaskStatus,
)
from fastapi_taskflow.store.base import Audience
from fastapi_taskflow.store.memory import MemoryStore
from fastapi_taskflow.store.others import PAGE, Others, Written
from fastapi_taskflow.store.record import LogEntry, TaskRecord
from fastapi_taskflow.store.window import Window

OVERLAP_SECONDS = 10.0
"""How long the commit of a row may take whose place was chosen before."""

RECENT_ENTRIES = 1000
"""Entries before the first look that are searched for what was logged since somebody watches."""

SKEW = timedelta(minutes=1)
"""How far a new process's clock may be behind."""

MAX_TASKS = 10_000
"""Tasks of which it is known what was told, those that something happened to last."""

_RAN = (TaskStatus.RUNNING, TaskStatus.SUCCESS, TaskStatus.FAILED)

MAX_PROCESSES = 1000
"""Processes of which that is known."""


@dataclass(slots=True)
class _Told:
    """What those who watch were told of a task.

    Attributes:
        run: Its newest start that they know of: by which process, and when it first was.
        ended: Its newest end.
        seq: Its last event; None where it was not told from its start.
        number: Its last entry.
        progress: How far it had come.
        own: The entries that it logged while it was this process's.
    """

    run: tuple[str | None, datetime] | None = None
    ended: datetime | None = None
    seq: int | None = -1
    number: int = 0
    progress: TaskProgress | None = None
    own: Collection[object] = ()


class Follower:
    """Tells what other processes' tasks have done since it last looked. For one thread at a time.

    Args:
        others: The database.
        memory: The tasks that are, or were, this process's.
        audience: Whom to tell.
        since: From when on: what happened before is not told.
    """

    def __init__(
        self, others: Others, memory: MemoryStore, audience: Audience, since: datetime
    ) -> None:
        self._others = others
        self._memory = memory
        self._audience = audience
        self._since = since
        self._tasks: dict[str, _Told] = {}
        self._ends: dict[str, Window[datetime]] = {}
        self._entries: Window[int] | None = None
        self._base = 0

    def look(self, asked: Collection[str]) -> bool:
        """Tell what is new.

        A task's last entries are in the database when its end is; so they are told before it,
        being read after it.

        Args:
            asked: Tasks that are watched by themselves, to be ended with their task for certain.

        Returns:
            Whether there is more.

        Raises:
            SQLAlchemyError: The database can't be read now; nothing is missed by that.
        """
        window = self._entries or self._first_window()
        self._entries = window
        running = self._others.running()
        ended, has_more = self._ended()
        looked_at = self._others.records([*ended, *asked])
        last = self._others.last_entry()
        for record in (*running, *looked_at.values()):
            self._tell_start(record)
            self._tell_progress(record)
        self._tell_entries(window, last)
        for record in looked_at.values():
            self._tell_end(record)
        for owner, task_id, end in ended.values():
            self._ends[owner].see([(task_id, end)])
            self._ends[owner].advance(end)
        self._end_asked(asked, looked_at)
        return has_more

    def take_over(self, record: TaskRecord) -> None:
        """Tell the rest of what others have done of a task that is this process's from now on.

        Raises:
            SQLAlchemyError: The database can't be read now.
        """
        window = self._entries
        if window is None:
            return
        told = self._told(record)
        if told.run is None:
            self._tell_start(record)
        # Some may have been seen already, as this process's: since it has claimed the task.
        last, after = self._others.last_entry(), told.number
        while found := self._others.written(after, last, task_id=record.task_id):
            self._tell_written(window, found, {record.task_id: record})
            after = found[-1].number
        self._tasks.pop(record.task_id, None)

    # What ended

    def _ended(self) -> tuple[dict[str, tuple[str, str, datetime]], bool]:
        """The tasks that ended, each with its process, id and end; and whether there are more."""
        for owner in self._others.processes():
            self._note(owner)
        new: dict[str, tuple[str, str, datetime]] = {}
        has_more = False
        for owner, window in self._ends.items():
            ends = [
                (owner, *each)
                for each in self._others.ended(owner, window.start)
                if not window.knows(each)
            ]
            has_more = has_more or len(ends) > PAGE
            new.update((each[1], each) for each in ends[:PAGE])
        return new, has_more

    def _note(self, owner: str) -> None:
        """Look for what a process's tasks end with from now on."""
        if owner in self._ends:
            return
        start = self._since - SKEW
        if self._entries is None:  # it was there before anybody watched, with its own clock
            start = min(self._since, self._others.last_end(owner) or self._since)
        self._ends[owner] = Window(start, OVERLAP_SECONDS)
        if len(self._ends) > MAX_PROCESSES:
            del self._ends[next(iter(self._ends))]

    def _end_asked(self, asked: Collection[str], found: dict[str, TaskRecord]) -> None:
        for task_id in asked:
            record = found.get(task_id)
            if record is None and task_id in self._tasks and self._memory.find(task_id) is None:
                self._audience.end_task(task_id)  # it was deleted
            elif record is not None and record.status.is_final:
                self._audience.end_task(task_id)

    # Log entries

    def _first_window(self) -> Window[int]:
        self._base = last = self._others.last_entry()
        for owner in self._others.processes():
            self._note(owner)
        overlap = 0.0 if self._others.is_sequential else OVERLAP_SECONDS
        return Window(max(0, last - RECENT_ENTRIES), overlap)

    def _tell_entries(self, window: Window[int], last: int) -> None:
        if last < window.end and self._others.is_sequential:
            # The newest were deleted, and SQLite gives their numbers again.
            window = self._entries = Window(last, 0.0)
        after = window.start
        while found := self._others.written(after, last):
            new = [written for written in found if not window.knows(written.number)]
            records = self._others.records({written.task_id for written in new})
            for record in records.values():
                if record.owner is not None:
                    self._note(record.owner)
                self._tell_start(record)
            self._tell_written(window, new, records)
            after = found[-1].number
            window.advance(after)
        window.advance(last)

    def _tell_written(
        self, window: Window[int], new: Sequence[Written], records: dict[str, TaskRecord]
    ) -> None:
        """Tell entries, but for those that aren't of these tasks."""
        numbers = {w.number: w.task_id for w in new if w.task_id in records}
        for number, entry in (self._others.entries(numbers) if numbers else {}).items():
            if number > self._base or entry.timestamp >= self._since:
                self._tell_entry(records[numbers[number]], number, entry)
        window.see((written.number, written.number) for written in new)

    def _tell_entry(self, record: TaskRecord, number: int, entry: LogEntry) -> None:
        told = self._told(record)
        if entry.mark in told.own:
            return
        seq = entry.seq or 0
        told.number, told.seq = number, max(seq, told.seq or 0)
        self._audience.publish(
            LogEvent(
                task_id=record.task_id,
                func_name=record.func_name,
                message=entry.message,
                level=entry.level,
                timestamp=entry.timestamp,
                attempt=entry.attempt,
                tags=record.tags,
                extra=entry.extra,
                seq=seq,
            )
        )

    # Tasks

    def _told(self, record: TaskRecord) -> _Told:
        """What was told of a task."""
        told = self._tasks.pop(record.task_id, None) or self._told_by_itself(record)
        self._tasks[record.task_id] = told  # again: as the newest
        if len(self._tasks) > MAX_TASKS:
            del self._tasks[next(iter(self._tasks))]
        return told

    def _told_by_itself(self, record: TaskRecord) -> _Told:
        """What was told of a task while it was this process's."""
        own = self._memory.find(record.task_id)
        if own is None:
            return _Told(seq=None if record.requeue_on_interrupt else -1)
        entries = self._memory.entries(record.task_id) or ()
        end = own.end_time if own.status.is_final else None
        run = None if own.start_time is None else (own.owner, own.start_time)
        return _Told(run, end, None, own={entry.mark for entry in entries})

    def _tell_start(self, record: TaskRecord) -> None:
        told, start = self._told(record), record.start_time
        if start is None or (record.owner, start) == told.run:
            return
        if told.run is not None and told.run[1] == start:
            self._tell_start_again(record, told)
            return
        told.run = record.owner, start
        if start < self._since:
            told.seq = None
        else:
            self._tell_status(record, told, TaskStatus.RUNNING, start)

    def _tell_start_again(self, record: TaskRecord, told: _Told) -> None:
        """Tell that a task runs in another process than before, if it does, or has."""
        if record.status not in _RAN or record.start_time is None:
            return
        told.run = record.owner, record.start_time
        self._tell_status(record, told, TaskStatus.RUNNING, datetime.now(UTC))

    def _tell_progress(self, record: TaskRecord) -> None:
        told, progress = self._told(record), record.progress
        if progress is not None and progress != told.progress:
            self._audience.publish(
                ProgressEvent(
                    task_id=record.task_id,
                    func_name=record.func_name,
                    progress=progress,
                    timestamp=datetime.now(UTC),
                    attempt=record.attempt,
                    tags=record.tags,
                )
            )
        told.progress = progress

    def _tell_end(self, record: TaskRecord) -> None:
        told, end = self._told(record), record.end_time
        if record.status.is_final and end is not None and end != told.ended:
            self._tell_status(record, told, record.status, end)
            told.ended = end

    def _tell_status(
        self, record: TaskRecord, told: _Told, status: TaskStatus, at: datetime
    ) -> None:
        """Tell a status. Its ``seq``, which is not stored, follows on the last event's."""
        if told.seq is None:
            told.seq = self._last_seq(record, status, at)
        told.seq += 1
        has_ended = status.is_final
        self._audience.publish(
            LifecycleEvent(
                task_id=record.task_id,
                func_name=record.func_name,
                status=status,
                timestamp=at,
                attempt=record.attempt,
                retries_used=record.retries_used,
                duration=record.duration if has_ended else None,
                error=record.error if has_ended else None,
                stacktrace=record.stacktrace if has_ended else None,
                tags=record.tags,
                seq=told.seq,
            )
        )

    def _last_seq(self, record: TaskRecord, status: TaskStatus, at: datetime) -> int:
        """The ``seq`` of a task's last event before a status of that time."""
        seq = self._others.last_seq(record.task_id, at)
        if seq is not None:
            return seq
        has_run = status.is_final and record.start_time is not None
        return 0 if has_run else -1  # its RUNNING had 0
