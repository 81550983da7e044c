"""What became of the records that went to one observer: the figures, and the rare report."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.loggers.tree import TreeLogger
from fastapi_taskflow.records import LIBRARY
from fastapi_taskflow.redact import Redactor
from fastapi_taskflow.redact.traceback import redact_traceback

REPORT_INTERVAL = 60.0
"""Seconds between two reports about one observer."""


@dataclass(frozen=True, slots=True)
class ObserverStats:
    """An observer's figures since its manager was made.

    Attributes:
        delivered: Records or events that it took without an error.
        filtered: Records that its level or filters turned away.
        dropped: Events lost before they reached it, counted by reason.
        dropped_by_level: The same events counted by level, a status change by its natural one.
        errors: Events on which it raised an error or ran out of time.
        queued: Events that wait for it now, or that it is handling.
        high_water: The most events that ever waited at once.
        last_error: The last error, as text.
    """

    delivered: int = 0
    filtered: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    dropped_by_level: Mapping[str, int] = field(default_factory=dict)
    errors: int = 0
    queued: int = 0
    high_water: int = 0
    last_error: str | None = None


class ThreadNews:
    """What one thread has to report, held back while it holds locks.

    A report goes to the users' handlers, which have locks of their own: to wait for those
    with ours in hand would be a deadlock in the making.

    Attributes:
        thread: The thread.
        busy: Whether a report is being made.
        held: How many times over reports are held back. On a line's road it is changed without
            ``hold()`` and ``release()``: their calls would cost more than all they do.
        waiting: What is held back; a moment's sleep may be among it, for the same reason.
    """

    __slots__ = ("busy", "held", "thread", "waiting")

    def __init__(self) -> None:
        self.thread = threading.current_thread()
        self.busy = False
        self.held = 0
        self.waiting: list[Callable[[], None]] = []

    def hold(self) -> None:
        """Hold reports back until as many calls of ``release`` as of this."""
        self.held += 1

    def release(self) -> None:
        """Let them go, once nobody holds them back any more."""
        self.held -= 1
        self.let_go()

    def let_go(self) -> None:
        """Make the reports that wait, unless somebody still holds them back."""
        while self.waiting and not self.held:
            self.waiting.pop(0)()

    def tell(self, report: Callable[[], None]) -> None:
        """Make a report now, or when reports are let go."""
        if self.held:
            self.waiting.append(report)
        else:
            report()


class _News(threading.local):
    """Finds a thread's news by one look: each costs as much as five attributes do."""

    def __init__(self) -> None:
        self.mine = ThreadNews()


news = _News()


class Ledger:
    """The mutable figures behind one observer's ``ObserverStats``.

    Attributes:
        redactor: Takes secrets out of what the observer's errors say; None leaves them in.

    The counters are plain integers: on CPython an ``+=`` on an attribute is not interrupted
    by another thread, since the interpreter switches threads only at calls and loops.
    """

    __slots__ = (
        "__weakref__",
        "_dropping",
        "_next_report",
        "_unreported",
        "accepted",
        "dropped",
        "dropped_by_level",
        "errors",
        "filtered",
        "high_water",
        "last_error",
        "lost",
        "name",
        "redactor",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.redactor: Redactor | None = None
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Begin at nought: what a forked child's parent has counted is the parent's."""
        self.accepted = 0
        self.lost = 0
        self.filtered = 0
        self._dropping = threading.RLock()  # the garbage collector may drop events, too
        self.dropped: Counter[str] = Counter()
        self.dropped_by_level: Counter[str] = Counter()
        self.errors = 0
        self.high_water = 0
        self.last_error: str | None = None
        self._unreported = 0
        self._next_report = 0.0

    def fail(self, error: BaseException, doing: str, *, accepted: bool = False) -> None:
        """Count an error, and report it unless this observer had a report a minute ago.

        Args:
            error: What was raised.
            doing: What the observer was doing, for the report.
            accepted: Whether the event had been counted as accepted before.
        """
        self.errors += 1
        self.lost += accepted
        said = _describe(error)
        self.last_error = said if self.redactor is None else self.redactor.text(said)
        self._report(f"failed while {doing}: {self.last_error}", error)

    def drop(self, reason: str, levels: Iterable[str]) -> None:
        """Count accepted events, by their levels, that never reached the observer."""
        lost = Counter(levels)
        count = lost.total()
        if not count:
            return
        with self._dropping:  # unlike a number's, a Counter's += may be interrupted
            self.dropped[reason] += count
            self.dropped_by_level.update(lost)
        self.lost += count
        self._report(f"lost events: {reason}", None, count)

    def settle(self) -> None:
        """Report what hasn't been reported, at the end: nobody asks for the figures after it."""
        if not self._unreported:
            return
        sums = [f"{count} events lost: {reason}" for reason, count in self.dropped.items()]
        if self.errors:
            sums.insert(0, f"{self.errors} errors, the last one {self.last_error}")
        self._next_report = 0.0
        self._report(f"is closed; in all {'; '.join(sums)}", None, 0)

    def turn_away(self) -> None:
        """Count an accepted event that the observer's filters turned away after all."""
        self.filtered += 1
        self.lost += 1

    def stats(self, queued: int = 0) -> ObserverStats:
        """The figures as they stand."""
        return ObserverStats(
            delivered=max(0, self.accepted - self.lost - queued),  # emit counts it as queued first
            filtered=self.filtered,
            dropped=dict(self.dropped),
            dropped_by_level=dict(self.dropped_by_level),
            errors=self.errors,
            queued=queued,
            high_water=self.high_water,
            last_error=self.last_error,
        )

    def _report(self, what: str, error: BaseException | None, count: int = 1) -> None:
        self._unreported += count
        now = time.monotonic()
        if now < self._next_report or news.mine.busy:
            return
        unreported, self._unreported = self._unreported, 0
        self._next_report = now + REPORT_INTERVAL
        news.mine.tell(lambda: self._say(what, unreported, error))

    def _say(self, what: str, count: int, error: BaseException | None) -> None:
        news.mine.busy = True  # a handler of the user's that fails on the report ends it here
        try:
            redacted = None if error is None else _redacted(self.redactor, error)
            diagnostics.error(
                "Observer %s %s (%d since the last report; tasks are not affected)%s",
                self.name,
                what,
                count,
                "" if redacted is None else f"\n{redacted}",
                exc_info=error if redacted is None else None,
            )
        except BaseException as another:  # noqa: BLE001  # the error's own code
            let_pass(another)
        finally:
            news.mine.busy = False


def _describe(error: BaseException) -> str:
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except BaseException as another:  # noqa: BLE001  # the error's own code
        let_pass(another)
        return name


def _redacted(redactor: Redactor | None, error: BaseException) -> str | None:
    return redact_traceback(redactor, (type(error), error, error.__traceback__))


class Diagnostics(TreeLogger):
    """A logger for the library's own news, which nothing broken can turn into an error."""

    def makeRecord(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        """A record made by the process's factory, or a plain one where that fails."""
        try:
            made: object = super().makeRecord(*args, **kwargs)
            if isinstance(made, logging.LogRecord):
                return made
        except BaseException as error:  # noqa: BLE001  # see let_pass
            let_pass(error)
        name, level, path, line, message, arguments, exc_info, *_ = args
        return logging.LogRecord(name, level, path, line, message, arguments, exc_info)

    def on_error(self, error: BaseException, doing: str) -> None:
        """Count it; a report of it would go the same broken way."""
        _ledger.fail(error, doing)


diagnostics = Diagnostics(f"{LIBRARY}.observers")
_ledger = Ledger("reports")
