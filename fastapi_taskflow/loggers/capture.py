"""Records of other loggers that become entries of the task in which they were made."""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections.abc import Iterable, Iterator

from fastapi_taskflow.context import active_task
from fastapi_taskflow.errors import ConfigurationError, ConfigurationTypeError
from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.loggers.birth import report
from fastapi_taskflow.loggers.branch import Branch
from fastapi_taskflow.loggers.emit import TaskEmitter
from fastapi_taskflow.records import LIBRARY

ROOT = "root"


class _Heard(threading.local):
    """The records that this thread has heard, as long as they live."""

    def __init__(self) -> None:
        # By identity: a class of records may compare, and have no hash.
        self.records: weakref.WeakValueDictionary[int, logging.LogRecord]
        self.records = weakref.WeakValueDictionary()


class Capture:
    """Listens on loggers while tasks run, and at no other time.

    The named loggers get a handler each, for their own records and what propagates to them. A
    filter beside it, which ``dictConfig`` leaves in place, puts the handler back where a new
    configuration has removed it.

    Args:
        names: The loggers' names; "root" is the root logger.
        branch: The branch of the manager whose tasks get the entries.

    Raises:
        ConfigurationError: A name can't be a logger's, or is of this library's tree.
    """

    def __init__(self, names: Iterable[str], branch: Branch) -> None:
        self._names = frozenset(_checked(names))
        self._ears = [_Ear(name, self) for name in sorted(self._names)]
        self.branch = branch
        self._running = 0
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Have a lock that nobody holds."""
        self._guard = threading.Lock()
        self._heard = _Heard()

    @property
    def names(self) -> frozenset[str]:
        """The names of the captured loggers."""
        return self._names

    def levels(self) -> dict[str, int]:
        """The levels of the captured loggers, and those set on loggers below them.

        What another process needs to make the records that this one would make.
        """
        levels = {ear.name: ear.effective_level() for ear in self._ears}
        known = list(logging.root.manager.loggerDict.items()) if levels else []
        for name, logger in known:
            if isinstance(logger, logging.Logger) and logger.level and self.nearest(name):
                levels[name] = logger.level
        return levels

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen while a task runs."""
        if not self._ears:
            yield
            return
        with self._guard:
            self._running += 1
            for ear in self._ears:
                ear.attach()
        try:
            yield
        finally:
            with self._guard:
                self._running -= 1
                if not self._running:
                    for ear in self._ears:
                        ear.detach()

    @property
    def is_listening(self) -> bool:
        """Whether a task runs."""
        return self._running > 0

    def put_back(self, ear: _Ear) -> None:
        """Have an ear listen again while a task runs, and leave should the last one end."""
        if self._running:
            ear.attach()
        if not self._running:
            ear.detach()

    def is_new(self, record: logging.LogRecord) -> bool:
        """Whether this thread has not heard the record yet.

        A configuration that changes while a record is on its way can bring it here twice.
        """
        records = self._heard.records
        if records.get(id(record)) is record:
            return False
        records[id(record)] = record
        return True

    def nearest(self, name: str) -> str | None:
        """The captured logger to which records of this name come first."""
        while name:
            if name in self._names:
                return name
            name = name.rpartition(".")[0]
        return ROOT if ROOT in self._names else None


class _Ear:
    """Listens on one captured logger."""

    def __init__(self, name: str, capture: Capture) -> None:
        self._logger = logging.getLogger(name)
        self._capture = capture
        self._watch = _Watch(self)
        self._watched: list[logging.Logger] = []
        self._listener: _Listener | None = None
        self._attaching = threading.Lock()  # never waited for: a configuration may be under way

    @property
    def name(self) -> str:
        """The logger's name."""
        return self._logger.name

    def effective_level(self) -> int:
        """The level from which on the logger makes records."""
        return self._logger.getEffectiveLevel()

    def attach(self) -> None:
        """Listen on the logger; idempotent."""
        if not self._attaching.acquire(blocking=False):
            return  # another thread does just that
        try:
            if self._listener not in self._logger.handlers:
                self._listener = _Listener(self)  # a new one: dictConfig has forgotten the last
                self._logger.addHandler(self._listener)
            self._watch_on(self._logger)
        finally:
            self._attaching.release()

    def detach(self) -> None:
        """Leave all loggers as they were."""
        while self._watched:
            self._watched.pop().removeFilter(self._watch)
        if self._listener is not None:
            self._logger.removeHandler(self._listener)

    def hear(self, record: logging.LogRecord) -> None:
        """Make the record an entry of the task that runs here; what fails stays here."""
        emitter = active_task.get()
        if isinstance(emitter, TaskEmitter):
            try:
                if self._is_ours(emitter, record):
                    emitter.capture(record)
            except BaseException as error:  # noqa: BLE001  # no log call raises for our sake
                let_pass(error)
                report("a captured record failed and is lost", error)

    def check(self) -> None:
        """Listen on the logger again, should a new configuration have put an end to it."""
        if self._listener not in self._logger.handlers:
            self._capture.put_back(self)

    def expect_removal(self) -> None:
        """Have a look at the next record of any logger whose records come here."""
        if self._capture.is_listening:
            for name, logger in list(logging.root.manager.loggerDict.items()):
                if isinstance(logger, logging.Logger) and self._is_below(name):
                    self._watch_on(logger)

    def _watch_on(self, logger: logging.Logger) -> None:
        if logger not in self._watched:
            self._watched.append(logger)
            logger.addFilter(self._watch)

    def _is_below(self, name: str) -> bool:
        own = self._logger.name
        return own == ROOT or name.startswith(f"{own}.")

    def _is_ours(self, emitter: TaskEmitter, record: logging.LogRecord) -> bool:
        return (
            emitter.branch is self._capture.branch
            and not f"{record.name}.".startswith(f"{LIBRARY}.")  # on root: our own
            and self._capture.nearest(record.name) in (self._logger.name, None)
            and self._capture.is_new(record)
        )


class _Listener(logging.NullHandler):
    """The handler on a captured logger.

    A null handler has no lock: none must be held while the sinks, with locks of their own, get
    the entry. And this library's own records pass it over.
    """

    def __init__(self, ear: _Ear) -> None:
        super().__init__()
        self._ear = ear

    def handle(self, record: logging.LogRecord) -> bool:
        """Pass the record to the ear."""
        self._ear.hear(record)
        return True

    def close(self) -> None:
        """Called by ``dictConfig``, which goes on to remove handlers."""
        super().close()
        self._ear.expect_removal()


class _Watch(logging.Filter):
    """Passes everything, and tells an ear."""

    def __init__(self, ear: _Ear) -> None:
        super().__init__()
        self._ear = ear

    def filter(self, record: logging.LogRecord) -> bool:
        self._ear.check()
        return True


def _checked(names: Iterable[str]) -> list[str]:
    expected = 'a list of logger names, such as ["myapp", "httpx"]'
    if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
        raise ConfigurationTypeError("capture_loggers", names, expected)
    checked = list(names)
    for name in checked:
        if not isinstance(name, str):
            raise ConfigurationTypeError("capture_loggers", name, expected)
        if not name.strip() or f"{name}.".startswith(f"{LIBRARY}."):
            expected = f'{expected}; "root" for all; {LIBRARY!r} itself is never captured'
            raise ConfigurationError("capture_loggers", name, expected)
    return checked
