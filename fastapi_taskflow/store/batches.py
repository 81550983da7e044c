"""What waits to be written: records as they are, and log entries, in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from fastapi_taskflow.store.record import LogEntry, TaskRecord


@dataclass(slots=True)
class Batch:
    """What is written in one transaction: records as they were last, and log entries."""

    records: dict[str, TaskRecord] = field(default_factory=dict)
    new: set[str] = field(default_factory=set)
    entries: deque[tuple[str, LogEntry]] = field(default_factory=deque)

    def drop_oldest(self, most: int) -> int:
        """Drop the oldest ended tasks of which all there is is in here, but for so many.

        Of any other task there is a row, which must not say for ever that it runs.

        Returns:
            How many rows were dropped, those of log entries included.
        """
        whole = [task_id for task_id, r in self.records.items() if r.status.is_final]
        whole = [task_id for task_id in whole if task_id in self.new]
        dropped = set(whole[: max(0, len(whole) - most)])
        if not dropped:
            return 0
        before = len(self.entries)
        self.entries = deque(item for item in self.entries if item[0] not in dropped)
        for task_id in dropped:
            del self.records[task_id]
        self.new -= dropped
        return len(dropped) + before - len(self.entries)

    @classmethod
    def of(cls, parts: Iterable[Batch]) -> Batch:
        """Several batches in one."""
        whole = cls()
        for part in parts:
            whole.records |= part.records
            whole.new |= part.new
            whole.entries += part.entries
        return whole

    @property
    def is_filled(self) -> bool:
        """Whether there is something to write."""
        return bool(self.records or self.entries)

    def followed_by(self, later: Batch) -> Batch:
        """Both in one. What a record was in this one need not be written any more."""
        records = {**self.records, **later.records}
        return Batch(records, self.new | later.new, self.entries + later.entries)

    @property
    def is_one(self) -> bool:
        """Whether it is one row."""
        return len(self.records) + len(self.entries) == 1

    def halves(self) -> tuple[Batch, Batch]:
        """The same in two batches: records before entries, the oldest first."""
        if self.records and self.entries:
            return Batch(self.records, self.new), Batch(entries=self.entries)
        if self.records:
            ids = list(self.records)
            return self._only(ids[: len(ids) // 2]), self._only(ids[len(ids) // 2 :])
        rows, half = list(self.entries), len(self.entries) // 2
        return Batch(entries=deque(rows[:half])), Batch(entries=deque(rows[half:]))

    def _only(self, ids: list[str]) -> Batch:
        return Batch({task_id: self.records[task_id] for task_id in ids}, self.new & set(ids))


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the writer was given of a task and may not have written yet.

    Attributes:
        record: The task as it was last; None where that is written.
        is_new: Whether all there is of the task waits.
        entries: Its log entries, the oldest first. Those being written just now are among
            them, so the database may have them too.
    """

    record: TaskRecord | None
    is_new: bool
    entries: list[LogEntry]
