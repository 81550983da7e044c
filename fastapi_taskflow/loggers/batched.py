"""Lines written in batches, by a thread: whoever logs waits for no disk and no pipe."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import islice

from fastapi_taskflow.filters import own_record
from fastapi_taskflow.loggers.ledger import news
from fastapi_taskflow.loggers.observed import ObservedHandler
from fastapi_taskflow.loggers.queue import DeliveryQueue
from fastapi_taskflow.loggers.queued import QueuedHandler
from fastapi_taskflow.records import EntryLogRecord, LibraryLogRecord, copy_record

BATCH = 1000
"""The most records that are written at once."""

BATCH_SECONDS = 0.02
"""After how long a batch has enough records: one that is slow to format is written soon."""


class BatchedHandler(QueuedHandler[logging.LogRecord]):
    """Queues records for a handler that writes them in batches.

    The handler's level and filters are asked where the record is sent; its formatter works,
    and its lines are written, in the thread.

    Args:
        writer: The handler.
        name: What it is called in the figures.
    """

    def __init__(self, writer: ObservedHandler, name: str) -> None:
        self.writer = writer
        super().__init__(name)

    def queue(
        self, record: logging.LogRecord, heard: list[logging.Handler], is_alone: bool = False
    ) -> bool:
        """Queue the record, if the handler's level and filters let it through.

        It is a copy, unless nobody else could change it, or see it change, till it is written.
        """
        writer = self.writer
        if record.levelno < writer.level or writer in heard:
            return False
        heard.append(writer)
        passed: logging.LogRecord | None = record
        if writer.filters or writer.filters_by_itself or type(record) is not EntryLogRecord:
            passed = writer.passed(own_record(writer, record) if writer.filters else record)
        if passed is None:
            return False
        # It can be queued as it is if it is ours, and no filter or factory of others' has it.
        is_own = is_alone and isinstance(passed, LibraryLogRecord) and not writer.filters
        with self.lock:
            self._put(passed if is_own else copy_record(passed), passed)
        return True

    def record_in(self, item: logging.LogRecord) -> logging.LogRecord:
        """The item itself."""
        return item

    def deliver(self, queue: DeliveryQueue[logging.LogRecord]) -> None:
        """Write what waits. Reports of what fails wait until no lock of the handler's is held."""
        while len(queue):
            batch = _Batch(queue)
            news.mine.hold()
            try:
                self.writer.emit_batch(batch, self._failed, batch.done)
            except BaseException as error:  # noqa: BLE001  # nothing ends this thread
                for _ in range(batch.in_hand):
                    self._failed(error)
            finally:
                batch.done(batch.in_hand)
                try:
                    news.mine.release()
                finally:
                    queue.tell()

    def _failed(self, error: BaseException) -> None:
        self.ledger.fail(error, "handling a record", accepted=True)


class _Batch:
    """Records, taken one by one as they are asked for: until then a shutdown may count them.

    Attributes:
        in_hand: How many have been taken, and not been dealt with.
    """

    def __init__(self, queue: DeliveryQueue[logging.LogRecord]) -> None:
        self._queue = queue
        self.in_hand = 0

    def __iter__(self) -> Iterator[logging.LogRecord]:
        enough = time.monotonic() + BATCH_SECONDS
        for record in islice(self._queue.take(), BATCH):
            self.in_hand += 1
            yield record
            if time.monotonic() > enough:
                return

    def done(self, count: int) -> None:
        """Say that so many have been dealt with; what failed is reported before anyone is told."""
        self.in_hand -= count
        self._queue.done(count)
        if not news.mine.waiting:
            self._queue.tell()
