"""Lines in a file: rotated here, or watched while something else rotates it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from logging.handlers import RotatingFileHandler, WatchedFileHandler
from typing import Any

from fastapi_taskflow.checks import one_of, whole_number
from fastapi_taskflow.errors import ConfigurationError, ConfigurationTypeError
from fastapi_taskflow.formatters import TaskFormatter
from fastapi_taskflow.levels import Level
from fastapi_taskflow.loggers.base import HandlerObserver
from fastapi_taskflow.loggers.ledger import diagnostics
from fastapi_taskflow.loggers.line_file import LineFileHandler, LogFile, encoding_of
from fastapi_taskflow.loggers.observed import FormatterChoice, observe_lines
from fastapi_taskflow.loggers.roll_lock import roll_lock

MAX_BYTES = 10 * 1024 * 1024
BACKUP_COUNT = 5
MODES = ("rotate", "watched")

RECHECK_SECONDS = 0.01
"""How long a rotating file may be deleted or renamed before it is made anew."""

UNSEEN_BYTES = 1024 * 1024
"""More than other processes write in that time: with so much room no file is over its size."""

ROLL_AGAIN_SECONDS = 5.0
"""How long a file that could not be rolled takes lines before that is tried again."""


def _only_append(mode: str) -> None:
    if mode != "a":
        raise ConfigurationError("mode", mode, ["a"])


class TaskRotatingFileHandler(LineFileHandler, RotatingFileHandler):
    """Appends lines to a file and rolls it over before a line would make it too large.

    A file that was deleted or renamed is made anew within a second. The roll itself is under
    a lock on the file, so that processes that share it don't roll it twice. A file that can't
    be rolled takes the lines all the same; it is an error every few seconds.

    Args:
        filename: The file.
        mode: "a": it is always appended to.
        maxBytes: The size in bytes that the file won't exceed, but for a single longer line;
            0 means no limit.
        backupCount: How many rolled files to keep, as ``filename.1`` and so on; with 0 the
            file is never rolled, and grows.
        encoding: The encoding of the lines; None is the locale's.
        delay: Whether to open the file only when the first line is written.
        errors: What to do with characters that the encoding lacks.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        mode: str = "a",
        maxBytes: int = MAX_BYTES,
        backupCount: int = BACKUP_COUNT,
        encoding: str | None = "utf-8",
        delay: bool = False,  # the standard library's signature
        errors: str | None = "backslashreplace",
    ) -> None:
        _only_append(mode)
        self._size = 0
        self._rolls = False
        self._shared = False  # whether something else has been seen to write to it, or move it
        self._roll_again = 0.0
        # Set before the file is opened, which the standard library's __init__ may do.
        self.maxBytes, self.backupCount = maxBytes, backupCount
        known = encoding_of(encoding)
        super().__init__(filename, mode, maxBytes, backupCount, known, delay, errors)
        self.setFormatter(TaskFormatter())

    def warn_if_endless(self) -> None:
        """Log a warning where a size is set, but no backup to roll to."""
        if self.maxBytes > 0 and self.backupCount == 0:
            diagnostics.warning(
                "backup_count=0: %s is never rolled and grows without limit; "
                "keep one backup or more, or set max_bytes=0",
                self.baseFilename,
            )

    def look(self, now: float) -> None:
        """Look at the file's name now and then; each time, once others have a hand in it."""
        if self.follow():
            self._shared = True
        elif self._rolls and self.stream is not None:
            self._note_size(self.stream.seek(0, os.SEEK_END), self._size)
        self._seen_at = now
        self._look_again = now if self._shared else now + RECHECK_SECONDS

    def put(self, data: bytes, lines: Sequence[bytes]) -> OSError | None:
        """Append lines, after a roll if one is due.

        Returns:
            Why the file could not be rolled; the lines are in it all the same.
        """
        stream = self.stream or self.reopen()
        failure = None
        size = self._size + len(data)
        if size > self.maxBytes and self._is_to_roll(len(data)):
            failure = self._try_to_roll(len(data))
            stream = self.stream or self.reopen()
            size = self._size + len(data)
        stream.append(data, lines)
        if self._rolls:
            # To ask where the file ends costs as much as the write. While it is far from full, and
            # nobody else was seen to write to it, it is asked only when its name is looked at.
            is_sure = not self._shared and size <= self.maxBytes - UNSEEN_BYTES
            end = size if is_sure else stream.tell()
            if end == size:
                self._size = size
            elif self._note_size(end, size) and os.fstat(stream.fileno()).st_nlink == 0:
                self.reopen()  # others have rolled so fast that it was removed: once more
                return self.put(data, lines)
        return failure

    def room(self, line: bytes) -> int:
        """As many bytes as go into the file, after the roll if one is due, before the next."""
        if not self._rolls:
            return super().room(line)
        used = 0 if self._overflows(len(line)) else self._size
        return min(super().room(line), self.maxBytes - used)

    def doRollover(self) -> None:
        """Rename the file and the ones rolled before; of a symbolic link, what it stands for."""
        name = self.baseFilename
        self.shut()
        self.baseFilename = os.path.realpath(name)
        try:
            super().doRollover()
        finally:
            self.baseFilename = name

    def _open(self) -> LogFile:  # type: ignore[override]  # see `LineFileHandler.stream`
        stream = super()._open()
        self._size = stream.status.st_size
        # bpo-45401: a pipe or a device has no size, and is not for us to rename
        self._rolls = self.maxBytes > 0 and self.backupCount > 0 and stream.is_regular
        return stream

    def _note_size(self, size: int, expected: int) -> bool:
        """Note where the file ends, and say whether that is the first sign of other writers."""
        self._size = size
        if self._shared or size == expected:
            return False
        self._shared = True
        self._look_again = -math.inf
        return True

    def _overflows(self, count: int) -> bool:
        return self._rolls and self._size > 0 and self._size + count > self.maxBytes

    def _is_to_roll(self, count: int) -> bool:
        return self._overflows(count) and time.monotonic() >= self._roll_again

    def _try_to_roll(self, count: int) -> OSError | None:
        """Roll the file, unless another process has; give the reason if that can't be done."""
        try:
            with super()._open() as held, roll_lock(held):
                self._size = held.seek(0, os.SEEK_END)
                if held.is_named(self.baseFilename) and self._overflows(count):
                    self.doRollover()
            self.reopen()
        except OSError as error:
            self._roll_again = time.monotonic() + ROLL_AGAIN_SECONDS
            return error
        return None


