"""A budget of entries for each place in the code."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from fastapi_taskflow import ConfigurationError, InMemoryLogger, TaskManager, task_log


def flooded(limit: int, **options: Any) -> tuple[TaskManager, InMemoryLogger]:
    memory = InMemoryLogger()
    return TaskManager(loggers=[memory], log_limit=limit, **options), memory


def test_a_place_is_cut_off_and_the_summary_counts_the_rest() -> None:
    manager, memory = flooded(2)

    def body() -> None:
        for n in range(10):
            task_log(f"loop {n}")
        task_log("elsewhere")

    record = manager.run(body)

    *kept, summary = memory.log_events
    line = body.__code__.co_firstlineno + 2
    assert [event.message for event in kept] == ["loop 0", "loop 1", "elsewhere"]
    assert summary.message == f"8 more suppressed from test_flood.py:{line}"
    assert (summary.level, summary.extra) == ("info", {"suppressed": 8})
    assert [event.seq for event in (*kept, summary)] == [1, 2, 3, 4]
    assert memory.lifecycle_events[-1].seq == 5
    assert len(record.logs) == 4


def test_warnings_and_above_are_never_suppressed() -> None:
    manager, memory = flooded(1)

    def body() -> None:
        for level in ("warning", "error", "critical") * 5:
            task_log("important", level=level)

    manager.run(body)

    assert len(memory.log_events) == 15


def test_within_the_budget_there_is_no_summary() -> None:
    manager, memory = flooded(3)

    def body() -> None:
        for n in range(3):
            task_log(n)

    manager.run(body)

    assert [event.message for event in memory.log_events] == ["0", "1", "2"]


def test_the_budget_is_the_tasks_not_the_attempts_nor_the_managers() -> None:
    manager, memory = flooded(2)

    @manager.task(retries=1)
    def body() -> None:
        task_log("trying")
        task_log("trying again", level="debug")
        raise OSError("no")

    @manager.task(retries=2)
    def loop() -> None:
        for _ in range(2):
            task_log("step")
        raise OSError("no")

    manager.run(loop)
    first = [event.message for event in memory.log_events]
    memory.clear()
    manager.run(loop)

    assert first == ["step", "step", f"4 more suppressed from test_flood.py:{line_of(loop, 3)}"]
    assert [event.message for event in memory.log_events] == first


def line_of(function: Any, offset: int) -> int:
    first: int = function.__code__.co_firstlineno
    return first + offset


def test_an_entry_that_its_logger_turns_away_takes_nothing_of_the_budget() -> None:
    manager, memory = flooded(1)
    logging.getLogger("fastapi_taskflow.task.body").setLevel("INFO")

    def body() -> None:
        for level in ("debug", "debug", "info"):
            task_log(level, level=level)

    manager.run(body)

    assert [event.message for event in memory.log_events] == ["info"]


def test_prints_and_captured_records_have_budgets_too() -> None:
    manager, memory = flooded(1, capture_loggers=["shop"], log_prints=True)
    logging.getLogger("shop").setLevel("INFO")

    def body() -> None:
        for n in range(3):
            print("printed", n)
            logging.getLogger("shop").info("captured %d", n)

    manager.run(body)

    kept = [event.message for event in memory.log_events]
    assert kept[:2] == ["printed 0", "captured 0"]
    assert [message[:17] for message in kept[2:]] == ["2 more suppressed"] * 2


@pytest.mark.parametrize("limit", [0, -1, 1.5, "many", True], ids=repr)
def test_a_limit_that_is_none_is_refused(limit: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"log_limit=.*whole number of 1 or more"):
        TaskManager(log_limit=limit)
