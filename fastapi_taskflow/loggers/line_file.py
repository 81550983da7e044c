"""Whole lines at the end of a file: written when the call returns, one by one or as a batch."""

from __future__ import annotations

import errno
import locale
import logging
import math
import os
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from io import FileIO
from itertools import accumulate
from stat import S_ISREG
from typing import Any

from fastapi_taskflow.errors import LogFileError
from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.loggers.chunks import chunks, formatted
from fastapi_taskflow.loggers.observed import ObservedHandler, untold
from fastapi_taskflow.records import EntryLogRecord

CHUNK_BYTES = 256 * 1024
"""The most bytes of a batch that go out by one write."""

LOCK_SECONDS = 1.0
"""How long opening and closing a file wait for a thread that may hang in a write to it."""


def _open_at_once(path: str, flags: int) -> int:
    """Open a path; a pipe that nobody reads is an error, where it would wait for a reader."""
    descriptor = os.open(path, flags | os.O_NONBLOCK, 0o666)
    os.set_blocking(descriptor, True)
    return descriptor


def encoding_of(name: str | None) -> str:
    """The encoding that the standard library would open a file with."""
    return locale.getpreferredencoding(do_setlocale=False) if name in (None, "locale") else name


class CutShortError(Exception):
    """Only the first of several lines were written; the cause says why.

    Attributes:
        kept: How many.
    """

    def __init__(self, kept: int) -> None:
        super().__init__(kept)
        self.kept = kept


class LogFile(FileIO):
    """An unbuffered file that is only appended to.

    It closes quietly with a manager that was dropped without a shutdown.

    What a full disk took of a line is cut off again, unless somebody else was seen to write to
    the file: that could cut off theirs. There, as in a pipe, it stays, and the next line begins
    after it.

    Attributes:
        status: What the system said of it when it was opened.
        is_regular: Whether it is a plain file, and no pipe or device.
    """

    _torn = False

    def __init__(self, path: str) -> None:
        super().__init__(path, "a", opener=_open_at_once if hasattr(os, "O_NONBLOCK") else None)
        self.status = os.fstat(self.fileno())
        self.is_regular = S_ISREG(self.status.st_mode)
        self._end = self.status.st_size  # where it ends, if nobody else writes to it

    def append(self, data: bytes, lines: Sequence[bytes]) -> None:
        """Write lines at the end, by one write.

        Args:
            data: The lines, joined.
            lines: The same, one by one.

        Raises:
            OSError: None of them could be written.
            CutShortError: Some of them could not.
        """
        if self._torn:
            data = b"\n" + data
        written = self.write(data)
        if written != len(data) or self._torn:
            self._write_rest(data, written or 0, lines)
            self._torn = False
        self._end += len(data)

    def is_named(self, path: str) -> bool:
        """Whether a path leads to this file now.

        Raises:
            OSError: It can't be told.
        """
        try:
            return os.path.samestat(os.stat(path), self.status)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _write_rest(self, data: bytes, written: int, lines: Sequence[bytes]) -> None:
        rest = memoryview(data)[written:]
        try:
            while rest:
                more = self.write(rest)
                if not more:
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), self.name)
                rest = rest[more:]
        except OSError as error:
            kept = self._keep_whole_lines(len(data) - len(rest), lines)
            if kept:
                raise CutShortError(kept) from error
            raise

    def _keep_whole_lines(self, count: int, lines: Sequence[bytes]) -> int:
        """Of so many bytes that were written, leave whole lines, and say how many those are."""
        if not count:
            return 0
        ends = list(accumulate(map(len, lines), initial=int(self._torn)))
        kept = bisect_right(ends, count) - 1
        self._torn = False
        part = count - ends[kept]
        if part:
            self._take_back(part, count)
        else:
            self._end += count
        return kept

    def _take_back(self, part: int, count: int) -> None:
        """Cut off the part of a line at the end of what was written, or have it end there."""
        self._torn = True
        with suppress(OSError):  # a pipe or a device, or a file that may only be appended to
            end = self.tell()
            # Has nobody written before, between and since?
            if end - count == self._end and end == os.fstat(self.fileno()).st_size:
                self.truncate(end - part)
                self._end, self._torn = end - part, False

    def __del__(self) -> None:
        self.close()


