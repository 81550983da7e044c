"""The one place where a record meets an observer's handler: guarded, and its outcome counted."""

from __future__ import annotations

import logging
from collections.abc import Collection

from fastapi_taskflow.filters import own_record
from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.loggers.ledger import Ledger
from fastapi_taskflow.loggers.queued import QueuedHandler


class Sink:
    """A handler at the end of the road."""

    __slots__ = ("_queued", "handler", "ledger")

    def __init__(self, handler: logging.Handler, ledger: Ledger) -> None:
        self.handler = handler
        self.ledger = ledger
        self._queued = handler if isinstance(handler, QueuedHandler) else None

    def served(self, record: logging.LogRecord) -> Collection[logging.Handler]:
        """The handlers that a record reaches by this sink."""
        return (self.handler,) if self._queued is None else self._queued.served(record)

    def send(self, record: logging.LogRecord, heard: Collection[logging.Handler] = ()) -> None:
        """Hand a record over, in the calling thread. Nothing that the handler raises comes back.

        Args:
            record: The record.
            heard: The handlers that have had what it tells of already.
        """
        handler, ledger = self.handler, self.ledger
        if record.levelno < handler.level or handler in heard:
            ledger.filtered += 1
            return
        try:
            if self._queued is None:
                taken = handler.handle(own_record(handler, record))
            else:
                taken = self._queued.queue(record, heard)
        except BaseException as error:  # noqa: BLE001  # see let_pass
            let_pass(error)
            ledger.fail(error, "handling a record")
            return
        if taken:
            ledger.accepted += 1
        else:
            ledger.filtered += 1
