"""A manager's branch of the logger tree: its loggers by function, and the sinks they feed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence
from typing import NamedTuple

from fastapi_taskflow.loggers.bridge import ObserverHandler
from fastapi_taskflow.loggers.dispatch import EntryKeeper, Sink
from fastapi_taskflow.loggers.flood import Budget
from fastapi_taskflow.loggers.ledger import Ledger
from fastapi_taskflow.loggers.progress import ProgressKeeper, ProgressNews
from fastapi_taskflow.loggers.tree import TreeLogger, reachable, registered_loggers
from fastapi_taskflow.loggers.watchers import Watchers
from fastapi_taskflow.records import LIFECYCLE, TASK
from fastapi_taskflow.redact import Redactor

_manager = logging.root.manager


class _Turn(threading.local):
    """Who has had the record that this thread hands to the users' handlers."""

    heard: Collection[logging.Handler] = ()


_turn = _Turn()


class BranchLogger(TreeLogger):
    """One function's logger in a manager's branch."""

    def __init__(self, name: str, pipeline: Ledger, unserved: dict[ObserverHandler, None]) -> None:
        super().__init__(name)
        self.pipeline = pipeline
        self._unserved = unserved

    def handle_once(self, record: logging.LogRecord, heard: Collection[logging.Handler]) -> None:
        """Hand a record to the users' handlers, but for those that have it already."""
        before, _turn.heard = _turn.heard, heard
        try:
            self.handle(record)
        finally:
            _turn.heard = before

    def heard(self) -> Collection[logging.Handler]:
        """The observers' handlers: one that is in the pipeline too gets a record once."""
        return _turn.heard

    def on_handler(self, handler: logging.Handler) -> None:
        """Remember an async observer's that nobody serves, lest its events be lost with it."""
        if isinstance(handler, ObserverHandler) and not handler.is_served:
            self._unserved[handler] = None

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
        entries: What keeps the tasks' log entries, before the sinks have them; None keeps none.
        propagate: Whether records go on to the users' own logging configuration.
        log_limit: How many entries below WARNING each place in the code may log in one
            task; None means no limit.
        redactor: What takes secrets out of everything that is sent; None leaves them in.
        keeper: Where it is kept how far tasks have come; None keeps it nowhere.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        entries: EntryKeeper | None = None,
        *,
        propagate: bool = True,
        log_limit: int | None = None,
        redactor: Redactor | None = None,
        keeper: ProgressKeeper | None = None,
    ) -> None:
        self.sinks = list(sinks)
        self.entries = entries
        self.watchers = Watchers(self.sinks)
        self.progress = ProgressNews(self.watchers, keeper, redactor)
        self.propagate = propagate
        self.log_limit = log_limit
        self.redactor = redactor
        self.pipeline = Ledger("pipeline")
        self.pipeline.redactor = redactor
        self._loggers: dict[str, FunctionLoggers] = {}
        self._unserved: dict[ObserverHandler, None] = {}

    @property
    def has_sent(self) -> bool:
        """Whether anything was kept, or taken by a sink, in this process."""
        kept = self.entries is not None and self.entries.has_kept
        return kept or any(sink.ledger.accepted for sink in self.sinks)

    def loggers(self, func_name: str) -> FunctionLoggers:
        """The loggers of a function: made once, never registered, gone with this branch."""
        loggers = self._loggers.get(func_name)
        if loggers is None:
            loggers = FunctionLoggers(
                self._logger(f"{TASK}.{func_name}"), self._logger(f"{LIFECYCLE}.{func_name}")
            )
            loggers = self._loggers.setdefault(func_name, loggers)
        return loggers

    def _logger(self, name: str) -> BranchLogger:
        return BranchLogger(name, self.pipeline, self._unserved)

    def new_budget(self) -> Budget | None:
        """The budget of a new task; None where there is no limit."""
        return None if self.log_limit is None else Budget(self.log_limit)

    def redact_text(self, text: str) -> str:
        """A text without secrets."""
        return text if self.redactor is None else self.redactor.text(text)

    def settle(self) -> None:
        """Report, at the end, what has not been reported of the pipeline and the tasks' logs."""
        self.pipeline.settle()
        if self.entries is not None:
            self.entries.ledger.settle()

    def redact_tags(self, tags: dict[str, str]) -> dict[str, str]:
        """The tags without secrets, as they are stored."""
        return tags if self.redactor is None else self.redactor.mapping(tags)

    @property
    def has_unserved(self) -> bool:
        """Whether a record has reached an async observer that nobody served."""
        return len(self._unserved) > 0

    def users_handlers(self, func_name: str | None = None) -> list[logging.Handler]:
        """The handlers of the process's own configuration that records reach.

        Among them are those of async observers that nobody served when a record reached them,
        though another configuration may have removed them since.

        Args:
            func_name: Those of which function's records; None means any.
        """
        found: list[logging.Handler] = []
        for handler in list(self._unserved):
            self._unserved.pop(handler, None)
            found.append(handler)
        if not self.propagate:
            return found
        if func_name is None:
            known = registered_loggers()
        else:
            known = [logger.registered() for logger in self.loggers(func_name)]
        for logger in known:
            found += reachable(logger)
        return found

    def goes_on(self, levelno: int, pipeline_level: int) -> bool:
        """Whether a record goes on to the users' handlers, as any library's would.

        Args:
            levelno: Its level.
            pipeline_level: The effective level of its logger.
        """
        return self.propagate and levelno >= pipeline_level and levelno > _manager.disable
