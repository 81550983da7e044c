"""All who watch one manager's events as they happen: each event is built once for all."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from fastapi_taskflow.events import Event, News, ProgressEvent
from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.loggers.dispatch import Sink
from fastapi_taskflow.loggers.ledger import Ledger
from fastapi_taskflow.loggers.watch import Bell, Buffer, Published, Watch, is_last
from fastapi_taskflow.records import event_from

HISTORY = 10_000
"""How many events are kept for readers that come back."""


class History:
    """The newest events, kept while a reader may come back for them.

    That is from the first reader on until as many events as are kept have passed without
    any: then none of those who left could go on without a gap.
    """

    def __init__(self) -> None:
        self.is_on = False
        self.readers = 0
        self._items: deque[Published] = deque(maxlen=HISTORY)
        self._start = 0
        self._unread = 0

    def begin(self, number: int) -> None:
        """Keep what comes after the event of this number."""
        self.is_on = True
        self._start = number

    def add(self, item: Published) -> None:
        """Keep an event; the oldest may go."""
        self._items.append(item)
        self._unread = 0 if self.readers else self._unread + 1
        if self._unread >= HISTORY:
            self.is_on = False
            self._unread = 0
            self._items.clear()

    def after(self, number: int) -> Iterable[Published] | None:
        """What came after the event of this number; None where not all of it is here."""
        first = self._items[0].number if self._items else self._start + 1
        skipped = number + 1 - first
        if 0 <= skipped <= len(self._items):
            return islice(self._items, skipped, None)
        return None


class _Listener(logging.Handler):
    """Hands the events of records on. It has no lock: ``Watchers`` has its own."""

    def __init__(self, publish: Callable[[Event], None]) -> None:
        super().__init__()
        self._publish = publish

    def handle(self, record: logging.LogRecord) -> bool:
        event = event_from(record)
        if event is None:
            return False
        self._publish(event)
        return True


class Watchers:
    """Those who watch, and what is kept for readers that come back.

    Any thread may call it, a signal handler or the garbage collector in the midst of a call
    included. It is among the sinks only while there is somebody to listen for.

    Args:
        sinks: The manager's sinks, to be one of.
    """

    def __init__(self, sinks: list[Sink]) -> None:
        self._sinks = sinks
        self._sink = Sink(_Listener(self.publish), Ledger("watchers"))
        self._buffers: dict[str | None, tuple[Buffer, ...]] = {}
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Have nobody who watches: they are in another process."""
        for buffer in self._all():
            buffer.end()
        self._lock = threading.RLock()
        self._buffers = {}
        self._readers: set[Buffer] = set()
        self._history = History()
        self._incoming: deque[News] = deque()
        self._publishing = False
        self._stopped = False
        self._boot = uuid.uuid4().hex[:12]
        self._count = 0
        self._settle()

    def __len__(self) -> int:
        """How many watch."""
        return len(self._all())

    def is_watched(self, task_id: str) -> bool:
        """Whether somebody watches this task alone."""
        return task_id in self._buffers

    def break_off(self, *, unless_watched: bool = False) -> bool:
        """Keep nothing for readers that come back, as there is news that is missed here.

        Args:
            unless_watched: Not if somebody watches.

        Returns:
            Whether nothing is kept: those who come back begin anew.
        """
        with self._lock:
            if unless_watched and self._buffers:
                return False
            self._history = History()
            self._history.readers = len(self._readers)
            self._count += 1  # an id of before is not the newest any more
            self._settle()
            return True

    # Watching

    def watch(self, task_id: str | None = None, *, progress: bool = False) -> Watch[Any]:
        """Watch from now on: all tasks, or one; their progress too, if that is wanted."""
        with self._lock:
            return self._watch(Buffer(task_id, progress=progress), since=self._count)

    def read(self, task_id: str | None = None, last_id: str | None = None) -> Watch[News]:
        """Watch, progress too, as a reader that may come back with the id of its last event.

        Args:
            task_id: The task to watch; None means all.
            last_id: After which event to begin; None means from now on.

        Returns:
            The watch. It is a reset, and begins now, where what came after that event isn't
            all here.
        """
        with self._lock:
            if not self._history.is_on:
                self._history.begin(self._count)
            last = self._count if last_id is None else self._number(last_id)
            kept = None if last is None else self._history.after(last)
            if last is None or kept is None:
                buffer, since = Buffer(task_id, progress=True), self._count
            else:
                buffer, since = Buffer(task_id, progress=True), last
                for item in kept:
                    if task_id in (None, item.event.task_id):
                        buffer.hold(item)
            self._readers.add(buffer)
            self._history.readers = len(self._readers)
            return self._watch(buffer, since=since, is_reset=kept is None)

    def _watch(self, buffer: Buffer, *, since: int, is_reset: bool = False) -> Watch[Any]:
        if self._stopped:
            buffer.end()
        if not buffer.is_over:
            self._buffers[buffer.task_id] = (*self._buffers.get(buffer.task_id, ()), buffer)
            self._settle()
        return Watch(buffer, self._leave, since=since, is_reset=is_reset)

    def id_of(self, number: int) -> str:
        """An event's id, for readers: it is known which process gave it."""
        return f"{self._boot}-{number}"

    def id_for(self, watch: Watch[Any]) -> str | None:
        """The id up to which a reader has everything; None while something waits for it."""
        with self._lock:
            return None if watch.has_news else self.id_of(self._count)

    def _number(self, last_id: str) -> int | None:
        boot, _, number = last_id.partition("-")
        return int(number) if boot == self._boot and _is_number(number) else None

    def _leave(self, buffer: Buffer) -> None:
        with self._lock:
            others = tuple(b for b in self._buffers.get(buffer.task_id, ()) if b is not buffer)
            if others:
                self._buffers[buffer.task_id] = others
            else:
                self._buffers.pop(buffer.task_id, None)
            self._readers.discard(buffer)
            self._history.readers = len(self._readers)
            self._settle()
            bell = buffer.bell
        if bell is not None:
            bell.ring()

    def _settle(self) -> None:
        """Be among the sinks, or not. In place: a record on its way must find it, too."""
        wanted = bool(self._buffers) or self._history.is_on
        if wanted and self._sink not in self._sinks:
            self._sinks.append(self._sink)  # the last one: to take it off moves no other
        elif not wanted and self._sink in self._sinks:
            self._sinks.remove(self._sink)

    def _all(self) -> list[Buffer]:
        return [buffer for buffers in self._buffers.values() for buffer in buffers]

    # Publishing

    def publish(self, event: News) -> None:
        """Tell all who watch. Nobody is waited for, nor is code of theirs run."""
        self._incoming.append(event)
        while self._incoming:
            bells: set[Bell] = set()
            with self._lock:
                if self._publishing:  # in this very thread, which goes on with it afterwards
                    return
                self._publishing = True
                try:
                    while self._incoming:
                        self._publish_one(self._incoming.popleft(), bells)
                finally:
                    self._publishing = False
            self._ring(bells)

    def _publish_one(self, event: News, bells: set[Bell]) -> None:
        item = self._published(event)
        if self._history.is_on and item.number:
            self._history.add(item)
        watching = (*self._buffers.get(None, ()), *self._buffers.get(event.task_id, ()))
        for buffer in watching:
            buffer.offer(item)
            if (bell := buffer.bell) is not None:
                bells.add(bell)
        if is_last(event):
            self._buffers.pop(event.task_id, None)  # they have ended by themselves
            self._settle()
        elif not watching:
            self._settle()

    def _published(self, event: News) -> Published:
        if isinstance(event, ProgressEvent):
            return Published(0, event)
        self._count += 1
        return Published(self._count, event)

    def end_task(self, task_id: str) -> None:
        """A task has ended, and a level set on its logger keeps that from those who watch."""
        if task_id in self._buffers:
            with self._lock:
                bells = self._end(task_id)
            self._ring(bells)

    def stop(self) -> None:
        """End all watches after what waits for them; those to come end at once."""
        with self._lock:
            self._stopped = True
            bells = [bell for task_id in list(self._buffers) for bell in self._end(task_id)]
        self._ring(set(bells))

    def begin(self) -> None:
        """Have watches go on again, until they end by themselves."""
        self._stopped = False

    def _end(self, task_id: str | None) -> set[Bell]:
        buffers = self._buffers.pop(task_id, ())
        for buffer in buffers:
            buffer.end()
        self._settle()
        return {bell for buffer in buffers if (bell := buffer.bell) is not None}

    def _ring(self, bells: Iterable[Bell]) -> None:
        for bell in bells:
            for buffer in bell.ring():
                self._leave(buffer)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20  # int() takes any
