"""Lines written in batches, by a thread: whoever logs waits for no disk and no pipe."""

from __future__ import annotations

import logging
from itertools import islice

from fastapi_taskflow.filters import own_record
from fastapi_taskflow.loggers.ledger import news
from fastapi_taskflow.loggers.observed import ObservedHandler
from fastapi_taskflow.loggers.queue import DeliveryQueue
from fastapi_taskflow.loggers.queued import QueuedHandler
from fastapi_taskflow.records import copy_record

BATCH = 1000
"""The most records that are written at once."""


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

    def queue(self, record: logging.LogRecord, heard: list[logging.Handler]) -> bool:
        """Queue a copy of the record, if the handler's level and filters let it through."""
        writer = self.writer
        if record.levelno < writer.level or writer in heard:
            return False
        heard.append(writer)
        if writer.filters:
            passed: bool | logging.LogRecord = writer.filter(own_record(writer, record))
            if not passed:
                return False
            record = record if passed is True else passed
        with self.lock:
            if self._has_room(record):
                self._put(copy_record(record))
        return True

    def record_in(self, item: logging.LogRecord) -> logging.LogRecord:
        """The item itself."""
        return item

    def deliver(self, queue: DeliveryQueue[logging.LogRecord]) -> None:
        """Write what waits. Reports of what fails wait until no lock of the handler's is held."""
        while batch := list(islice(queue.take(), BATCH)):
            news.hold()
            try:
                self.writer.emit_batch(batch, self._failed)
            except BaseException as error:  # noqa: BLE001  # nothing ends this thread
                self._failed(error)
            finally:
                queue.finish(len(batch))
                news.release()

    def _failed(self, error: BaseException) -> None:
        self.ledger.fail(error, "handling a record", accepted=True)
