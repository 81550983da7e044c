"""What the built-in handlers share: where their errors go, and which formatter they use."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from fastapi_taskflow.checks import yes_or_no
from fastapi_taskflow.errors import ConfigurationError
from fastapi_taskflow.formatters import TaskFormatter, TaskJsonFormatter
from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.levels import Level, level_number
from fastapi_taskflow.records import is_lifecycle

FORMATTERS = {"text": TaskFormatter, "json": TaskJsonFormatter}
"""The formatters that ``formatter=`` knows by name."""

FormatterChoice = str | logging.Formatter
"""What ``formatter=`` takes: a name from ``FORMATTERS``, or a formatter."""


def untold(count: int) -> None:
    """Nobody wants to know."""


class ObservedHandler(logging.Handler):
    """A handler whose errors go to whoever observes with it.

    Attributes:
        observed: Set by an observer: an error in ``emit`` is raised to the dispatcher, which
            counts and reports it. Unset, as under ``dictConfig``, it goes the standard
            library's way, through ``logging.raiseExceptions`` to standard error.
        log_lifecycle: Whether status changes are wanted. No filter, as it is asked for each line.
        filters_by_itself: Whether a subclass has a ``filter()`` of its own. Without one, and with
            no filters, nothing turns a log entry away: that is not asked on a line's road.
    """

    observed = False
    log_lifecycle = True
    filters_by_itself = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.filters_by_itself = cls.filter is not ObservedHandler.filter

    def passed(self, record: logging.LogRecord) -> logging.LogRecord | None:
        """The record that is to be handled, or None: ``filter()`` is asked where it could say no.

        That is to say, hardly ever: all that is asked for a task's line costs less than a filter.
        """
        if not (self.filters or self.filters_by_itself) and (
            self.log_lifecycle or not is_lifecycle(record)
        ):
            return record
        passed: bool | logging.LogRecord = self.filter(record)
        if isinstance(passed, logging.LogRecord):  # since Python 3.12 a filter may replace it
            return passed
        return record if passed else None

    def filter(  # type: ignore[override]  # since Python 3.12 a filter may replace the record
        self, record: logging.LogRecord
    ) -> bool | logging.LogRecord:
        """Turn status changes away where they aren't wanted, and ask the filters."""
        if not self.log_lifecycle and is_lifecycle(record):
            return False
        return super().filter(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Called by ``emit`` while it handles an exception."""
        if self.observed:
            raise  # noqa: PLE0704  # the exception that emit is handling
        super().handleError(record)

    def emit_batch(
        self,
        records: Iterable[logging.LogRecord],
        failed: Callable[[BaseException], None],
        done: Callable[[int], None] = untold,
    ) -> None:
        """Handle records that have passed the filters, in order, by few writes if it can.

        Args:
            records: The records. Those that are not asked for yet may still be taken away.
            failed: Called with the error, once for each record that is lost by one.
            done: Called, each time, with how many more have been dealt with, lost ones included.
        """
        for record in records:
            try:
                with self.lock:  # type: ignore[union-attr]  # None only without createLock
                    self.emit(record)
            except BaseException as error:  # noqa: BLE001  # see let_pass
                let_pass(error)
                failed(error)
            done(1)


def make_formatter(choice: object) -> logging.Formatter:
    """The formatter that ``formatter=`` asks for.

    Raises:
        ConfigurationError: It is neither a known name nor a formatter.
    """
    if isinstance(choice, logging.Formatter):
        return choice
    if isinstance(choice, str) and choice in FORMATTERS:
        formatter: logging.Formatter = FORMATTERS[choice]()
        return formatter
    names = ", ".join(map(repr, FORMATTERS))
    raise ConfigurationError("formatter", choice, f"one of {names}, or a logging.Formatter")


def observe_lines(
    handler: ObservedHandler, *, formatter: object, min_level: Level, log_lifecycle: bool
) -> None:
    """Set a handler up for an observer that writes lines.

    Raises:
        ConfigurationError: The formatter or the level is none.
    """
    handler.observed = True
    handler.setFormatter(make_formatter(formatter))
    handler.setLevel(level_number(min_level))
    handler.log_lifecycle = yes_or_no("log_lifecycle", log_lifecycle)
