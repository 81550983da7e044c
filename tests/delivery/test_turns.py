"""Turns: a thread that logs without a pause sleeps for a moment, now and then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from freezegun import freeze_time

from fastapi_taskflow.loggers.turns import PATIENCE, Turns

STEP = PATIENCE / 5


@pytest.fixture
def clock() -> Iterator[Any]:
    with freeze_time("2026-01-01") as clock:
        yield clock


def offers(turns: Turns, clock: Any, count: int) -> list[bool]:
    """What becomes of entries that are a step apart."""
    taken = []
    for _ in range(count):
        clock.tick(STEP)
        taken.append(turns.are_due())
    return taken


def test_a_thread_that_never_pauses_sleeps_once_for_each_time_that_the_loop_may_wait(
    clock: Any,
) -> None:
    slept = offers(Turns(), clock, 100)

    assert not any(slept[:5])
    assert 15 <= sum(slept) <= 20


def test_a_thread_that_pauses_by_itself_never_sleeps(clock: Any) -> None:
    turns = Turns()

    for _ in range(20):
        clock.tick(PATIENCE * 2)
        assert not any(offers(turns, clock, 4))


def test_a_loop_that_has_its_turns_is_offered_none(clock: Any) -> None:
    turns = Turns()

    for _ in range(20):
        assert not any(offers(turns, clock, 4))
        turns.taken()
