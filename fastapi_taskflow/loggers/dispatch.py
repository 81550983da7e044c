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

    __slots__ = ("handler", "ledger")

    def __init__(self, handler: logging.Handler, ledger: Ledger) -> None:
        self.handler = handler
        self.ledger = ledger

    def served(self, record: logging.LogRecord) -> Collection[logging.Handler]:
        """The handlers that a record reaches by this sink."""
        handler = self.handler
        if isinstance(handler, QueuedHandler):
            return handler.served(record)
        return (handler,)

    def send(self, record: logging.LogRecord) -> None:
        """Hand a record over, in the calling thread. Nothing that the handler raises comes back."""
        handler, ledger = self.handler, self.ledger
        if record.levelno < handler.level:
            ledger.filtered += 1
            return
        try:
            taken = handler.handle(own_record(handler, record))
        except BaseException as error:  # noqa: BLE001  # see let_pass
            let_pass(error)
            ledger.fail(error, "handling a record")
            return
        if taken:
            ledger.accepted += 1
        else:
            ledger.filtered += 1
