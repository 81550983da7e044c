"""Loggers outside the registry that obey the registered loggers of their name and above.

A logger that ``logging.getLogger`` has made is never freed, and ``dictConfig`` may disable
it. A manager's loggers are made here instead: they die with the manager, nothing can disable
them, and the levels, filters and handlers that users set by name reach them all the same.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator
from typing import Any

from fastapi_taskflow.filters import own_record
from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.records import LIBRARY, LIFECYCLE, TASK

_manager = logging.root.manager


Levels = tuple[int, int, int]
"""What a record's level must be at least, and how many loggers the registry had when it was found.

That number is the first. The second is the level that is set on this branch of the tree; where
none is it is 0, so that all passes: one on ``fastapi_taskflow`` itself, or on root, is the
pipeline's alone. The third is the effective level. No named tuple: the interpreter takes apart a
plain one in a fraction of the time.
"""

remembered: dict[Any, Levels] = logging.root._cache  # type: ignore[attr-defined]  # noqa: SLF001
"""The root logger's own memory of levels, where ours are kept beside it, by loggers' names.

Each line asks for them, and to find them is several lookups. The standard library empties this
one whenever a level is set anywhere. What was found with fewer loggers counts no more: one of a
class of the users' may have a level as it is registered.
"""

MAX_REMEMBERED = 10_000
"""Of how many names levels are remembered at once: functions come and go."""

_library = logging.getLogger(LIBRARY)
_library.addHandler(logging.NullHandler())
for _name in (TASK, LIFECYCLE):
    logging.getLogger(_name)  # the fixed part of the tree: users find it, and it is never disabled


class _Busy(threading.local):
    """The handlers that are at work in this thread, the outermost first."""

    def __init__(self) -> None:
        self.handlers: list[logging.Handler] = []


_busy = _Busy()


def hand_over(handler: logging.Handler, record: logging.LogRecord) -> bool | logging.LogRecord:
    """Call a handler, unless it is what caused the record: nobody is fed their own output.

    Returns:
        What the handler's filters said, or False where it was passed over.
    """
    busy = _busy.handlers
    if handler in busy:
        return False
    busy.append(handler)
    try:
        return handler.handle(own_record(handler, record))
    finally:
        busy.pop()


def takers(
    logger: logging.Logger, record: logging.LogRecord, heard: Collection[logging.Handler] = ()
) -> Iterator[logging.Handler]:
    """The handlers of a logger and above that a record is for, each once.

    Args:
        logger: Where to begin.
        record: The record; its level decides.
        heard: The handlers that have had it already, by another way.
    """
    seen = {id(handler) for handler in heard}
    for handler in reachable(logger):
        if record.levelno >= handler.level and id(handler) not in seen:
            seen.add(id(handler))
            yield handler


def reachable(logger: logging.Logger | None) -> list[logging.Handler]:
    """The handlers of a logger, then of those above it, as far as it propagates."""
    found: list[logging.Handler] = []
    while logger is not None:
        found += logger.handlers
        logger = logger.parent if logger.propagate else None
    return [handler for handler in found if not isinstance(handler, logging.NullHandler)]


def registered_loggers() -> list[logging.Logger]:
    """The loggers of the tree that the registry knows, root included."""
    known = list(logging.root.manager.loggerDict.items())
    ours = [logger for name, logger in known if f"{name}.".startswith(f"{LIBRARY}.")]
    return [logging.root, *(logger for logger in ours if isinstance(logger, logging.Logger))]


class TreeLogger(logging.Logger):
    """One logger of the tree.

    As a ``logging.Logger`` it stands for the pipeline: its level, filters, parents and
    handlers are those of the registry's logger of the same name, looked up at each call.

    Its one handler is a door to them. The standard library's own ``callHandlers`` opens it,
    and so what others have put around that method, as Sentry does, works here too.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.handlers: list[Any] = [_Door(self)]  # Any: not a Handler, which would be registered
        self._names = list(_names_from(name))

    def registered(self) -> logging.Logger:
        """The registry's logger of this name, or the nearest one above."""
        known = self.manager.loggerDict
        for name in self._names:
            found = known.get(name)
            if found is not None and isinstance(found, logging.Logger):
                return found
        return self.root

    def levels(self) -> Levels:
        """The levels of now."""
        known = remembered.get(self.name)
        if known is not None and known[0] == len(_manager.loggerDict):
            return known
        return self._remember_levels()

    def _remember_levels(self) -> Levels:
        """Find the levels, and keep them until a level is set, or a logger registered."""
        levels = self._find_levels()
        if len(remembered) >= MAX_REMEMBERED:
            remembered.clear()
        remembered[self.name] = levels
        if self._find_levels() != levels:  # set, and forgotten, before they were kept
            remembered.pop(self.name, None)
        return levels

    def _find_levels(self) -> Levels:
        known = len(_manager.loggerDict)
        logger: logging.Logger | None = self.registered()
        while logger is not None:
            level = logger.level
            if level:
                is_pipelines = logger is _library or logger is self.root
                return known, logging.NOTSET if is_pipelines else level, level
            logger = logger.parent
        return known, logging.NOTSET, logging.NOTSET

    def getEffectiveLevel(self) -> int:
        """The effective level of the registry's logger."""
        return self.levels()[2]

    def isEnabledFor(self, level: int) -> bool:
        """Whether the pipeline lets a record of this level through.

        Asked without the registered logger's own ``isEnabledFor``: that one says no where
        ``disable_existing_loggers`` has disabled it, and takes the lock under which
        ``dictConfig`` closes handlers.
        """
        return level > self.manager.disable and level >= self.getEffectiveLevel()

    def filter(  # type: ignore[override]  # since Python 3.12 a filter may replace the record
        self, record: logging.LogRecord
    ) -> bool | logging.LogRecord:
        """Apply the filters that users put on the logger of just this name."""
        logger = self.registered()
        return logger.filter(record) if logger.name == self.name else True

    def handle(self, record: logging.LogRecord) -> None:
        """Hand a record to the users' handlers; what they or their filters raise stays here."""
        try:
            super().handle(record)
        except BaseException as error:  # noqa: BLE001  # see let_pass
            let_pass(error)
            self.on_error(error, f"filtering on logger {self.name}")

    def deliver(self, record: logging.LogRecord) -> None:
        """Hand a record to each handler above that wants it, once, in the usual order."""
        for handler in takers(self.registered(), record, self.heard()):
            self.on_handler(handler)
            try:
                taken = hand_over(handler, record)
            except BaseException as error:  # noqa: BLE001  # see let_pass
                let_pass(error)
                self.on_error(error, f"handling a record in {handler!r}")
            else:
                self.on_handled(taken=bool(taken))

    def on_handler(self, handler: logging.Handler) -> None:
        """A handler of the user's is about to get a record."""

    def on_error(self, error: BaseException, doing: str) -> None:
        """A handler or filter of the user's raised an error."""

    def on_handled(self, *, taken: bool) -> None:
        """A handler of the user's took a record, or its filters turned it away."""

    def heard(self) -> Collection[logging.Handler]:
        """The handlers that have had the record already, by another way."""
        return ()


def _names_from(name: str) -> Iterator[str]:
    """A logger's name, and those of the loggers above it but root."""
    while name:
        yield name
        name = name.rpartition(".")[0]


class _Door:
    """What the standard library takes for a tree logger's only handler."""

    level = logging.NOTSET

    def __init__(self, logger: TreeLogger) -> None:
        self.handle = logger.deliver
