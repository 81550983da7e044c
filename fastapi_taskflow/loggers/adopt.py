"""What users bring along: any handler or logger of theirs, made a sink."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from fastapi_taskflow.errors import ConfigurationError
from fastapi_taskflow.loggers.queued import QueuedHandler
from fastapi_taskflow.loggers.tree import hand_over, reachable, takers

Served = Callable[[logging.LogRecord], Collection[logging.Handler]]
"""The handlers that have a record already, by another way."""


class AdoptedHandler:
    """A user's handler. It stays theirs: it is flushed, and never closed.

    Args:
        handler: The handler.
    """

    def __init__(self, handler: logging.Handler) -> None:
        self.handler = handler
        self.name = type(handler).__name__

    def wants(self, record: logging.LogRecord) -> bool:
        """Whether the handler's level, as it is now, lets the record through."""
        return record.levelno >= self.handler.level

    def handle(self, record: logging.LogRecord) -> bool:
        """Hand the record over; False where the handler's filters turned it away."""
        return hand_over(self.handler, record) is not False

    def flush(self) -> None:
        """Flush the handler."""
        self.handler.flush()

    def handlers(self, record: logging.LogRecord) -> Collection[logging.Handler]:
        """The handler."""
        return (self.handler,)


class AdoptedLogger:
    """A user's logger: its level, filters, handlers and propagation count.

    Its ``disabled`` doesn't: ``dictConfig`` sets that on loggers which it isn't told of.

    Args:
        logger: The logger.
        served: What has had a record before it.
    """

    def __init__(self, logger: logging.Logger, served: Served) -> None:
        self.logger = logger
        self.name = type(logger).__name__
        self._served = served

    def wants(self, record: logging.LogRecord) -> bool:
        """Whether the logger's effective level, as it is now, lets the record through."""
        return record.levelno >= self.logger.getEffectiveLevel()

    def handle(self, record: logging.LogRecord) -> bool:
        """Hand the record to the logger's handlers; False where its filters turned it away.

        Raises:
            BaseException: What the first handler raised that failed; the others had the record.
        """
        # Since Python 3.12 a filter may replace the record.
        passed: bool | logging.LogRecord = self.logger.filter(record)
        if not passed:
            return False
        record = record if passed is True else passed
        errors = []
        for handler in takers(self.logger, record, self._served(record)):
            try:
                hand_over(handler, record)
            except BaseException as error:  # noqa: BLE001  # one handler is not the next one's
                errors.append(error)
        if errors:
            raise errors[0]
        return True

    def flush(self) -> None:
        """Flush the handlers within reach."""
        for handler in reachable(self.logger):
            handler.flush()

    def handlers(self, record: logging.LogRecord) -> Collection[logging.Handler]:
        """The handlers that the record is for."""
        return list(takers(self.logger, record)) if self.wants(record) else ()


def adopt(choice: logging.Handler | logging.Logger | str, served: Served) -> QueuedHandler:
    """A sink's handler that feeds a user's handler, or logger, given itself or by its name.

    Args:
        choice: The handler, the logger, or the name.
        served: What has had a record before it.

    Raises:
        ConfigurationError: The name can't be a logger's.
    """
    if isinstance(choice, logging.Handler):
        return QueuedHandler(AdoptedHandler(choice))
    logger = _logger_named(choice) if isinstance(choice, str) else choice
    return QueuedHandler(AdoptedLogger(logger, served))


def _logger_named(name: str) -> logging.Logger:
    if not name.strip() or "/" in name or "\\" in name:
        expected = 'the name of a logger, such as "myapp.audit"; for a file, FileLogger(path)'
        raise ConfigurationError("loggers", name, expected)
    return logging.getLogger(name)
