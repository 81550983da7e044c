"""What users bring along: any handler or logger of theirs, made a sink."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from fastapi_taskflow.errors import ConfigurationError
from fastapi_taskflow.filters import own_record
from fastapi_taskflow.loggers.queued import Address, QueuedHandler
from fastapi_taskflow.loggers.tree import reachable, takers

Served = Callable[[logging.LogRecord], Collection[logging.Handler]]
"""The handlers that have a record already, by another way."""


class AdoptedHandler:
    """A user's handler. It stays theirs: it is flushed, and never closed.

    Args:
        handler: The handler.
        served: What has had a record before it.
    """

    def __init__(self, handler: logging.Handler, served: Served) -> None:
        self.handler = handler
        self.name = type(handler).__name__
        self._served = served

    def address(self, record: logging.LogRecord) -> Address | None:
        """The handler, unless its level, as it is now, or a record it has had, say no."""
        if record.levelno < self.handler.level or self.handler in self._served(record):
            return None
        return record, (self.handler,)

    def flush(self) -> None:
        """Flush the handler."""
        self.handler.flush()


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

    def address(self, record: logging.LogRecord) -> Address | None:
        """The handlers, if the logger's effective level and filters, as they are now, agree."""
        if record.levelno < self.logger.getEffectiveLevel():
            return None
        # Since Python 3.12 a filter may replace the record.
        own = own_record(self.logger, record)
        passed: bool | logging.LogRecord = self.logger.filter(own)
        if not passed:
            return None
        handlers = tuple(takers(self.logger, record, self._served(record)))
        return own if passed is True else passed, handlers

    def flush(self) -> None:
        """Flush the handlers within reach."""
        for handler in reachable(self.logger):
            handler.flush()


def adopt(choice: logging.Handler | logging.Logger | str, served: Served) -> QueuedHandler:
    """A sink's handler that feeds a user's handler, or logger, given itself or by its name.

    Args:
        choice: The handler, the logger, or the name.
        served: What has had a record before it.

    Raises:
        ConfigurationError: The name can't be a logger's.
    """
    if isinstance(choice, logging.Handler):
        return QueuedHandler(AdoptedHandler(choice, served))
    logger = _logger_named(choice) if isinstance(choice, str) else choice
    return QueuedHandler(AdoptedLogger(logger, served))


def _logger_named(name: str) -> logging.Logger:
    if not name.strip() or "/" in name or "\\" in name:
        expected = 'the name of a logger, such as "myapp.audit"; for a file, FileLogger(path)'
        raise ConfigurationError("loggers", name, expected)
    return logging.getLogger(name)
