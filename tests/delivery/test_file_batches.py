"""A batch of records is written as single ones would be, byte for byte, by fewer writes."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from freezegun import freeze_time
from hypothesis import given, settings
from hypothesis import strategies as st

from fastapi_taskflow.handlers import TaskRotatingFileHandler, TaskWatchedFileHandler

FileHandler = TaskRotatingFileHandler | TaskWatchedFileHandler
HANDLERS = [
    pytest.param(TaskRotatingFileHandler, id="rotate"),
    pytest.param(TaskWatchedFileHandler, id="watched"),
]


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("batch", logging.INFO, __file__, 1, text, (), None)


def unexpected(error: BaseException) -> None:
    pytest.fail(repr(error))


@contextmanager
def opened(handler: FileHandler) -> Iterator[FileHandler]:
    handler.setFormatter(logging.Formatter("%(message)s"))
    try:
        yield handler
    finally:
        handler.close()


def chain(path: Path) -> dict[str, bytes]:
    """The file and the rolled ones, by name."""
    return {file.name: file.read_bytes() for file in path.parent.glob(path.name + "*")}


def written_by_this_process() -> int:
    """How many writes it has made."""
    figures = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(figures["syscw"])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("batches")


@settings(max_examples=60, deadline=None)
@given(
    before=st.none() | st.integers(0, 120),
    texts=st.lists(st.text("xü日🎉", max_size=20), min_size=1, max_size=30),
    cuts=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    max_bytes=st.integers(0, 200),
    backups=st.integers(0, 40),
)
def test_files_are_rolled_where_single_records_would_have_rolled_them(
    root: Path,
    before: int | None,
    texts: list[str],
    cuts: list[int],
    max_bytes: int,
    backups: int,
) -> None:
    """However the records are cut into batches, and whatever was in the file before."""
    for old in root.rglob("*.log*"):
        old.unlink()
    paths = [root / "single" / "tasks.log", root / "batch" / "tasks.log"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        if before is not None:
            path.write_bytes(b"y" * before)
    lost: list[BaseException] = []
    records = [record(text) for text in texts]
    single, batched = (
        TaskRotatingFileHandler(path, maxBytes=max_bytes, backupCount=backups, delay=True)
        for path in paths
    )

    with opened(single):
        for each in records:
            single.emit(each)
    with opened(batched):
        for cut in cuts:
            batched.emit_batch(records[:cut], lost.append)
            records = records[cut:]
        batched.emit_batch(records, lost.append)

    assert chain(paths[0]) == chain(paths[1])
    assert lost == []


@pytest.mark.parametrize("kind", HANDLERS)
def test_a_batch_is_few_writes(tmp_path: Path, kind: type[FileHandler]) -> None:
    path = tmp_path / "tasks.log"
    with opened(kind(path)) as handler:
        records = [record(f"{number:0999}") for number in range(1000)]  # 1,000,000 bytes of lines
        before = written_by_this_process()

        handler.emit_batch(records, unexpected)

        assert written_by_this_process() - before <= 5
    assert path.read_text().split() == [each.getMessage() for each in records]


@pytest.mark.parametrize("kind", HANDLERS)
def test_no_records_are_no_lines(tmp_path: Path, kind: type[FileHandler]) -> None:
    path = tmp_path / "tasks.log"
    with opened(kind(path, delay=True)) as handler:
        handler.emit_batch([], unexpected)

    assert not path.exists()


class Picky(logging.Formatter):
    """Formats each record once, and some not at all."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error = error
        self.seen: list[str] = []

    def format(self, record: logging.LogRecord) -> str:
        self.seen.append(record.getMessage())
        if record.getMessage().startswith("bad"):
            raise self.error(record.getMessage())
        return super().format(record)


