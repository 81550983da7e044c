"""The line that everybody writes here, and a count of those that were really written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FUNCTION = "send_email"
TASK_ID = "abc12345"
MESSAGE = "Sending to user@example.com, order 1042 of 9000"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"
LINE = f"[{TASK_ID}] [{FUNCTION}] 2026-01-01T12:00:00 {MESSAGE}\n"

MAX_BYTES = 10 * 1024 * 1024
BACKUP_COUNT = 5


@dataclass(frozen=True)
class Shape:
    """What each line must be, so that it counts as one that was asked for.

    Attributes:
        holding: Text that it has in it.
        length: Its bytes; None where formats differ.
        each: How many of them come of doing the work once.
    """

    holding: str = MESSAGE
    length: int | None = None
    each: int = 1


LIKE_ALL = Shape(length=len(LINE))


class WrongLinesError(AssertionError):
    """A sink has not written what it was measured for."""

    def __init__(self, path: Path, found: int, expected: int) -> None:
        super().__init__(f"{path.name}: {found} right lines, {expected} expected")


def written(path: Path) -> list[bytes]:
    """All lines of a file, and of the files that it was rolled to."""
    files = path.parent.glob(path.name + "*")
    return [line for file in files for line in file.read_bytes().splitlines(keepends=True)]


def check_lines(path: Path, times: int, shape: Shape = LIKE_ALL) -> None:
    """Check that a file has the lines that it should have, and no others.

    Args:
        path: The file.
        times: How often the work was done.
        shape: What the lines are.

    Raises:
        WrongLinesError: It has others.
    """
    lines = written(path)
    right = [
        line
        for line in lines
        if shape.holding.encode() in line and shape.length in (None, len(line))
    ]
    expected = times * shape.each
    if not len(lines) == len(right) == expected:
        raise WrongLinesError(path, len(right), expected)
