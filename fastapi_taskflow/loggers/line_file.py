"""A file that takes lines, each by one write that is done when it returns."""

from __future__ import annotations

import logging
import os
from io import FileIO

from fastapi_taskflow.errors import LogFileError
from fastapi_taskflow.loggers.observed import ObservedHandler


class LogFile(FileIO):
    """An unbuffered file that a manager, dropped without a shutdown, takes with it quietly."""

    def __del__(self) -> None:
        self.close()


class LineFileHandler(ObservedHandler, logging.FileHandler):
    """Appends one line a record, each by one unbuffered write.

    Once ``emit`` returns, the kernel has the line; lines of several processes don't mix.
    """

    stream: LogFile | None  # type: ignore[assignment]  # raw: encoding happens before the write
    _torn = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's line."""
        try:
            line = (self.format(record) + self.terminator).encode(
                self.encoding or "utf-8", self.errors or "backslashreplace"
            )
            self.write(line, record.created)
        except Exception:  # noqa: BLE001  # as every handler of the standard library
            self.handleError(record)

    def write(self, line: bytes, now: float) -> None:
        """Append a line.

        Args:
            line: The line with its end.
            now: The record's time, in seconds since the epoch.
        """
        self._write(self.stream or self.reopen(), line)

    def open(self) -> None:
        """Open the file now, and make it and its directory if need be.

        Raises:
            LogFileError: It can't be written.
        """
        with self.lock:  # type: ignore[union-attr]  # None only after createLock was overridden
            try:
                if self.stream is None:
                    self.reopen()
            except (OSError, ValueError) as error:  # ValueError: a null character
                raise LogFileError(self.baseFilename, error) from error

    def reopen(self) -> LogFile:
        """Close the stream if there is one, and open the file that has the name now."""
        if self.stream is not None:
            self.stream.close()
            self.stream = None
        self.stream = self._open()
        return self.stream

    def _open(self) -> LogFile:  # type: ignore[override]  # see `stream`
        os.makedirs(os.path.dirname(self.baseFilename), exist_ok=True)
        return LogFile(self.baseFilename, "a")

    def _write(self, stream: LogFile, line: bytes) -> None:
        if self._torn:  # a full disk cut the last line short: it must not swallow this one
            line = self.terminator.encode() + line
        rest = memoryview(line)
        while rest:
            written = stream.write(rest)
            self._torn = written != len(rest)
            if not written:
                raise BlockingIOError(f"{self.baseFilename} takes no more bytes now")
            rest = rest[written:]