@pytest.mark.parametrize(
    "error", [ValueError, SystemExit, RecursionError], ids=lambda e: e.__name__
)
@pytest.mark.parametrize("kind", HANDLERS)
def test_a_record_that_cannot_be_formatted_is_lost_alone(
    tmp_path: Path, kind: type[FileHandler], error: type[BaseException]
) -> None:
    path = tmp_path / "tasks.log"
    texts = ["one", "bad 1", "two", "bad 2", "three"]
    lost: list[BaseException] = []
    with opened(kind(path)) as handler:
        formatter = Picky(error)
        handler.setFormatter(formatter)

        handler.emit_batch([record(text) for text in texts], lost.append)

    assert path.read_text() == "one\ntwo\nthree\n"
    assert [repr(each) for each in lost] == [repr(error("bad 1")), repr(error("bad 2"))]
    assert formatter.seen == texts


def test_a_keyboard_interrupt_is_let_through(tmp_path: Path) -> None:
    with opened(TaskRotatingFileHandler(tmp_path / "tasks.log")) as handler:
        handler.setFormatter(Picky(KeyboardInterrupt))

        with pytest.raises(KeyboardInterrupt):
            handler.emit_batch([record("bad")], unexpected)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/dev/full", id="full disk"),
        pytest.param(f"{__file__}/tasks.log", id="below a file"),
        pytest.param("null\0character", id="null character"),
    ],
)
@pytest.mark.parametrize("kind", HANDLERS)
def test_each_record_that_cannot_be_written_is_told_of_once(
    kind: type[FileHandler], path: str
) -> None:
    lost: list[BaseException] = []
    with opened(kind(path, delay=True)) as handler:
        handler.emit_batch([record(str(number)) for number in range(7)], lost.append)

    assert len(lost) == 7
    assert {type(error) for error in lost} <= {OSError, NotADirectoryError, ValueError}


