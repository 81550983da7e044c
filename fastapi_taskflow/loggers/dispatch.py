"""The one place where a record meets an observer's handler: guarded, and its outcome counted."""

from __future__ import annotations

import logging

from fastapi_taskflow.filters import own_record
from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.loggers.ledger import Ledger
from fastapi_taskflow.loggers.queued import QueuedHandler


class Sink:
    """A handler at the end of the road.

    Attributes:
        handler: The handler.
        ledger: Its figures.
    """

    __slots__ = ("_queued", "handler", "ledger")

    def __init__(self, handler: logging.Handler, ledger: Ledger) -> None:
        self.handler = handler
        self.ledger = ledger
        self._queued = handler if isinstance(handler, QueuedHandler) else None

    def send(self, record: logging.LogRecord, heard: list[logging.Handler]) -> None:
        """Hand a record over, in the calling thread. Nothing that the handler raises comes back.

        Args:
            record: The record.
            heard: The handlers that have had what it tells of already; those that have it, or
                turn it away, by this call are added.
        """
        handler, ledger = self.handler, self.ledger
        if record.levelno < handler.level or handler in heard:
            ledger.filtered += 1
            return
        try:
            if self._queued is not None:
                taken = self._queued.queue(record, heard)
            else:
                heard.append(handler)
                taken = handler.handle(own_record(handler, record) if handler.filters else record)
        except BaseException as error:  # noqa: BLE001  # see let_pass
            let_pass(error)
            ledger.fail(error, "handling a record")
            return
        if taken:
            ledger.accepted += 1
        else:
            ledger.filtered += 1
