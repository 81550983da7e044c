"""A manager's branch of the logger tree: its loggers by function, and the sinks they feed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import NamedTuple

from fastapi_taskflow.loggers.dispatch import Sink
from fastapi_taskflow.loggers.ledger import Ledger
from fastapi_taskflow.loggers.tree import TreeLogger
from fastapi_taskflow.records import LIFECYCLE, TASK


class BranchLogger(TreeLogger):
    """One function's logger in a manager's branch."""

    def __init__(self, name: str, pipeline: Ledger, sinks: Collection[logging.Handler]) -> None:
        super().__init__(name)
        self.pipeline = pipeline
        self._sinks = sinks

    def served(self) -> Collection[logging.Handler]:
        """The observers' handlers: one that is in the pipeline too gets a record once."""
        return self._sinks

    def on_error(self, error: BaseException, doing: str) -> None:
        """Count and report it."""
        self.pipeline.fail(error, doing)

    def on_handled(self, *, taken: bool) -> None:
        """Count it."""
        if taken:
            self.pipeline.accepted += 1
        else:
            self.pipeline.filtered += 1


class FunctionLoggers(NamedTuple):
    """The two loggers of one task function."""

    task: BranchLogger
    lifecycle: BranchLogger


class Branch:
    """Where one manager's records go: its own sinks first, then the users' pipeline.

    Args:
        sinks: The observers' handlers, in the order in which they receive.
        propagate: Whether records go on to the users' own logging configuration.
    """

    def __init__(self, sinks: Sequence[Sink], *, propagate: bool = True) -> None:
        self.sinks = tuple(sinks)
        self.propagate = propagate
        self.pipeline = Ledger("pipeline")
        self._handlers = frozenset(sink.handler for sink in sinks)
        self._loggers: dict[str, FunctionLoggers] = {}

    def loggers(self, func_name: str) -> FunctionLoggers:
        """The loggers of a function: made once, never registered, gone with this branch."""
        loggers = self._loggers.get(func_name)
        if loggers is None:
            loggers = FunctionLoggers(
                BranchLogger(f"{TASK}.{func_name}", self.pipeline, self._handlers),
                BranchLogger(f"{LIFECYCLE}.{func_name}", self.pipeline, self._handlers),
            )
            loggers = self._loggers.setdefault(func_name, loggers)
        return loggers

    def send_on(self, logger: BranchLogger, record: logging.LogRecord) -> None:
        """Let the record go on to the users' handlers, as any library's would."""
        if self.propagate and logger.isEnabledFor(record.levelno):
            logger.handle(record)
