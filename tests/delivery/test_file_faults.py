"""Files that go wrong under FileLogger: what is lost is counted, what comes after is written."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import itertools
import json
import logging
import logging.config
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from freezegun import freeze_time

from fastapi_taskflow import FileLogger, InMemoryLogger, LogFileError, TaskManager, task_log

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MODES = ["rotate", "watched"]
PATIENCE = 60.0
"""Seconds after which a test gives up on what should happen at once."""

RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


async def say(*texts: str) -> None:
    for text in texts:
        task_log(text)


def messages(*paths: Path) -> list[str]:
    """What stands after the time in each line."""
    lines = [line for path in paths for line in path.read_text("utf-8").splitlines()]
    return [line.split(" ", 3)[3] for line in lines]


def chain(path: Path) -> list[Path]:
    """The rolled files and the file, the oldest first."""
    rolled = sorted(path.parent.glob(path.name + ".*"), key=lambda file: -int(file.suffix[1:]))
    return [*rolled, path]


def run_at(seconds: float, manager: TaskManager, *texts: str) -> None:
    """Log texts in a task, so many seconds after noon."""
    with freeze_time(NOON + timedelta(seconds=seconds), real_asyncio=True):
        manager.run(say, *texts)


# Disks and descriptors run out for a process of its own. What it may write to a file is limited:
# for the one who writes, that is a full disk, and raising the limit is a disk that has room again.

FULL_DISK = """
import json, logging, resource, sys
from fastapi_taskflow import FileLogger, InMemoryLogger, TaskManager, task_log

path, mode = sys.argv[1:]
reports = []
class Reports(logging.Handler):
    def emit(self, record):
        reports.append(record.getMessage())
logging.getLogger("fastapi_taskflow.observers").addHandler(Reports())
memory = InMemoryLogger()
manager = TaskManager(loggers=[FileLogger(path, mode=mode), memory])

