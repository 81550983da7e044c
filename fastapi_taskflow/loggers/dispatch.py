"""Where a record meets what receives it: guarded, and its outcome counted."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fastapi_taskflow.filters import own_record
from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.loggers.ledger import Ledger
from fastapi_taskflow.loggers.queued import QueuedHandler
from fastapi_taskflow.records import Noted, noted_entry


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

    def send(
        self, record: logging.LogRecord, heard: list[logging.Handler], is_alone: bool = False
    ) -> None:
        """Have the handler handle, or queue, a record that its level lets through.

        That happens in the calling thread. Nothing that is raised comes back.

        Args:
            record: The record.
            heard: The handlers that have had what it tells of already; those that have it, or
                turn it away, by this call are added.
            is_alone: Whether nobody else has the record, nor will get it.
        """
        handler, ledger = self.handler, self.ledger
        if record.levelno < handler.level or handler in heard:
            ledger.filtered += 1
            return
        try:
            if self._queued is not None:
                taken = self._queued.queue(record, heard, is_alone)
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


class EntryKeeper:
    """Tells whoever keeps the tasks' log entries of each; it has no level and no filter.

    Attributes:
        has_kept: Whether there was one, in this process.

    Args:
        note: Called with the task's id, and the entry.
        ledger: Its figures.
    """

    __slots__ = ("__weakref__", "_note", "has_kept", "ledger")

    def __init__(self, note: Callable[[str, Noted], None], ledger: Ledger) -> None:
        self._note = note
        self.ledger = ledger
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Have kept nothing: what a forked child's parent has kept is the parent's."""
        self.has_kept = False

    def keep(self, record: logging.LogRecord) -> None:
        """Note an entry, before any sink has its record. Nothing that is raised comes back."""
        try:
            self._note(record.__dict__["task_id"], noted_entry(record))
            self.has_kept = True
        except BaseException as error:  # noqa: BLE001  # see let_pass
            let_pass(error)
            self.ledger.fail(error, "noting an entry")