class LineFileHandler(ObservedHandler, logging.FileHandler):
    """Appends one line a record; once ``emit`` returns, the kernel has it.

    A line is appended by one unbuffered write, so lines of several processes don't mix.
    Subclasses say when the file is looked at, and what comes before a write.
    """

    stream: LogFile | None  # type: ignore[assignment]  # raw: encoding happens before the write
    _seen_at = math.inf  # between these two times the file's name isn't looked at again
    _look_again = -math.inf

    def handle(self, record: logging.LogRecord) -> bool:
        """Write the record's line, if the filters let it through, under the lock."""
        if type(record) is EntryLogRecord and not (self.filters or self.filters_by_itself):
            passed: logging.LogRecord | None = record  # as passed() says
        else:
            passed = self.passed(record)
        if passed is None:
            return False
        with self.lock:  # type: ignore[union-attr]  # None only after createLock was overridden
            self.emit(passed)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's line."""
        try:
            line = self._line(record)
            now = record.created
            if not self._seen_at <= now < self._look_again:
                self.look(now)
            failure = self.put(line, (line,))
            if failure is not None:
                raise failure
        except Exception:  # noqa: BLE001  # as every handler of the standard library
            self.handleError(record)

    def emit_batch(
        self,
        records: Iterable[logging.LogRecord],
        failed: Callable[[BaseException], None],
        done: Callable[[int], None] = untold,
    ) -> None:
        """Write the records' lines, in order, as ``emit`` would, but by few writes.

        The handler's level and filters are not asked. It takes the handler's lock itself.

        Args:
            records: The records.
            failed: Called, with the error, once for each record that ``emit`` would have
                failed on; the others are written.
            done: As for every handler of ours.
        """
        with self.lock:  # type: ignore[union-attr]  # None only after createLock was overridden
            lines = formatted(records, self._line, failed, done)
            for chunk in chunks(lines, self._room_now):
                self._put_safely(chunk, failed)
                done(len(chunk))

    def look(self, now: float) -> None:
        """See to it that the file still has its name.

        Args:
            now: The time of what will be written, in seconds since the epoch.
        """

    def put(self, data: bytes, lines: Sequence[bytes]) -> OSError | None:
        """Append one line, or several that ``room`` allows.

        Args:
            data: The lines, joined.
            lines: The same, one by one.

        Returns:
            What went wrong although the lines are written.

        Raises:
            OSError: None of them is written.
            CutShortError: Some are not.
        """
        (self.stream or self.reopen()).append(data, lines)
        return None

    def room(self, line: bytes) -> int:
        """How many bytes one write may have if it begins with this line; it may be longer.

        A pipe takes each line by a write of its own: longer ones could mix with others'.
        """
        return CHUNK_BYTES if self.stream is not None and self.stream.is_regular else 0

    def follow(self) -> bool:
        """Open the file that has the name now, if it is another; make it if there is none.

        Returns:
            Whether it was another.

        Raises:
            OSError: It can't be made.
        """
        try:
            if self.stream is None or self.stream.is_named(self.baseFilename):
                return False
        except OSError:  # it can't be seen from here, but the open file takes lines
            return False
        self.reopen()
        return True

    def open(self) -> None:
        """Open the file now, and make it and its directory if need be.

        Raises:
            LogFileError: It can't be written, or a thread hangs in a write to it.
        """
        try:
            if not self._acquire_soon():
                raise TimeoutError(errno.ETIMEDOUT, "a write to it hangs", self.baseFilename)
            try:
                if self.stream is None:
                    self.reopen()
            finally:
                self.release()
        except (OSError, ValueError) as error:  # ValueError: a null character
            raise LogFileError(self.baseFilename, error) from error

    def close(self) -> None:
        """Close the file; the next line opens it again. One that hangs is left to its thread."""
        if self._acquire_soon():
            try:
                super().close()
            finally:
                self.release()

    def _acquire_soon(self) -> bool:
        lock: Any = self.lock  # which no subclass of ours does without
        return bool(lock.acquire(timeout=LOCK_SECONDS))

    def reopen(self) -> LogFile:
        """Close the stream if there is one, and open the file that has the name now."""
        self.shut()
        self.stream = self._open()
        return self.stream

    def shut(self) -> None:
        """Close the stream; a process that is forked meanwhile doesn't have a closed one."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close()

    def _open(self) -> LogFile:  # type: ignore[override]  # see `stream`
        with suppress(FileNotFoundError):
            return LogFile(self.baseFilename)
        # Not what a link leads to: whoever can put one here could have any directory made.
        os.makedirs(os.path.dirname(self.baseFilename), exist_ok=True)
        return LogFile(self.baseFilename)

    def _line(self, record: logging.LogRecord) -> bytes:
        return (self.format(record) + self.terminator).encode(
            self.encoding or "utf-8", self.errors or "backslashreplace"
        )

    def _room_now(self, line: bytes) -> int:
        """The room of a write that begins now, in the file that has the name now."""
        try:
            now = time.time()
            if not self._seen_at <= now < self._look_again:
                self.look(now)
        except BaseException as error:  # noqa: BLE001  # writing will meet it again, and report it
            let_pass(error)
        return self.room(line)

    def _put_safely(self, lines: Sequence[bytes], failed: Callable[[BaseException], None]) -> None:
        try:
            failure: BaseException | None = self.put(b"".join(lines), lines)
            lines = ()
        except CutShortError as cut:
            failure, lines = None, lines[cut.kept :]
        except BaseException as error:  # noqa: BLE001  # see let_pass
            let_pass(error)
            failure, lines = (error, ()) if len(lines) == 1 else (None, lines)
        if failure is not None:
            failed(failure)
        for line in lines:  # not in the file: each has its own chance
            self._put_safely([line], failed)
