"""A task's record has what ``logging.LogRecord`` itself would have made of it."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from fastapi_taskflow.loggers.places import place_at
from fastapi_taskflow.loggers.plain_record import layout, plain_record
from fastapi_taskflow.records import EntryLogRecord

FLAGS = ["logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks"]
TIMES = {"created", "msecs", "relativeCreated"}


def made(
    laid_out: dict[str, Any],
    levelno: int,
    message: str,
    where: tuple[str, int, str],
    extra: dict[str, Any] | None = None,
) -> EntryLogRecord:
    thread = threading.current_thread()
    return plain_record(laid_out, levelno, message, place_at(*where), extra, EntryLogRecord, thread)


def both(
    path: str = "/srv/app/jobs.py", levelno: int = 20
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The attributes of the standard library's record, and of ours."""
    name = "fastapi_taskflow.task.send"
    theirs = logging.LogRecord(name, levelno, path, 7, "50% of it", (), None, "send", None)
    return vars(theirs), vars(made(layout(name), levelno, "50% of it", (path, 7, "send")))


def check(found: tuple[dict[str, Any], dict[str, Any]]) -> None:
    theirs, ours = found
    assert list(ours) == list(theirs)
    assert {k: v for k, v in ours.items() if k not in TIMES} == {
        k: v for k, v in theirs.items() if k not in TIMES
    }
    assert {k: type(ours[k]) for k in TIMES} == {k: type(theirs[k]) for k in TIMES}
    for name, within in (("created", 60.0), ("relativeCreated", 60_000.0)):
        assert 0 <= ours[name] - theirs[name] < within
    assert ours["msecs"] == int(ours["msecs"])
    assert abs(ours["created"] % 1 * 1000 - ours["msecs"] - 0.5) < 0.51


@pytest.mark.parametrize("path", ["/srv/app/jobs.py", "jobs", "", "<string>", "/a.b/c.tar.gz"])
def test_it_has_the_attributes_of_the_standard_library(path: str) -> None:
    check(both(path))


def test_names_and_numbers_of_levels_that_users_made_are_theirs() -> None:
    logging.addLevelName(25, "NOTICE")

    assert both(levelno=25)[1]["levelname"] == "NOTICE"
    check(both(levelno=33))


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if hasattr(logging, flag)])
def test_what_logging_is_told_to_leave_out_is_left_out(
    monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    monkeypatch.setattr(logging, flag, False)

    check(both())


@pytest.mark.parametrize("run", ["thread", "asyncio task"])
def test_it_knows_where_it_was_made(run: str) -> None:
    found: list[tuple[dict[str, Any], dict[str, Any]]] = []

    async def work() -> None:
        found.append(both())

    def run_there() -> None:
        asyncio.run(_as_task(work)) if run == "asyncio task" else found.append(both())

    thread = threading.Thread(target=run_there, name="there")
    thread.start()
    thread.join()

    check(found[0])
    assert found[0][1]["threadName"] == "there"


async def _as_task(work: Callable[[], Any]) -> None:
    await asyncio.create_task(work(), name="the work")


def test_a_process_is_called_what_multiprocessing_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "name", "digester")

    theirs, ours = both()

    assert ours["processName"] == theirs["processName"] == "digester"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_its_own_number(run_python: Any) -> None:
    program = """
import os, sys
from fastapi_taskflow.loggers.birth import make_record
child = os.fork()
if not child:
    os._exit(make_record("x", 20, "").process != os.getpid())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run_python(program).returncode == 0


def test_a_layout_is_never_changed_by_its_records() -> None:
    laid_out = layout("x", task_id="id", tags={"a": "b"})
    before = dict(laid_out)

    first = made(laid_out, 20, "one", ("a.py", 1, "f"), {"user": "bob"})
    second = made(laid_out, 30, "two", ("b.py", 2, "g"))

    assert laid_out == before
    assert (first.msg, first.user, second.msg) == ("one", "bob", "two")  # type: ignore[attr-defined]
    assert "user" not in vars(second)
