"""Works that write lines to a file, and are checked to have written them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from benchmarks.lines import LIKE_ALL, Shape, check_lines
from benchmarks.works import Call, Measure, Work, repeat


def writes(
    opened: Callable[[Path], AbstractContextManager[Measure]], *, shape: Shape = LIKE_ALL
) -> Work:
    """A work whose every doing adds a line to the file that it is opened with.

    Args:
        opened: Opens it with a path; when it is closed, all lines are in the file.
        shape: What the lines are.
    """

    @contextmanager
    def work(folder: Path) -> Iterator[Measure]:
        path, total = folder / "task.log", 0
        with opened(path) as measure:

            def measured(count: int) -> float | Mapping[str, float]:
                nonlocal total
                total += count
                return measure(count)

            yield measured
        check_lines(path, total, shape)

    return work


def calls(
    opened: Callable[[Path], AbstractContextManager[Call]], *, shape: Shape = LIKE_ALL
) -> Work:
    """The same for what is done by one call without arguments."""

    @contextmanager
    def measured(path: Path) -> Iterator[Measure]:
        with opened(path) as call:
            yield partial(repeat, call)

    return writes(measured, shape=shape)
