"""observer_stats(): what became of the records, observer by observer."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from pathlib import Path

import pytest

from fastapi_taskflow import (
    FileLogger,
    InMemoryLogger,
    LogEvent,
    ObserverHandler,
    ObserverStats,
    StdoutLogger,
    TaskManager,
    TaskObserver,
    task_log,
)


async def two_levels() -> None:
    task_log("fine", level="debug")
    task_log("look", level="warning")


class Slack(TaskObserver):
    """An observer of the user's own."""


def test_observers_are_named_by_class_and_numbered_where_it_repeats(tmp_path: Path) -> None:
    manager = TaskManager(
        loggers=[
            Slack(),
            InMemoryLogger(),
            Slack(),
            FileLogger(tmp_path / "one.log"),
            ObserverHandler(Slack()),
            StdoutLogger(),
        ],
        log_file=str(tmp_path / "two.log"),
    )

    assert list(manager.observer_stats()) == [
        "Slack",
        "InMemoryLogger",
        "Slack-2",
        "FileLogger",
        "Slack-3",
        "StdoutLogger",
        "FileLogger-2",
        "pipeline",
    ]


def test_an_observer_whose_class_is_called_pipeline_leaves_the_name_to_the_pipeline() -> None:
    observer = type("pipeline", (TaskObserver,), {})()
    manager = TaskManager(loggers=[observer], propagate=False)

    manager.run(two_levels)

    stats = manager.observer_stats()
    assert {name: entry.delivered for name, entry in stats.items()} == {
        "pipeline-2": 4,
        "pipeline": 0,
    }


def test_before_the_first_event_all_figures_are_nought() -> None:
    stats = TaskManager(loggers=[Slack()]).observer_stats()

    assert stats == {"Slack": ObserverStats(), "pipeline": ObserverStats()}
    assert dataclasses.asdict(ObserverStats()) == {
        "delivered": 0,
        "filtered": 0,
        "dropped": {},
        "dropped_by_level": {},
        "errors": 0,
        "queued": 0,
        "high_water": 0,
        "last_error": None,
    }


def test_figures_are_a_frozen_picture_of_one_moment() -> None:
    manager = TaskManager(loggers=[Slack()])
    before = manager.observer_stats()["Slack"]

    manager.run(two_levels)

    assert before == ObserverStats()
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.errors = 1  # type: ignore[misc]  # the point
    before.dropped["overflow"] = 1  # type: ignore[index]  # the point
    assert manager.observer_stats()["Slack"].dropped == {}


def test_what_is_delivered_and_what_is_filtered_is_counted_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manager = TaskManager(
        loggers=[
            FileLogger(tmp_path / "tasks.log"),
            StdoutLogger(log_lifecycle=True, min_level="debug"),
            InMemoryLogger(min_level="warning"),
            type("Choosy", (TaskObserver,), {"min_level": "warning"})(),
        ],
        propagate=False,
    )

    manager.run(two_levels)

    stats = manager.observer_stats()
    counted = {name: (entry.delivered, entry.filtered) for name, entry in stats.items()}
    assert counted == {
        "FileLogger": (1, 3),
        "StdoutLogger": (4, 0),
        "InMemoryLogger": (3, 1),
        "Choosy": (1, 3),
        "pipeline": (0, 0),
    }
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_the_pipeline_counts_what_the_users_handlers_take() -> None:
    library = logging.getLogger("fastapi_taskflow")
    library.addHandler(InMemoryLogger().handler)
    library.propagate = False
    manager = TaskManager()

    manager.run(two_levels)

    assert manager.observer_stats()["pipeline"].delivered == 1


def test_errors_are_counted_and_the_last_one_is_kept() -> None:
    class Failing(TaskObserver):
        async def on_log(self, event: LogEvent) -> None:
            raise ValueError(f"can't take {event.message}")

    manager = TaskManager(loggers=[Failing()])

    manager.run(two_levels)

    stats = manager.observer_stats()["Failing"]
    assert (stats.delivered, stats.errors) == (2, 2)
    assert stats.last_error == "ValueError: can't take look"


def test_what_waits_is_queued_and_the_most_that_ever_waited_is_remembered() -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    class Waiting(TaskObserver):
        async def on_log(self, event: LogEvent) -> None:
            entered.set()
            await go_on.wait()

    handler = ObserverHandler(Waiting())

    async def main() -> list[ObserverStats]:
        async with TaskManager(loggers=[handler], drain_timeout=0.0) as manager:
            await manager.execute(two_levels)
            await entered.wait()
            waiting = manager.observer_stats()["Waiting"]
            go_on.set()
            await handler.drain()
            return [waiting, manager.observer_stats()["Waiting"]]

    waiting, after = asyncio.run(main())

    assert waiting.delivered == 1  # the one that is under way may still become an error
    assert waiting.queued in (2, 3)
    assert (after.queued, after.delivered) == (0, 4)
    assert 3 <= after.high_water <= 4