@pytest.mark.parametrize("kind", ["TaskRotatingFileHandler", "TaskWatchedFileHandler"])
def test_a_disk_that_fills_up_in_a_batch_takes_whole_lines_and_those_that_fit(
    tmp_path: Path, kind: str, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """A file may have 1,000 bytes, then 10,000: 100 lines of 15 bytes, and a shorter one."""
    path = tmp_path / "tasks.log"
    program = """
import logging, resource, sys
from fastapi_taskflow import handlers

def record(text):
    return logging.LogRecord("batch", 20, "", 1, text, (), None)

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
handler = getattr(handlers, sys.argv[1])(sys.argv[2])
handler.setFormatter(logging.Formatter("%(message)s"))
lost = []
texts = [*(f"{number:014}" for number in range(100)), "short"]
handler.emit_batch([record(text) for text in texts], lost.append)
assert handler.stream.tell() == 996
resource.setrlimit(resource.RLIMIT_FSIZE, (10000, resource.RLIM_INFINITY))
handler.emit_batch([record("back"), record("again")], lost.append)
print(*(error.strerror for error in lost), sep="\\n")
"""

    done = run_python(program, kind, str(path))

    assert done.stdout.splitlines() == ["File too large"] * 34, done.stderr
    numbers = [f"{number:014}" for number in range(66)]
    assert path.read_text().splitlines() == [*numbers, "short", "back", "again"]


FULL_AND_SHARED = """
import logging, resource, signal, sys
from fastapi_taskflow import handlers

kind, path, when = sys.argv[1:]

def record(text):
    return logging.LogRecord("batch", 20, "", 1, text, (), None)

def somebody_writes(*args):
    allow(100_000)
    with open(path, "a") as file:
        file.write("other\\n")

def allow(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

handler = getattr(handlers, kind)(path)
handler.setFormatter(logging.Formatter("%(message)s"))
if when == "before":
    somebody_writes()
else:  # at once when there is no more room: before the handler can do anything about it
    signal.signal(signal.SIGXFSZ, somebody_writes)
allow(1000)
lost = []
handler.emit_batch([record(f"{number:014}") for number in range(100)], lost.append)
allow(100_000)
handler.emit_batch([record("back"), record("again")], lost.append)
print(len(lost))
"""


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("kind", ["TaskRotatingFileHandler", "TaskWatchedFileHandler"])
def test_a_disk_that_fills_up_while_others_write_costs_nobody_a_line_nor_doubles_one(
    tmp_path: Path,
    kind: str,
    when: str,
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """Part of one line stays: to cut it off could cut off somebody else's line."""
    path = tmp_path / "tasks.log"

    done = run_python(FULL_AND_SHARED, kind, str(path), when)

    assert done.returncode == 0, done.stderr
    lines = [line for line in path.read_text().splitlines() if line]
    whole = [line for line in lines if len(line) == 14]
    assert whole == [f"{number:014}" for number in range(100 - int(done.stdout))]
    parts = [line for line in lines if line not in (*whole, "other", "back", "again")]
    assert len(parts) == 1
    assert parts[0].startswith("0000")
    assert parts[0].endswith("other") == (when == "meanwhile")
    assert ("other" in lines) == (when == "before")
    assert lines[-2:] == ["back", "again"]
    assert (int(done.stdout) == 0) == (when == "meanwhile")


@pytest.mark.parametrize("kind", HANDLERS)
def test_a_pipe_that_is_slow_has_each_line_told_of_once_it_is_written(
    tmp_path: Path, kind: type[FileHandler]
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    seen: list[tuple[bytes, int]] = []

    def records() -> Iterator[logging.LogRecord]:
        for number in range(3):
            yield record(str(number))
            seen.append((os.read(reader, 100), sum(told)))

    told: list[int] = []
    with opened(kind(fifo)) as handler:
        handler.emit_batch(records(), unexpected, told.append)

    os.close(reader)
    assert seen == [(b"0\n", 1), (b"1\n", 2), (b"2\n", 3)]


@pytest.mark.parametrize("vanish", ["renamed", "deleted", "directory deleted"])
@pytest.mark.parametrize("kind", HANDLERS)
def test_a_file_that_vanished_is_made_anew_by_the_next_batch(
    tmp_path: Path, kind: type[FileHandler], vanish: str
) -> None:
    path = tmp_path / "logs" / "tasks.log"
    with freeze_time() as clock, opened(kind(path)) as handler:
        handler.emit_batch([record("first")], unexpected)
        if vanish == "renamed":
            path.rename(tmp_path / "renamed.log")
        else:
            path.unlink()
        if vanish == "directory deleted":
            path.parent.rmdir()

        clock.tick(1.0)
        handler.emit_batch([record("second"), record("third")], unexpected)

    assert path.read_text() == "second\nthird\n"
    if vanish == "renamed":
        assert (tmp_path / "renamed.log").read_text() == "first\n"


def test_a_file_that_cannot_be_rolled_takes_the_whole_batch(tmp_path: Path) -> None:
    path = tmp_path / "tasks.log"
    (tmp_path / "tasks.log.1" / "in the way").mkdir(parents=True)
    lost: list[BaseException] = []
    with opened(TaskRotatingFileHandler(path, maxBytes=3, backupCount=1)) as handler:
        handler.emit_batch([record(str(number)) for number in range(9)], lost.append)

    assert path.read_text().split() == [str(number) for number in range(9)]
    assert [type(error) for error in lost] == [IsADirectoryError]


@pytest.mark.parametrize("kind", HANDLERS)
def test_a_pipe_gets_each_line_by_a_write_of_its_own(
    tmp_path: Path, kind: type[FileHandler]
) -> None:
    """The system keeps lines of up to 4,096 bytes whole among other processes', no longer ones."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with opened(kind(fifo)) as handler:
        before = written_by_this_process()

        handler.emit_batch([record(str(number)) for number in range(9)], unexpected)

        assert written_by_this_process() - before >= 9
    assert os.read(reader, 1000).split() == [b"%d" % number for number in range(9)]
    os.close(reader)


@pytest.mark.parametrize("kind", HANDLERS)
def test_a_batch_waits_for_the_handlers_lock(tmp_path: Path, kind: type[FileHandler]) -> None:
    path = tmp_path / "tasks.log"
    with opened(kind(path)) as handler:
        batch = threading.Thread(target=handler.emit_batch, args=([record("x")], unexpected))
        handler.acquire()

        batch.start()
        batch.join(0.05)
        waits = batch.is_alive() and not path.read_bytes()
        handler.release()
        batch.join()

    assert waits
    assert path.read_bytes() == b"x\n"
