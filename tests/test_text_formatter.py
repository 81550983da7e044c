"""The line for people: exact, one an event, nothing in it that ends or disguises it."""

from __future__ import annotations

import asyncio
import io
import logging
import logging.config
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time
from hypothesis import given, settings
from hypothesis import strategies as st

from fastapi_taskflow import (
    FileLogger,
    StdoutLogger,
    TaskFormatter,
    TaskManager,
    get_task_context,
    task_log,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
TIME = "2026-01-01T12:00:00"
ID = "abc12345-0000-4000-8000-000000000000"

FORBIDDEN = [*range(0x09), *range(0x0A, 0x20), *range(0x7F, 0xA0), 0x2028, 0x2029]
FORBIDDEN += [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]


def make_record(message: Any = "hi", *args: object, name: str = "shop", **attributes: Any) -> Any:
    """Another library's record; Any, since it gets attributes of all kinds."""
    record = logging.LogRecord(name, logging.INFO, "shop.py", 1, message, args, None)
    record.created = NOON
    vars(record).update(attributes)
    return record


def task_record(message: str = "hi", func_name: str = "send", **attributes: Any) -> Any:
    context = {"task_id": ID, "func_name": func_name, "attempt": 0, "tags": {}, "seq": 1}
    name = f"fastapi_taskflow.task.{func_name}"
    return make_record(message, name=name, **{**context, **attributes})


@pytest.fixture
def failure() -> Any:
    """What ``sys.exc_info()`` gives in an ``except``."""
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        return sys.exc_info()


@pytest.mark.parametrize("code", FORBIDDEN, ids=hex)
def test_what_would_end_or_disguise_a_line_is_written_out(code: int) -> None:
    short = {0x0A: r"\n", 0x0D: r"\r"}
    escaped = short.get(code) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")

    line = TaskFormatter().format(task_record(f"a{chr(code)}b", func_name=f"f{chr(code)}g"))

    assert line == f"[abc12345] [f{escaped}g] {TIME} a{escaped}b"


@pytest.mark.parametrize(
    "text", ["\t", "\\", "\\n", " ", "é", "日本", "👩\u200d🔧", "\xa0", "%s", "{}"]
)
def test_other_characters_stay(text: str) -> None:
    assert TaskFormatter().format(task_record(text)) == f"[abc12345] [send] {TIME} {text}"


TEXTS = st.text(alphabet=st.characters(exclude_categories=()))


@settings(deadline=None)
@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_whatever_the_parts_are_a_record_is_one_line(
    message: str, func_name: str, logger: str, task_id: str
) -> None:
    formatter = TaskFormatter()

    of_task = formatter.format(task_record(message, func_name, task_id=task_id))
    foreign = formatter.format(make_record("%s", message, name=logger, task_id=task_id))

    assert of_task.splitlines() == [of_task]
    assert foreign.splitlines() == [foreign]


@settings(deadline=None)
@given(st.text(alphabet=[chr(code) for code in FORBIDDEN], min_size=1))
def test_no_part_lets_a_forbidden_character_through(text: str) -> None:
    line = TaskFormatter().format(make_record(text, name=text, task_id=text))

    assert not set(line) & set(text)


@pytest.mark.parametrize("sink", ["file", "stdout"])
def test_a_lone_surrogate_costs_no_line(
    sink: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tasks.log"
    observer = FileLogger(path) if sink == "file" else StdoutLogger()

    TaskManager(loggers=[observer]).run(lambda: task_log("half \ud83d of a pair"))

    text = path.read_text("utf-8") if sink == "file" else capfd.readouterr().out
    assert text.endswith(" half \\ud83d of a pair\n")


def test_a_file_and_stdout_have_the_same_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tasks.log"
    observers = [FileLogger(path, log_lifecycle=True), StdoutLogger(log_lifecycle=True)]

    with freeze_time("2026-01-01 12:00:00", real_asyncio=True):
        TaskManager(loggers=observers).run(lambda: task_log("a\nb 日本"))

    lines = path.read_text("utf-8")
    assert lines == capsys.readouterr().out
    assert [line.split(" ", 3)[3] for line in lines.splitlines()] == [
        "-- RUNNING",
        r"a\nb 日本",
        "-- SUCCESS",
    ]


@pytest.mark.parametrize(
    ("created", "text"),
    [
        (NOON + 0.999999, TIME),
        (0.0, "1970-01-01T00:00:00"),
        (-0.5, "1969-12-31T23:59:59"),
        (951782399.0, "2000-02-28T23:59:59"),
    ],
)
def test_the_time_is_utc_in_whole_seconds_rounded_down(created: float, text: str) -> None:
    assert TaskFormatter().format(make_record(created=created)) == f"[-] [shop] {text} hi"


def test_one_formatter_tells_each_records_own_time() -> None:
    formatter = TaskFormatter()

    lines = [formatter.format(make_record(created=NOON + second)) for second in (0, 1, 0.5, 2)]

    assert [line.split()[2][-2:] for line in lines] == ["00", "01", "00", "02"]


@pytest.mark.parametrize(
    "make", [make_record, task_record], ids=["another library's record", "a task's record"]
)
def test_a_time_of_a_subclass_own_is_asked_for_each_line(make: Callable[..., Any]) -> None:
    class Counted(TaskFormatter):
        def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
            return f"{super().formatTime(record)}.{record.msecs:03.0f}"

    formatter = Counted()

    lines = [formatter.format(make(msecs=msecs)) for msecs in (7.0, 8.0)]

    assert [line.split()[2][-4:] for line in lines] == [".007", ".008"]


def test_a_time_that_is_replaced_between_two_lines_is_on_the_next_one() -> None:
    formatter, lines = TaskFormatter(), []
    mine: Any = formatter

    lines.append(formatter.format(task_record()))
    mine.formatTime = lambda record, datefmt=None: f"t{record.seq}"
    lines += [formatter.format(task_record(seq=seq)) for seq in (2, 3)]

    assert [line.split()[2] for line in lines] == [TIME, "t2", "t3"]


def test_lines_of_tasks_that_take_turns_have_each_its_own_head(tmp_path: Path) -> None:
    path = tmp_path / "tasks.log"
    manager = TaskManager(loggers=[FileLogger(path)])
    ids: list[str] = []

    async def body() -> None:
        context = get_task_context()
        assert context is not None
        ids.append(context.task_id)
        for number in range(3):
            task_log(f"{number} of {context.task_id}")
            await asyncio.sleep(0)

    async def main() -> None:
        async with manager:
            await asyncio.gather(*(manager.execute(body) for _ in range(3)))

    asyncio.run(main())

    lines = path.read_text().splitlines()
    assert len(lines) == 9
    assert all(line.startswith(f"[{line.rsplit(' ', 1)[1][:8]}] [") for line in lines)


@pytest.mark.parametrize(
    ("message", "arguments", "text"),
    [(7, (), "7"), (None, (), "None"), ("%s of %s", (1, 2), "1 of 2"), (b"x\n", (), r"b'x\n'")],
    ids=["number", "None", "arguments", "bytes"],
)
def test_what_a_filter_has_made_of_a_message_is_on_the_line(
    tmp_path: Path, message: object, arguments: tuple[object, ...], text: str
) -> None:
    file = FileLogger(tmp_path / "tasks.log")

    def change(record: logging.LogRecord) -> bool:
        record.msg, record.args = message, arguments
        return True

    file.handler.addFilter(change)

    TaskManager(loggers=[file]).run(lambda: task_log("before"))

    assert (tmp_path / "tasks.log").read_text().split(" ", 3)[3] == f"{text}\n"


def test_the_machines_time_zone_makes_no_difference(run_python: Callable[..., Any]) -> None:
    program = """
import logging
from fastapi_taskflow import TaskFormatter
record = logging.LogRecord("shop", 20, "", 0, "hi", (), None)
record.created = 1767268800.0
print(TaskFormatter().format(record))
"""

    done = run_python(program, TZ="Asia/Kathmandu")

    assert done.stdout == f"[-] [shop] {TIME} hi\n"


@pytest.mark.parametrize(
    "name",
    [
        "fastapi_taskflow.taskbar",
        "fastapi_taskflow.task.mine",
        "fastapi_taskflow.lifecycle.mine",
        "fastapi_taskflow.execution",
        "fastapi_taskflow",
        "shop",
    ],
)
@pytest.mark.parametrize("extra", [{"seq": 1}, {"status": 200}, {"func_name": "f"}], ids=str)
def test_another_records_attributes_that_look_like_ours_cost_no_line(
    name: str, extra: dict[str, Any]
) -> None:
    line = TaskFormatter().format(make_record("hi", name=name, **extra))

    assert line == f"[-] [{name}] {TIME} hi"


def test_another_librarys_arguments_are_merged_and_escaped() -> None:
    line = TaskFormatter().format(make_record("%s and %d%%", "a\nb", 5))

    assert line == f"[-] [shop] {TIME} a\\nb and 5%"


def test_a_traceback_and_a_stack_are_on_the_line(failure: Any) -> None:
    record = make_record(exc_info=failure, stack_info="Stack:\n  here")

    line = TaskFormatter().format(record)

    assert line.startswith(rf"[-] [shop] {TIME} hi\nTraceback (most recent call last):\n  File ")
    assert line.endswith(r"\nValueError: first\nsecond\nStack:\n  here")
    assert line.splitlines() == [line]


def test_formatters_do_not_see_each_others_traceback(failure: Any) -> None:
    class Short(logging.Formatter):
        def formatException(self, ei: object) -> str:
            return "short"

    record = make_record(exc_info=failure)

    before = TaskFormatter().format(record)
    short = Short().format(record)
    after = TaskFormatter().format(record)

    assert short == "hi\nshort"
    assert before == after
    assert "ValueError" in after


def test_a_traceback_kept_as_text_is_on_the_line() -> None:
    line = TaskFormatter().format(make_record(exc_text="Traceback\nboom"))

    assert line == rf"[-] [shop] {TIME} hi\nTraceback\nboom"


@pytest.mark.parametrize("make", [make_record, task_record], ids=["foreign", "task"])
def test_formatting_changes_nothing_in_the_record(make: Callable[..., Any], failure: Any) -> None:
    record = make("a\nb", exc_info=failure)
    before = dict(vars(record))

    TaskFormatter().format(record)

    assert vars(record) == before


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    with io.StringIO() as stream:
        yield stream


@pytest.mark.parametrize("key", ["class", "()"])
def test_a_configuration_can_name_it(key: str, stream: io.StringIO) -> None:
    handler = {"class": "logging.StreamHandler", "stream": stream, "formatter": "task"}
    config = {
        "version": 1,
        "formatters": {"task": {key: "fastapi_taskflow.formatters.TaskFormatter"}},
        "handlers": {"out": handler},
        "loggers": {"fastapi_taskflow.task": {"level": "INFO", "handlers": ["out"]}},
    }

    logging.config.dictConfig(config)
    record = TaskManager().run(lambda: task_log("a\nb"))

    assert stream.getvalue().startswith(f"[{record.task_id[:8]}] [<lambda>] ")
    assert stream.getvalue().endswith(" a\\nb\n")
