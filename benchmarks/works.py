"""What can be measured: a piece of work that is opened, done many times, and checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TypeAlias

Call: TypeAlias = Callable[[], object]

Measure: TypeAlias = Callable[[int], float | Mapping[str, float]]
"""Does the work so many times, and says how many seconds once takes; of its parts, by name."""

Work: TypeAlias = Callable[[Path], AbstractContextManager[Measure]]
"""Opens what the work needs, in a folder of its own."""

Samples: TypeAlias = dict[str, list[float]]


def repeat(call: Call, count: int) -> float:
    """Call something many times; give the seconds that one call takes."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def interleave(works: Mapping[str, Work], folder: Path, *, rounds: int, count: int) -> Samples:
    """Measure works in turns, so that what disturbs the machine disturbs all of them.

    Each round begins with another one of them. The first round, a small one, only warms up.

    Args:
        works: The works by their names.
        folder: Where they may write.
        rounds: How often each is measured.
        count: How many times it is done each time.
    """
    samples: Samples = {}
    with ExitStack() as stack:
        measures = {
            name: stack.enter_context(work(_folder(folder, name))) for name, work in works.items()
        }
        for measure in measures.values():
            measure(max(1, count // 10))
        for turn in range(rounds):
            for name in _rotated(list(measures), turn):
                _note(samples, name, measures[name](count))
    return samples


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name.replace(" ", "-").replace("/", "-")
    folder.mkdir()
    return folder


def _rotated(names: list[str], turn: int) -> Iterator[str]:
    start = turn % max(1, len(names))
    yield from names[start:]
    yield from names[:start]


def _note(samples: Samples, name: str, value: float | Mapping[str, float]) -> None:
    parts = value if isinstance(value, Mapping) else {"": value}
    for part, seconds in parts.items():
        samples.setdefault(f"{name}: {part}" if part else name, []).append(seconds)
