"""The line that everybody writes here, and a count of those that were really written."""

from __future__ import annotations

from pathlib import Path

FUNCTION = "send_email"
TASK_ID = "abc12345"
MESSAGE = "Sending to user@example.com, order 1042 of 9000"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"
LINE = f"[{TASK_ID}] [{FUNCTION}] 2026-01-01T12:00:00 {MESSAGE}\n"

MAX_BYTES = 10 * 1024 * 1024
BACKUP_COUNT = 5


class WrongLinesError(AssertionError):
    """A sink has not written what it was measured for."""

    def __init__(self, path: Path, found: int, expected: int) -> None:
        super().__init__(f"{path.name}: {found} right lines, {expected} expected")


def written(path: Path) -> list[bytes]:
    """All lines of a file, and of the files that it was rolled to."""
    files = path.parent.glob(path.name + "*")
    return [line for file in files for line in file.read_bytes().splitlines(keepends=True)]


def check_lines(path: Path, expected: int, *, length: int | None = len(LINE)) -> None:
    """Check that a file has as many lines as it should, each of the length that all write.

    Args:
        path: The file.
        expected: How many lines.
        length: How long each must be; None where formats differ.

    Raises:
        WrongLinesError: It has others.
    """
    lines = written(path)
    right = [line for line in lines if MESSAGE.encode() in line and length in (None, len(line))]
    if not len(lines) == len(right) == expected:
        raise WrongLinesError(path, len(right), expected)
