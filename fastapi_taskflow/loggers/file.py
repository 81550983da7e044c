"""Lines in a file: rotated here, or watched while something else rotates it."""

from __future__ import annotations

import os
import stat
from logging.handlers import RotatingFileHandler, WatchedFileHandler
from typing import Any

from fastapi_taskflow.checks import one_of, whole_number
from fastapi_taskflow.errors import ConfigurationError, ConfigurationTypeError
from fastapi_taskflow.formatters import TaskFormatter
from fastapi_taskflow.levels import Level
from fastapi_taskflow.loggers.base import HandlerObserver
from fastapi_taskflow.loggers.ledger import diagnostics
from fastapi_taskflow.loggers.line_file import LineFileHandler, LogFile
from fastapi_taskflow.loggers.observed import FormatterChoice, observe_lines

try:
    import fcntl
except ImportError:  # Windows has none: there, one process a file may rotate it
    fcntl = None  # type: ignore[assignment]

MAX_BYTES = 10 * 1024 * 1024
BACKUP_COUNT = 5
MODES = ("rotate", "watched")

RECHECK_SECONDS = 1.0
"""How long a rotating file may be deleted or renamed before it is made anew."""


def _only_append(mode: str) -> None:
    if mode != "a":
        raise ConfigurationError("mode", mode, ["a"])


class TaskRotatingFileHandler(LineFileHandler, RotatingFileHandler):
    """Appends lines to a file and rolls it over before a line would make it too large.

    A file that was deleted or renamed is made anew within a second. The roll itself is under
    a lock on the file, so that processes that share it don't roll it twice.

    Args:
        filename: The file.
        mode: "a": it is always appended to.
        maxBytes: The size in bytes that the file won't exceed, but for a single longer line;
            0 means no limit.
        backupCount: How many rolled files to keep, as ``filename.1`` and so on; with 0 the
            file is never rolled, and grows.
        encoding: The encoding of the lines.
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
        self._checked_at = 0.0
        # Set before the file is opened, which the standard library's __init__ may do.
        self.maxBytes, self.backupCount = maxBytes, backupCount
        super().__init__(filename, mode, maxBytes, backupCount, encoding, delay, errors)
        self.setFormatter(TaskFormatter())

    def warn_if_endless(self) -> None:
        """Log a warning where a size is set, but no backup to roll to."""
        if self.maxBytes > 0 and self.backupCount == 0:
            diagnostics.warning(
                "backup_count=0: %s is never rolled and grows without limit; "
                "keep one backup or more, or set max_bytes=0",
                self.baseFilename,
            )

    def write(self, line: bytes, now: float) -> None:
        """Append a line, after a look at the file's name once a second, and a roll if due."""
        if not 0 <= now - self._checked_at < RECHECK_SECONDS:
            self._checked_at = now
            if self.stream is not None and not self._is_current(self.stream):
                self.reopen()
        stream = self.stream or self.reopen()
        failure = None
        if self._overflows(line):
            try:
                stream = self._roll(stream, line)
            except OSError as error:  # it can't be renamed: the line goes where there is room
                failure, stream = error, self.reopen()
        self._write(stream, line)
        if self._rolls:
            self._size = stream.tell()  # the file's end, other processes' lines included
        if failure is not None:
            raise failure

    def _open(self) -> LogFile:  # type: ignore[override]
        stream = super()._open()
        status = os.fstat(stream.fileno())
        self._size = status.st_size
        # bpo-45401: a pipe or a device has no size, and is not for us to rename
        limited = self.maxBytes > 0 and self.backupCount > 0
        self._rolls = limited and stat.S_ISREG(status.st_mode)
        return stream

    def _overflows(self, line: bytes) -> bool:
        return self._rolls and self._size > 0 and self._size + len(line) > self.maxBytes

    def _roll(self, stream: LogFile, line: bytes) -> LogFile:
        held = os.dup(stream.fileno())  # doRollover closes the stream: the lock must outlive it
        try:
            if fcntl is not None:
                fcntl.flock(held, fcntl.LOCK_EX)
            self._size = os.fstat(held).st_size
            if self._is_current(stream) and self._overflows(line):
                self.doRollover()
            return self.reopen()
        finally:
            os.close(held)

    def _is_current(self, stream: LogFile) -> bool:
        try:
            return os.path.samestat(os.stat(self.baseFilename), os.fstat(stream.fileno()))
        except FileNotFoundError:
            return False


class TaskWatchedFileHandler(LineFileHandler, WatchedFileHandler):
    """Appends lines to a file that something else, such as logrotate, renames or removes.

    Before each line the file is made anew if its name is gone or has another file now.

    Args:
        filename: The file.
        mode: "a": it is always appended to.
        encoding: The encoding of the lines.
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
        super().__init__(filename, mode, encoding, delay, errors)
        self.setFormatter(TaskFormatter())

    def write(self, line: bytes, now: float) -> None:
        """Append a line to the file that has the name now."""
        self.reopenIfNeeded()
        super().write(line, now)

    def reopen(self) -> LogFile:
        """Open the file that has the name now, and remember which one it is."""
        stream = super().reopen()
        self._statstream()
        return stream


class FileLogger(HandlerObserver):
    """Writes events to a file, a line each; when ``task_log()`` returns, the kernel has it.

    The file and its missing parent directories are made at startup.

    Args:
        path: The file; a relative path is taken from the directory of now.
        max_bytes: The size limit in bytes at which the file is rolled; 0 means none. Not
            used with ``mode="watched"``.
        backup_count: How many rolled files to keep; with 0 the file is never rolled. Not
            used with ``mode="watched"``.
        mode: "rotate" to roll the file here, "watched" where logrotate or the like does.
        log_lifecycle: Whether status changes get a line too.
        min_level: The lowest level to write.
        formatter: "text", "json", or any ``logging.Formatter``.

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
    ) -> None:
        _check_path(path)
        one_of("mode", mode, MODES)
        whole_number("max_bytes", max_bytes)
        whole_number("backup_count", backup_count)
        if mode == "watched":
            self.handler = TaskWatchedFileHandler(path, delay=True)
        else:
            self.handler = TaskRotatingFileHandler(
                path, maxBytes=max_bytes, backupCount=backup_count, delay=True
            )
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