def allow(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def count(start, stop):
    for number in range(start, stop):
        task_log(f"{number:04} {'x' * number} end")

allow(1000)
outcomes = [manager.run(count, 0, 40).status]
full = manager.observer_stats()["FileLogger"]
allow(1_000_000)
outcomes.append(manager.run(count, 40, 50).status)
stats = manager.observer_stats()["FileLogger"]
print(json.dumps({
    "outcomes": outcomes,
    "full": [full.delivered, full.errors, full.last_error],
    "then": [stats.delivered - full.delivered, stats.errors - full.errors],
    "heard": len(memory.log_events),
    "reports": reports,
}))
"""


@pytest.mark.parametrize("mode", MODES)
def test_a_full_disk_that_has_room_again(tmp_path: Path, mode: str, run_python: RunPython) -> None:
    """Whole lines, reported once, each lost one counted, and those after it written."""
    path = tmp_path / "tasks.log"

    done = run_python(FULL_DISK, str(path), mode)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    numbers = [int(text.split()[0]) for text in messages(path)]
    written = [number for number in numbers if number < 40]
    assert found["outcomes"] == ["success", "success"]
    assert found["heard"] == 50
    assert written == list(range(len(written)))
    assert numbers[len(written) :] == list(range(40, 50))
    assert all(text.endswith(" end") for text in messages(path))
    assert found["full"][:2] == [len(written), 40 - len(written)]
    assert "File too large" in found["full"][2]
    assert found["then"] == [10, 0]
    assert len(found["reports"]) == 1
    assert "FileLogger" in found["reports"][0]


TOO_MANY_OPEN_FILES = """
import json, logging.config, os, resource, sys
from fastapi_taskflow import FileLogger, TaskManager, task_log

path, mode = sys.argv[1:]
manager = TaskManager(loggers=[FileLogger(path, mode=mode, max_bytes=100)])

async def run_out():
    def stats():
        figures = manager.observer_stats()["FileLogger"]
        return figures.delivered, figures.errors

    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    found = []
    task_log("before " + "x" * 50)
    taken = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    task_log("open " + "x" * 50)
    found.append(stats())
    logging.config.dictConfig({"version": 1})  # closes the file
    taken.append(os.open(os.devnull, os.O_RDONLY))
    task_log("closed")
    found.append(stats())
    for descriptor in taken:
        os.close(descriptor)
    task_log("after")
    found.append(stats())
    return found

print(json.dumps(manager.run(run_out).result))
"""


@pytest.mark.parametrize(
    ("mode", "figures"),
    [
        # The open file takes a line although it can't be rolled, which is an error.
        pytest.param("rotate", [[1, 1], [1, 2], [2, 2]], id="rotate"),
        pytest.param("watched", [[2, 0], [2, 1], [3, 1]], id="watched"),
    ],
)
def test_too_many_open_files(
    tmp_path: Path, mode: str, figures: list[list[int]], run_python: RunPython
) -> None:
    """An open file takes lines, a closed one loses and counts them until it can be opened."""
    path = tmp_path / "tasks.log"

    done = run_python(TOO_MANY_OPEN_FILES, str(path), mode)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == figures
    assert [text.split()[0] for text in messages(path)] == ["before", "open", "after"]


# Killed while it writes: what it has said that it has written is in the file.

ENDLESS = """
import itertools, os, sys
from fastapi_taskflow import FileLogger, TaskManager, task_log

path, mode = sys.argv[1:]

async def count():
    for number in itertools.count():
        task_log(f"{number} end")
        os.write(1, b"%d\\n" % number)

TaskManager(loggers=[FileLogger(path, mode=mode, max_bytes=5000, backup_count=500)]).run(count)
"""


@pytest.mark.parametrize("mode", MODES)
def test_a_killed_process_has_written_every_line_that_task_log_returned_from(
    tmp_path: Path, mode: str
) -> None:
    path = tmp_path / "tasks.log"
    command = [sys.executable, "-c", ENDLESS, str(path), mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = list(itertools.islice(process.stdout, 1000))

        process.kill()
        said += process.stdout.readlines()

    texts = messages(*chain(path))
    assert texts[: len(said)] == [f"{int(number)} end" for number in said]
    assert len(texts) - len(said) in (0, 1)  # killed before it could say so
    assert texts[-1].endswith(" end")


@pytest.mark.parametrize("mode", MODES)
def test_a_directory_that_is_a_file_for_a_while(
    tmp_path: Path, reports: list[logging.LogRecord], mode: str
) -> None:
    path = tmp_path / "logs" / "tasks.log"
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[FileLogger(path, mode=mode), memory])
    run_at(0, manager, "before")
    path.parent.rename(tmp_path / "moved")
    path.parent.touch()

    run_at(1, manager, "lost", "also lost")
    path.parent.unlink()
    run_at(2, manager, "after", "and on")

    assert messages(path) == ["after", "and on"]
    assert messages(tmp_path / "moved" / "tasks.log") == ["before"]
    stats = manager.observer_stats()["FileLogger"]
    assert (stats.delivered, stats.errors) == (3, 2)
    assert "NotADirectoryError" in str(stats.last_error)
    assert len(reports) == 1
    assert len(memory.log_events) == 5


@pytest.mark.parametrize("directory", ["/proc", "/sys", "/dev/null", __file__])
@pytest.mark.parametrize("mode", MODES)
def test_a_directory_that_takes_no_files_is_a_clear_error_at_startup(
    mode: str, directory: str
) -> None:
    """Not even from root."""
    with pytest.raises(LogFileError, match=f"{directory}/tasks.log"):
        asyncio.run(
            TaskManager(loggers=[FileLogger(f"{directory}/tasks.log", mode=mode)]).startup()
        )


def test_a_file_that_could_not_be_rolled_is_rolled_once_it_can_be(tmp_path: Path) -> None:
    """It is tried again every few seconds, not at each line."""
    path, in_the_way = tmp_path / "tasks.log", tmp_path / "tasks.log.1"
    (in_the_way / "something").mkdir(parents=True)
    manager = TaskManager(loggers=[FileLogger(path, max_bytes=1, backup_count=1)])
    run_at(0, manager, "one", "two", "three")
    (in_the_way / "something").rmdir()
    in_the_way.rmdir()

    run_at(10, manager, "four", "five")

    files = [["four"], ["five"]]  # the only backup of the first three made room for the fourth
    assert [messages(file) for file in chain(path)] == files
    assert manager.observer_stats()["FileLogger"].errors == 1


def test_a_file_that_somebody_else_has_locked_is_not_waited_for(
    tmp_path: Path, reports: list[logging.LogRecord]
) -> None:
    """A process that was stopped while it rolled, say, or a shipper that locks what it reads."""
    path = tmp_path / "tasks.log"
    manager = TaskManager(loggers=[FileLogger(path, max_bytes=1)])
    manager.run(say, "before")
    with path.open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_EX)

        manager.run(say, *map(str, range(100)))

    assert messages(path) == ["before", *map(str, range(100))]
    assert manager.observer_stats()["FileLogger"].errors <= 5
    assert "has locked the file" in reports[0].getMessage()


# Pipes and devices


@pytest.mark.parametrize("mode", MODES)
def test_a_pipe_that_nobody_reads_is_a_clear_error_at_startup(tmp_path: Path, mode: str) -> None:
    """To open it in the usual way would wait for a reader."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    with pytest.raises(LogFileError, match="fifo"):
        asyncio.run(FileLogger(fifo, mode=mode).startup())


def read_until(reader: int, end: bytes) -> None:
    seen = b""
    while not seen.endswith(end):
        seen = seen[-100:] + os.read(reader, 65_536)


def test_a_file_that_hangs_is_an_error_at_the_next_start_and_no_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastapi_taskflow.loggers.line_file.LOCK_SECONDS", 0.05)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    observer = FileLogger(fifo, queued=True)
    manager = TaskManager(loggers=[observer], drain_timeout=0.05)

    async def say_much() -> None:
        for _ in range(200):
            task_log("x" * 1000)  # more than the 65,536 bytes that a pipe holds

    async def use() -> None:
        async with manager:
            await manager.execute(say_much)
        with pytest.raises(LogFileError, match="a write to it hangs"):
            await manager.startup()
        os.set_blocking(reader, True)
        reading = asyncio.create_task(asyncio.to_thread(read_until, reader, b" again\n"))
        while manager.observer_stats()["FileLogger"].queued:  # noqa: ASYNC110  # its own figures
            await asyncio.sleep(0)
        async with manager:
            await manager.execute(say, "again")
            await reading

    asyncio.run(asyncio.wait_for(use(), 60))
    os.close(reader)


@pytest.mark.parametrize("mode", MODES)
def test_a_pipe_whose_reader_leaves_tears_no_line_for_the_next_reader(
    tmp_path: Path, mode: str
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    manager = TaskManager(loggers=[FileLogger(fifo, mode=mode)])
    manager.run(say, "before")
    os.read(reader, 1000)
    os.set_blocking(reader, True)

    def read_a_little() -> None:
        os.read(reader, 10)  # some of a line that is longer than the pipe
        os.close(reader)

    leaving = threading.Thread(target=read_a_little)
    leaving.start()
    manager.run(say, "torn " + "x" * 1_000_000)
    leaving.join()
    manager.run(say, "lost")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    found = b""
    while part := _read_what_there_is(reader):
        found += part
    manager.run(say, "after", "and on")

    found += os.read(reader, 1000)
    os.close(reader)
    assert [line.split(b" ", 3)[3] for line in found.splitlines()[1:]] == [b"after", b"and on"]
    assert found.splitlines()[0].endswith(b"xxx")
    stats = manager.observer_stats()["FileLogger"]
    assert (stats.delivered, stats.errors) == (3, 2)
    assert "Broken pipe" in str(stats.last_error)


def _read_what_there_is(reader: int) -> bytes:
    try:
        return os.read(reader, 100_000)
    except BlockingIOError:
        return b""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("to", ["pipe", "file"])
def test_standard_output_by_its_path(tmp_path: Path, mode: str, to: str) -> None:
    program = """
import sys
from fastapi_taskflow import FileLogger, TaskManager, task_log

async def say():
    task_log("hello")
    task_log("again")

manager = TaskManager(loggers=[FileLogger("/dev/stdout", mode=sys.argv[1])])
manager.run(say)
assert manager.observer_stats()["FileLogger"].errors == 0
"""
    target = tmp_path / "out.txt"
    with target.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-c", program, mode],
            stdout=subprocess.PIPE if to == "pipe" else file,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )

    assert done.returncode == 0, done.stderr
    out = done.stdout if to == "pipe" else target.read_bytes()
    assert [line.split()[-1] for line in out.splitlines()] == [b"hello", b"again"]


def test_a_device_is_never_rolled(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to(os.devnull)
    manager = TaskManager(loggers=[FileLogger(link, max_bytes=1)])

    manager.run(say, "one", "two")

    assert manager.observer_stats()["FileLogger"].delivered == 2
    assert os.listdir(tmp_path) == ["null"]


# One file by several names


def _linked_file(real: Path, links: Path) -> str:
    (links / "link.log").symlink_to(real)
    return str(links / "link.log")


def _linked_directory(real: Path, links: Path) -> str:
    (links / "directory").symlink_to(real.parent, target_is_directory=True)
    return str(links / "directory" / real.name)


def _link_to_a_link(real: Path, links: Path) -> str:
    (links / "second.log").symlink_to(_linked_file(real, links))
    return str(links / "second.log")


def _relative(real: Path, links: Path) -> str:
    return os.path.relpath(real)


def _roundabout(real: Path, links: Path) -> str:
    return f"{real.parent}/../{real.parent.name}/./{real.name}"


@pytest.mark.parametrize("exists", [True, False], ids=["existing", "not yet there"])
@pytest.mark.parametrize(
    "name", [_linked_file, _linked_directory, _link_to_a_link, _relative, _roundabout]
)
def test_a_file_by_two_names_is_one_file_and_the_file_itself_is_rolled(
    tmp_path: Path, name: Callable[[Path, Path], str], exists: bool
) -> None:
    real, links = tmp_path / "real" / "tasks.log", tmp_path / "links"
    real.parent.mkdir()
    links.mkdir()
    if exists:
        real.touch()
    other = name(real, links)
    before = sorted(os.listdir(links))
    by_name, by_other = (FileLogger(p, max_bytes=150, backup_count=99) for p in (real, other))
    manager = TaskManager(loggers=[by_name, by_other])

    manager.run(say, *map(str, range(20)))

    assert sorted(messages(*chain(real)), key=int) == [str(n // 2) for n in range(40)]
    assert len(chain(real)) > 10
    assert sorted(os.listdir(links)) == before
    assert all(entry.is_symlink() for entry in links.iterdir())
    assert by_other.path == os.path.abspath(other)
    assert manager.observer_stats()["FileLogger-2"].errors == 0


def test_a_link_into_a_missing_directory_makes_none(tmp_path: Path) -> None:
    link, missing = tmp_path / "link.log", tmp_path / "not" / "yet"
    link.symlink_to(missing / "tasks.log")
    manager = TaskManager(loggers=[FileLogger(link)])

    with pytest.raises(LogFileError, match="No such file or directory"):
        manager.run(say, "hello")

    assert not missing.parent.exists()
    missing.mkdir(parents=True)
    manager.run(say, "again")
    assert messages(missing / "tasks.log") == ["again"]


@pytest.mark.parametrize("mode", MODES)
def test_a_link_that_is_put_in_the_files_place_has_no_directory_made(
    tmp_path: Path, mode: str
) -> None:
    path, missing = tmp_path / "tasks.log", tmp_path / "not" / "yet"
    manager = TaskManager(loggers=[FileLogger(path, mode=mode)])
    run_at(0, manager, "first")
    path.unlink()
    path.symlink_to(missing / "tasks.log")

    run_at(1, manager, "lost")
    path.unlink()
    run_at(2, manager, "last")

    assert not missing.parent.exists()
    assert messages(path) == ["last"]
    stats = manager.observer_stats()["FileLogger"]
    assert (stats.delivered, stats.errors) == (2, 1)


@pytest.mark.parametrize("mode", MODES)
def test_a_link_that_leads_elsewhere_now_is_followed(tmp_path: Path, mode: str) -> None:
    link, one, two = (tmp_path / name for name in ("link.log", "one.log", "two.log"))
    link.symlink_to(one)
    manager = TaskManager(loggers=[FileLogger(link, mode=mode)])
    run_at(0, manager, "to one")
    link.unlink()
    link.symlink_to(two)

    run_at(1, manager, "to two")

    assert (messages(one), messages(two)) == (["to one"], ["to two"])
    assert link.is_symlink()


def test_a_file_with_two_hard_links_keeps_each_line_in_one_of_its_chains(tmp_path: Path) -> None:
    """After the first roll the names have files of their own, as the system has it."""
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    one.touch()
    two.hardlink_to(one)
    manager = TaskManager(
        loggers=[FileLogger(path, max_bytes=150, backup_count=99) for path in (one, two)]
    )

    manager.run(say, *map(str, range(20)))

    files = {file.stat().st_ino: file for file in [*chain(one), *chain(two)]}
    assert sorted(messages(*files.values()), key=int) == [str(n // 2) for n in range(40)]


# Several loggers on one file


def test_loggers_with_different_limits_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tasks.log"
    limits = [1, 100, 500, 0]
    loggers = [FileLogger(path, max_bytes=limit, backup_count=99) for limit in limits]
    manager = TaskManager(loggers=[*loggers, FileLogger(path, mode="watched")])

    manager.run(say, *map(str, range(20)))

    assert sorted(messages(*chain(path)), key=int) == [str(n // 5) for n in range(100)]


def test_a_logger_whose_file_was_rolled_out_of_the_last_backup_writes_to_the_new_one(
    tmp_path: Path,
) -> None:
    """Faster than it looks at the name: no time passes."""
    path = tmp_path / "tasks.log"
    slow, fast = (
        TaskManager(loggers=[FileLogger(path, max_bytes=150, backup_count=1)]) for _ in range(2)
    )
    run_at(0, slow, "first")
    run_at(0, fast, *map(str, range(20)))

    run_at(0, slow, "last")

    assert "last" in messages(*chain(path))


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Threads take turns more often: one that never waits holds up another for 5 ms a write."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 20)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("quick_switches")
def test_a_configuration_that_closes_all_handlers_between_lines_loses_none(tmp_path: Path) -> None:
    """``dictConfig`` in one thread, while a task writes and rolls in another."""
    path, watched = tmp_path / "tasks.log", tmp_path / "watched.log"
    rotating = FileLogger(path, max_bytes=300, backup_count=500)
    manager = TaskManager(loggers=[rotating, FileLogger(watched, mode="watched")])
    ended = threading.Event()

    def configure() -> None:
        while not ended.is_set():
            logging.config.dictConfig({"version": 1})

    configuring = threading.Thread(target=configure)
    configuring.start()
    manager.run(say, *map(str, range(500)))
    ended.set()
    configuring.join()

    assert messages(*chain(path)) == messages(watched) == [str(number) for number in range(500)]
    assert [each.errors for each in manager.observer_stats().values()] == [0] * 3


# Descriptors


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("end", ["shut down", "dropped"])
@pytest.mark.parametrize("mode", MODES)
def test_a_thousand_managers_leave_no_descriptor_open(tmp_path: Path, mode: str, end: str) -> None:
    async def use_one() -> None:
        manager = TaskManager(loggers=[FileLogger(tmp_path / "tasks.log", mode=mode)])
        await manager.execute(say, "hello")
        if end == "shut down":
            await manager.shutdown()

    async def main() -> int:
        await use_one()
        gc.collect()
        before = open_descriptors()
        for _ in range(1000):
            await use_one()
        gc.collect()
        return open_descriptors() - before

    assert asyncio.run(main()) < 10  # of a thousand; other tests' leavings come and go
    assert len(messages(tmp_path / "tasks.log")) == 1001
