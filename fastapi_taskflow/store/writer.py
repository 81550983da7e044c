"""The one thread that writes to the database: batches, retried until they are in."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.store.batches import Batch, Waiting
from fastapi_taskflow.store.record import LogEntry, TaskRecord, changed
from fastapi_taskflow.store.refusals import Refusals
from fastapi_taskflow.store.sql import Database
from fastapi_taskflow.store.waiters import Parties, Party

MAX_QUEUED_ENTRIES = 100_000
"""Log entries that may wait while the database takes none; older ones are dropped then."""

MAX_QUEUED_TASKS = 100_000
"""Ended tasks that may wait as a whole, as the database takes none; the oldest are dropped then."""

MAX_TAKEN = 10_000
"""Tasks without a row that are remembered, since another one has their idempotency key."""

JOIN_SECONDS = 1.0
"""How long the thread may take to end: it has nothing left to write, or can't."""

GATHER_SECONDS = 0.01
"""How long changes gather for which nobody waits: what follows soon is written with them."""

RETRY_SECONDS = 0.5
REPORT_SECONDS = 60.0


class Writer:
    """Writes what it is given, in order: while one batch is written, the next one gathers.

    Any thread may give; nobody ever waits, but in ``flush`` and ``close``. What somebody waits for
    is written at once; the rest within ``GATHER_SECONDS``, without waking the thread each time:
    it wakes by itself until there was nothing for so long.

    Args:
        database: Where to write.
        log: Where to report that it can't be written; a logger that never raises.
        prepare: Called before each batch; what it raises puts the batch off.
    """

    def __init__(
        self, database: Database, log: logging.Logger, prepare: Callable[[], None]
    ) -> None:
        self._database = database
        self._prepare = prepare
        self._log = log
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Have nothing to write: what waits is a forked child's parent's to write."""
        self._gathered = Batch()
        self._in_hand = Batch()  # what the thread writes just now
        self._dropped = 0
        self._reported_dropped = 0
        self._look_at = MAX_QUEUED_TASKS + MAX_QUEUED_TASKS // 10
        self._given = 0
        self._wanted = 0  # up to here, somebody waits
        self._written = 0
        self._lock = threading.RLock()  # of the garbage collector, too: it may call stop()
        self._changed = threading.Condition(self._lock)
        self._needed = threading.Condition(self._lock)  # what the thread waits for
        self._sleeps = False
        self._parties = Parties(self._set_out)
        self._failing_since: float | None = None
        self._taken: dict[str, str] = {}
        self._thread: threading.Thread | None = None
        self._closing = False
        self._next_report = 0.0

    def record(self, record: TaskRecord, *, new: bool = False) -> None:
        """Write a record as it is now; what it was before need not be written any more."""
        if record.status.is_final and (record.args or record.kwargs or record.result is not None):
            # It may wait for long: not with what isn't written.
            record = changed(record, args=(), kwargs={}, result=None)
        with self._lock:
            gathered = self._gathered
            gathered.records[record.task_id] = record
            if new:
                gathered.new.add(record.task_id)
            if len(gathered.records) >= self._look_at:
                self._bound()
            self._gave()

    def entry(self, task_id: str, entry: LogEntry) -> None:
        """Write a log entry."""
        with self._lock:
            if len(self._gathered.entries) >= MAX_QUEUED_ENTRIES:
                self._gathered.entries.popleft()
                self._dropped += 1
            self._gathered.entries.append((task_id, entry))
            self._gave()

    def waiting(self, task_id: str) -> Waiting:
        """What of a task may not be in the database yet; what is not in here is there."""
        with self._lock:
            batches = (self._in_hand, self._gathered)
            records = [batch.records[task_id] for batch in batches if task_id in batch.records]
            return Waiting(
                record=records[-1] if records else None,
                is_new=any(task_id in batch.new for batch in batches),
                entries=[
                    entry for batch in batches for of, entry in batch.entries if of == task_id
                ],
            )

    def holder(self, task_id: str) -> str:
        """The task that has a written task's idempotency key: it itself, or one before it."""
        return self._taken.get(task_id, task_id)

    def flush(self, timeout: float) -> bool:
        """Wait until all that was given so far is written, for at most so many seconds."""
        with self._lock:
            goal = self._given
            if self._has_failed_for(timeout):
                timeout = 0.0
            self._want(goal)
            return self._changed.wait_for(lambda: self._written >= goal, timeout)

    async def flush_async(self, timeout: float) -> bool:
        """Wait as ``flush`` does, on an event loop.

        Where the database has taken nothing for longer than the timeout already, there is no
        waiting.
        """
        goal = self._given
        if self._written < goal and not self._has_failed_for(timeout):
            await self._parties.join(timeout)
        return self._written >= goal

    def close(self, timeout: float) -> None:
        """Flush, end the thread, and report what could not be written in time; idempotent."""
        if not self.flush(timeout):
            with self._lock:
                left = self._in_hand.followed_by(self._gathered)
            self._log.error(
                "%s: %d task changes and %d log entries could not be written at shutdown",
                self._database.name,
                len(left.records),
                len(left.entries),
            )
        self.stop()
        thread = self._thread
        if thread is not None:
            thread.join(JOIN_SECONDS)
        self._database.close()

    def stop(self) -> None:
        """End the thread without waiting for it, after what it is writing."""
        with self._lock:
            self._closing = True
            self._needed.notify()

    def _gave(self) -> None:
        self._given += 1
        if self._thread is None:
            self._closing = False
            self._thread = threading.Thread(
                target=self._run, name="fastapi_taskflow-store", daemon=True
            )
            self._thread.start()
        elif self._sleeps:
            self._sleeps = False
            self._needed.notify()

    def _set_out(self, party: Party, timeout: float) -> None:
        with self._lock:
            party.wait_for(self._given, timeout)
            if self._written < party.goal:
                self._parties.add(party)
                self._want(party.goal)
                return
        party.end()

    def _want(self, goal: int) -> None:
        if goal > self._wanted:
            self._wanted = goal
            self._needed.notify()

    def _is_needed(self) -> bool:
        return self._closing or self._wanted > self._written

    def _run(self) -> None:
        while self._wait_for_work():
            if not self._write_batch():
                with self._lock:
                    if self._pause():
                        self._thread = None
                        break

    def _wait_for_work(self) -> bool:
        with self._lock:
            self._needed.wait_for(self._is_needed, GATHER_SECONDS)
            while self._written >= self._given and not self._closing:
                self._sleeps = True
                self._needed.wait()
                self._sleeps = False
                self._needed.wait_for(self._is_needed, GATHER_SECONDS)
            if self._written < self._given:
                return True
            self._thread = None  # under the lock: what comes from now on starts another thread
            return False

    def _write_batch(self) -> bool:
        with self._lock:
            goal = self._given
            self._in_hand, self._gathered = self._gathered, Batch()
        try:
            self._prepare()
            self._write(self._in_hand)
        except Exception as error:  # noqa: BLE001  # a driver's own; the thread must go on
            self._report(error)
            refusals = self._refusals()
            if refusals.is_refused(error):
                self._in_hand = refusals.write_all_but_refused(self._in_hand)
            if self._in_hand.is_filled:
                if self._failing_since is None:
                    self._failing_since = time.monotonic()
                self._give_back()
                return False
        with self._lock:
            self._in_hand = Batch()
            self._written = goal
            self._failing_since = None
            self._changed.notify_all()
            reached = self._parties.reached(goal)
        if self._dropped > self._reported_dropped:
            self._report_dropped()
        for party in reached:
            party.wake()
        return True

    def _has_failed_for(self, seconds: float) -> bool:
        since = self._failing_since
        return since is not None and time.monotonic() - since > seconds

    def _write(self, batch: Batch) -> None:
        records, new = batch.records.items(), batch.new
        added = [record for task_id, record in records if task_id in new]
        others = [record for task_id, record in records if task_id not in new]
        taken = self._database.write(added, others, batch.entries)
        if taken:
            self._taken.update(taken)
            while len(self._taken) > MAX_TAKEN:
                del self._taken[next(iter(self._taken))]

    def _refusals(self) -> Refusals:
        return Refusals(
            write=self._write,
            probe=self._database.probe,
            pause=self._pause,
            report=self._report,
            drop=self._drop,
        )

    def _drop(self) -> None:
        self._dropped += 1

    def _pause(self) -> bool:
        """Wait before another try. Returns whether the thread is to end."""
        with self._lock:
            return self._needed.wait_for(lambda: self._closing, RETRY_SECONDS)

    def _give_back(self) -> None:
        with self._lock:
            self._gathered = self._in_hand.followed_by(self._gathered)
            self._in_hand = Batch()
            while len(self._gathered.entries) > MAX_QUEUED_ENTRIES:
                self._gathered.entries.popleft()
                self._dropped += 1
            if len(self._gathered.records) > MAX_QUEUED_TASKS:
                self._bound()

    def _bound(self) -> None:
        """Drop what is too much, a tenth of it more, lest each further task look for it again."""
        self._dropped += self._gathered.drop_oldest(MAX_QUEUED_TASKS - MAX_QUEUED_TASKS // 10)
        self._look_at = max(len(self._gathered.records), MAX_QUEUED_TASKS) + MAX_QUEUED_TASKS // 10

    def _report_dropped(self) -> None:
        """Say what is lost, once it is known how much."""
        self._log.error(
            "%s: it is written again; %d rows of tasks and log entries were dropped",
            self._database.name,
            self._dropped - self._reported_dropped,
        )
        self._reported_dropped = self._dropped

    def _report(self, error: Exception) -> None:
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + REPORT_SECONDS
            self._log.error(
                "%s can't be written now, tasks go on and it is tried again: %s "
                "(%d rows dropped so far)",
                self._database.name,
                error,
                self._dropped,
            )
