"""FileLogger in rotate mode: rolled by bytes, to the byte, and never a line lost in it."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastapi_taskflow import FileLogger, LogEvent, TaskManager, task_log

PREFIX = len(b"[abc12345] [send_email] 2026-01-01T12:00:00 ")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rotation")


@pytest.fixture(scope="module")
def log_event() -> Callable[..., LogEvent]:
    """The shared fixture, for the whole module: hypothesis wants no new one for each example."""
    task_id, noon = "abc12345-0000-4000-8000-000000000000", datetime(2026, 1, 1, 12, tzinfo=UTC)
    return lambda message: LogEvent(task_id, "send_email", message, "info", noon, 0)


def write(observer: FileLogger, events: list[LogEvent]) -> None:
    async def main() -> None:
        for event in events:
            await observer.on_log(event)
        await observer.close()

    asyncio.run(main())


def chain(path: Path) -> list[Path]:
    """The rolled files and the file, the oldest first."""
    rolled = sorted(path.parent.glob(path.name + ".*"), key=lambda file: -int(file.suffix[1:]))
    return [*rolled, path]


@pytest.mark.parametrize("char", ["x", "ü", "日", "🎉", "\ud800", "\n"], ids=ascii)
@pytest.mark.parametrize(("spare", "rolled"), [(0, False), (-1, True)], ids=["fits", "too long"])
def test_the_limit_is_in_bytes_and_exact(
    tmp_path: Path, log_event: Callable[..., LogEvent], char: str, spare: int, rolled: bool
) -> None:
    path = tmp_path / "tasks.log"
    written = char if char not in "\n\ud800" else {"\n": r"\n", "\ud800": r"\ud800"}[char]
    line = PREFIX + 7 * len(written.encode()) + 1
    observer = FileLogger(path, max_bytes=2 * line + spare, backup_count=3)

    write(observer, [log_event(char * 7)] * 2)

    assert [file.stat().st_size for file in chain(path)] == ([line] * 2 if rolled else [2 * line])


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=40), min_size=1, max_size=12),
    max_bytes=st.integers(1, 300),
)
def test_no_line_is_lost_or_cut_and_no_file_is_rolled_too_early_or_late(
    root: Path, log_event: Callable[..., LogEvent], texts: list[str], max_bytes: int
) -> None:
    path = root / "tasks.log"
    for old in root.iterdir():
        old.unlink()
    whole = root / "whole"

    write(FileLogger(path, max_bytes=max_bytes, backup_count=99), [log_event(t) for t in texts])
    write(FileLogger(whole, max_bytes=0), [log_event(text) for text in texts])

    files = [file.read_bytes() for file in chain(path)]
    assert b"".join(files) == whole.read_bytes()
    assert all(len(file) <= max_bytes or file.count(b"\n") == 1 for file in files)
    for file, following in itertools.pairwise(files):
        assert len(file) + len(following.splitlines(keepends=True)[0]) > max_bytes


def test_as_many_backups_are_kept_as_asked_for_the_newest(
    tmp_path: Path, log_event: Callable[..., LogEvent]
) -> None:
    path = tmp_path / "tasks.log"

    write(FileLogger(path, max_bytes=1, backup_count=2), [log_event(str(n)) for n in range(6)])

    assert [file.name for file in chain(path)] == ["tasks.log.2", "tasks.log.1", "tasks.log"]
    assert [file.read_text()[PREFIX:] for file in chain(path)] == ["3\n", "4\n", "5\n"]


def test_what_was_in_the_file_before_counts(
    tmp_path: Path, log_event: Callable[..., LogEvent]
) -> None:
    path = tmp_path / "tasks.log"
    path.write_bytes(b"x" * 99 + b"\n")

    write(FileLogger(path, max_bytes=100), [log_event("new")])

    assert [file.stat().st_size for file in chain(path)] == [100, PREFIX + 4]


def test_a_file_cut_to_nothing_from_outside_begins_anew(
    tmp_path: Path, log_event: Callable[..., LogEvent]
) -> None:
    """As ``logrotate`` does with ``copytruncate``."""
    path = tmp_path / "tasks.log"
    observer = FileLogger(path, max_bytes=200)

    async def main() -> None:
        for text in ("a" * 100, "b", "c"):
            await observer.on_log(log_event(text))
            if text != "c":
                path.write_bytes(b"")
        await observer.close()

    asyncio.run(main())

    assert [file.read_bytes()[PREFIX:] for file in chain(path)] == [b"c\n"]


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        pytest.param({"max_bytes": 0}, False, id="max_bytes=0"),
        pytest.param({"max_bytes": 0, "backup_count": 0}, False, id="both"),
        pytest.param({"max_bytes": 10, "backup_count": 0}, True, id="backup_count=0"),
        pytest.param({"max_bytes": 10, "mode": "watched"}, False, id="watched"),
        pytest.param(
            {"max_bytes": 10, "backup_count": 0, "mode": "watched"}, False, id="watched 0"
        ),
    ],
)
def test_a_file_is_never_rolled_nor_cut(
    tmp_path: Path,
    log_event: Callable[..., LogEvent],
    reports: list[logging.LogRecord],
    options: dict[str, object],
    warned: bool,
) -> None:
    """With a size but no backups, which is likely a mistake, startup warns."""
    path = tmp_path / "tasks.log"
    observer = FileLogger(path, **options)  # type: ignore[arg-type]  # a mapping of several types
    asyncio.run(observer.startup())

    write(observer, [log_event(str(n)) for n in range(5)])

    assert [file.name for file in chain(path)] == ["tasks.log"]
    assert path.read_text().count("\n") == 5
    assert ["backup_count" in report.getMessage() for report in reports] == [True] * warned


def test_a_file_that_cannot_be_rolled_takes_the_lines_all_the_same(
    tmp_path: Path, reports: list[logging.LogRecord]
) -> None:
    path = tmp_path / "tasks.log"
    (tmp_path / "tasks.log.1" / "in the way").mkdir(parents=True)
    manager = TaskManager(loggers=[FileLogger(path, max_bytes=1, backup_count=1)])

    async def count() -> None:
        for number in range(3):
            task_log(str(number))

    record = manager.run(count)

    assert record.status == "success"
    assert [line.rsplit(" ", 1)[1] for line in path.read_text().splitlines()] == ["0", "1", "2"]
    assert manager.observer_stats()["FileLogger"].errors == 1  # it isn't tried at each line
    assert len(reports) == 1


def test_two_loggers_that_roll_one_file_lose_nothing(
    tmp_path: Path, log_event: Callable[..., LogEvent]
) -> None:
    path = tmp_path / "tasks.log"
    one, two = (FileLogger(path, max_bytes=150, backup_count=99) for _ in range(2))

    async def main() -> None:
        for number in range(20):
            await one.on_log(log_event(f"one-{number}"))
            await two.on_log(log_event(f"two-{number}"))
        await one.close()
        await two.on_log(log_event("two-20"))
        await two.close()

    asyncio.run(main())

    texts = [line[PREFIX:] for file in chain(path) for line in file.read_text().splitlines()]
    both = [f"{name}-{number}" for number in range(20) for name in ("one", "two")]
    assert sorted(texts) == sorted([*both, "two-20"])