class TaskWatchedFileHandler(LineFileHandler, WatchedFileHandler):
    """Appends lines to a file that something else, such as logrotate, renames or removes.

    Before each line the file is made anew if its name is gone or has another file now.

    Args:
        filename: The file.
        mode: "a": it is always appended to.
        encoding: The encoding of the lines; None is the locale's.
        delay: Whether to open the file only when the first line is written.
        errors: What to do with characters that the encoding lacks.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        mode: str = "a",
        encoding: str | None = "utf-8",
        delay: bool = False,  # the standard library's signature
        errors: str | None = "backslashreplace",
    ) -> None:
        _only_append(mode)
        super().__init__(filename, mode, encoding_of(encoding), delay, errors)
        self.setFormatter(TaskFormatter())

    def look(self, now: float) -> None:
        """Look at the file's name each time."""
        self.follow()


class FileLogger(HandlerObserver):
    """Writes events to a file, a line each; when ``task_log()`` returns, the kernel has it.

    The file and its missing parent directories are made at startup.

    Args:
        path: The file; a relative path is taken from the directory of now. Behind a symbolic
            link, the file that it leads to is rolled, and the link stays; a missing directory
            that it leads into is not made.
        max_bytes: The size limit in bytes at which the file is rolled; 0 means none. Not
            used with ``mode="watched"``.
        backup_count: How many rolled files to keep; with 0 the file is never rolled, and
            grows, which startup warns of. Not used with ``mode="watched"``.
        mode: "rotate" to roll the file here, "watched" where logrotate or the like does.
        log_lifecycle: Whether status changes get a line too.
        min_level: The lowest level to write.
        formatter: "text", "json", or any ``logging.Formatter``.
        queued: Whether a thread writes, in batches, so that a slow disk holds up no task. Up to
            10,000 lines may wait; those that do are lost if the process is killed, and none
            if it shuts down.

    Raises:
        ConfigurationError: A mode, level or formatter that there is not, or a negative size.
    """

    handler: TaskRotatingFileHandler | TaskWatchedFileHandler

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = MAX_BYTES,
        backup_count: int = BACKUP_COUNT,
        mode: str = "rotate",
        log_lifecycle: bool = False,
        min_level: Level = "info",
        formatter: FormatterChoice = "text",
        queued: bool = False,
    ) -> None:
        _check_path(path)
        one_of("mode", mode, MODES)
        whole_number("max_bytes", max_bytes)
        whole_number("backup_count", backup_count)
        handler: TaskRotatingFileHandler | TaskWatchedFileHandler
        if mode == "watched":
            handler = TaskWatchedFileHandler(path, delay=True)
        else:
            handler = TaskRotatingFileHandler(
                path, maxBytes=max_bytes, backupCount=backup_count, delay=True
            )
        super().__init__(handler, queued=queued)
        observe_lines(
            self.handler, formatter=formatter, min_level=min_level, log_lifecycle=log_lifecycle
        )

    @property
    def path(self) -> str:
        """The file's absolute path."""
        return self.handler.baseFilename

    def open(self) -> None:
        """Open the file now; make it, and its missing parent directories.

        Raises:
            LogFileError: It can't be written.
        """
        if isinstance(self.handler, TaskRotatingFileHandler):
            self.handler.warn_if_endless()
        self.handler.open()


def _check_path(path: object) -> None:
    expected = "the path of a file, as str or os.PathLike"
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigurationTypeError("path", path, expected)
    if not os.fspath(path):
        raise ConfigurationError("path", path, expected)


_SHORTHAND = {
    "path": "log_file",
    "max_bytes": "log_file_max_bytes",
    "backup_count": "log_file_backup_count",
    "mode": "log_file_mode",
}
"""What the parameters of ``FileLogger`` are called where ``log_file=`` stands for one."""


def file_shorthand(path: str | os.PathLike[str] | None, **options: Any) -> FileLogger | None:
    """The observer that ``log_file=`` stands for, or None.

    Raises:
        ConfigurationError: An option can't be used, even where there is no file to use it for.
    """
    try:
        file = FileLogger(os.devnull if path is None else path, **options)
    except ConfigurationError as error:
        raise error.renamed(_SHORTHAND[error.parameter]) from None
    return None if path is None else file
