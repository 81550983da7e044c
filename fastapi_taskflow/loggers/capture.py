"""Records of other loggers that become entries of the task in which they were made."""

from __future__ import annotations

import contextlib
import logging
import threading
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
        self._ears = [_Ear(name, self) for name in self._names]
        self.branch = branch
        self._running = 0
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Have a lock that nobody holds."""
        self._guard = threading.Lock()

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

    def has_ended(self, ear: _Ear) -> None:
        """Have an ear that was put back leave again, if the last task has ended meanwhile."""
        if not self._running:
            ear.detach()

    def nearest(self, name: str) -> str | None:
        """The captured logger to which records of this name come first."""
        while name:
            if name in self._names:
                return name
            name = name.rpartition(".")[0]
        return ROOT if ROOT in self._names else None


class _Ear(logging.NullHandler):
    """The handler on one captured logger.

    A null handler has no lock: none must be held while the sinks, with locks of their own, get
    the entry. And this library's own records pass it over.
    """

    def __init__(self, name: str, capture: Capture) -> None:
        super().__init__()
        self._logger = logging.getLogger(name)
        self._capture = capture
        self._watch = _Watch(self)

    def attach(self) -> None:
        """Listen on the logger; idempotent."""
        self._logger.addHandler(self)
        self._logger.addFilter(self._watch)

    def detach(self) -> None:
        """Leave the logger as it was."""
        self._logger.removeFilter(self._watch)
        self._logger.removeHandler(self)

    def handle(self, record: logging.LogRecord) -> bool:
        """Make the record an entry of the task that runs here; what fails stays here."""
        emitter = active_task.get()
        if isinstance(emitter, TaskEmitter) and self._is_ours(emitter, record):
            try:
                emitter.capture(record)
            except BaseException as error:  # noqa: BLE001  # no log call raises for our sake
                let_pass(error)
                report("a captured record failed and is lost", error)
        return True

    def watch(self) -> None:
        """Listen on the logger again, should a new configuration have removed this."""
        if self._capture.is_listening and self not in self._logger.handlers:
            self._logger.addHandler(self)
            self._capture.has_ended(self)

    def _is_ours(self, emitter: TaskEmitter, record: logging.LogRecord) -> bool:
        return (
            emitter.branch is self._capture.branch
            and not f"{record.name}.".startswith(f"{LIBRARY}.")  # on root: our own
            and self._capture.nearest(record.name) in (self._logger.name, None)
        )


class _Watch(logging.Filter):
    """Passes everything."""

    def __init__(self, ear: _Ear) -> None:
        super().__init__()
        self._ear = ear

    def filter(self, record: logging.LogRecord) -> bool:
        self._ear.watch()
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
