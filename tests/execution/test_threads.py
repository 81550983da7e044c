"""Worker threads: each call has one when it needs it, and each outcome finds its way back."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import Mock

import pytest

from fastapi_taskflow.execution import threads
from fastapi_taskflow.execution.threads import Outcome, WorkerThreads

LONG = 30.0


async def outcome_of(pool: WorkerThreads, call: Callable[[], Any]) -> Outcome:
    async with asyncio.timeout(LONG):
        await pool.slots.acquire()
        return await pool.submit(call)


async def outcomes_at_once(pool: WorkerThreads, count: int) -> list[Outcome]:
    """Outcomes of calls each of which waits for all others: each has a slot and a thread."""
    meeting = threading.Barrier(count)
    return await asyncio.gather(*(outcome_of(pool, meeting.wait) for _ in range(count)))


def test_each_call_of_a_burst_gets_its_own_outcome() -> None:
    pool = WorkerThreads(8)

    async def burst() -> list[Outcome]:
        calls = [outcome_of(pool, partial(int, number)) for number in range(500)]
        return await asyncio.gather(*calls)

    assert [outcome.result for outcome in asyncio.run(burst())] == list(range(500))


def test_no_call_waits_for_one_that_takes_its_time_while_there_is_a_slot() -> None:
    pool, release = WorkerThreads(4), threading.Event()

    async def beside_blocked_ones() -> list[Outcome]:
        warm = [outcome_of(pool, lambda: None) for _ in range(100)]
        await asyncio.gather(*warm)
        blocked = [asyncio.ensure_future(outcome_of(pool, release.wait)) for _ in range(3)]
        quick = await asyncio.gather(*(outcome_of(pool, lambda: "quick") for _ in range(20)))
        release.set()
        return quick + await asyncio.gather(*blocked)

    results = [outcome.result for outcome in asyncio.run(beside_blocked_ones())]

    assert results == ["quick"] * 20 + [True] * 3


def test_calls_one_after_the_other_run_in_one_thread() -> None:
    pool = WorkerThreads()

    async def in_a_row() -> set[Any]:
        return {(await outcome_of(pool, threading.get_ident)).result for _ in range(50)}

    assert len(asyncio.run(in_a_row())) == 1


def test_there_are_never_more_threads_than_slots() -> None:
    pool = WorkerThreads(3)

    async def burst() -> set[Any]:
        calls = (outcome_of(pool, threading.get_ident) for _ in range(300))
        return {outcome.result for outcome in await asyncio.gather(*calls)}

    assert len(asyncio.run(burst())) <= 3


def test_an_abandoned_calls_outcome_goes_nowhere_and_holds_up_no_other() -> None:
    pool, release = WorkerThreads(2), threading.Event()

    async def abandon() -> Outcome:
        await pool.slots.acquire()
        pool.submit(release.wait).cancel()
        release.set()
        return await outcome_of(pool, lambda: "next")

    assert asyncio.run(abandon()).result == "next"


def test_loops_of_several_threads_share_a_pool() -> None:
    pool, results = WorkerThreads(4), []

    async def many() -> None:
        calls = (outcome_of(pool, threading.get_ident) for _ in range(100))
        results.extend(await asyncio.gather(*calls))

    loops = [threading.Thread(target=lambda: asyncio.run(many())) for _ in range(3)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join(LONG)

    assert len(results) == 300


def test_an_idle_thread_ends_after_a_while_and_another_takes_what_comes_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "IDLE_SECONDS", 0.01)
    pool = WorkerThreads()

    async def thread_of_a_call() -> threading.Thread:
        thread = (await outcome_of(pool, threading.current_thread)).result
        assert isinstance(thread, threading.Thread)
        return thread

    first = asyncio.run(thread_of_a_call())
    first.join(LONG)

    assert not first.is_alive()
    assert asyncio.run(thread_of_a_call()) is not first


def test_an_idle_thread_keeps_neither_arguments_nor_outcome_nor_a_closed_loop_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "IDLE_SECONDS", 3600.0)

    class Held:
        def __call__(self) -> Held:
            return Held()

    pool = WorkerThreads()

    async def run() -> list[weakref.ref[Any]]:
        held = Held()
        outcome = await outcome_of(pool, held)
        loop = asyncio.get_running_loop()
        return [weakref.ref(held), weakref.ref(outcome.result), weakref.ref(loop)]

    seen = asyncio.run(run())
    deadline = time.monotonic() + 10.0
    while any(each() is not None for each in seen) and time.monotonic() < deadline:
        gc.collect()

    assert [each() for each in seen] == [None] * 3


def test_a_loop_that_ends_before_its_call_is_forgotten_with_the_outcome() -> None:
    pool, release, done = WorkerThreads(), threading.Event(), threading.Event()

    class Kept:
        """What the call gives."""

    kept: list[weakref.ref[Any]] = []

    def call() -> Kept:
        assert release.wait(LONG)
        result = Kept()
        kept.append(weakref.ref(result, lambda _: done.set()))
        return result

    async def left() -> None:
        kept.append(weakref.ref(asyncio.get_running_loop()))
        await pool.slots.acquire()
        pool.submit(call)

    asyncio.run(left())
    release.set()

    deadline = time.monotonic() + LONG
    while time.monotonic() < deadline and not (done.is_set() and kept[0]() is None):
        gc.collect()
        time.sleep(0.01)
    assert [each() for each in kept] == [None, None]


def test_the_calls_of_one_turn_are_handed_out_together_in_the_next() -> None:
    pool, begun, seen = WorkerThreads(4), threading.Event(), []

    async def in_one_turn() -> None:
        await outcome_of(pool, lambda: None)  # a thread is there, and idle
        calls = []
        for _ in range(2):
            await pool.slots.acquire()
            calls.append(pool.submit(begun.set))
            seen.append(begun.wait(0.05))
        await asyncio.gather(*calls)

    asyncio.run(in_one_turn())

    assert seen == [False, False]
    assert begun.is_set()


def test_a_call_that_is_abandoned_in_its_turn_is_not_made_and_its_slot_given_back() -> None:
    pool, made = WorkerThreads(1), threading.Event()

    async def abandon() -> Outcome:
        await pool.slots.acquire()
        pool.submit(made.set).cancel()
        return await outcome_of(pool, lambda: "next")

    assert asyncio.run(abandon()).result == "next"
    assert not made.is_set()


def test_a_loop_that_could_not_be_told_of_one_call_is_told_of_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "IDLE_SECONDS", 3600.0)
    pool = WorkerThreads(2)

    async def at_the_stacks_end() -> Outcome:
        loop = asyncio.get_running_loop()
        await pool.slots.acquire()
        with monkeypatch.context() as patched:
            patched.setattr(loop, "call_soon", Mock(side_effect=RecursionError))
            with pytest.raises(RecursionError):
                pool.submit(lambda: None)
        return await outcome_of(pool, lambda: "next")

    assert asyncio.run(at_the_stacks_end()).result == "next"


@pytest.mark.parametrize("what_follows", ["nothing", "another loop's call"])
def test_a_call_of_a_loops_last_turn_is_made_and_its_slot_given_back(
    what_follows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "IDLE_SECONDS", 0.01 if what_follows == "nothing" else 3600.0)
    pool, made = WorkerThreads(2), threading.Event()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(pool.slots.acquire())
    loop.call_soon(pool.submit, made.set)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()

    if what_follows != "nothing":
        assert asyncio.run(outcome_of(pool, lambda: "next")).result == "next"

    assert made.wait(LONG)
    assert len(asyncio.run(outcomes_at_once(pool, 2))) == 2


def test_an_argument_that_takes_its_time_to_go_holds_up_no_other_call() -> None:
    pool, going, release = WorkerThreads(4), threading.Event(), threading.Event()

    class Slow:
        """Goes when it is let."""

        def __del__(self) -> None:
            going.set()
            release.wait(2 * LONG)

    def takes(argument: Slow) -> None: ...

    async def beside_it() -> Any:
        await pool.slots.acquire()
        slow = pool.submit(partial(takes, Slow()))
        await asyncio.get_running_loop().run_in_executor(None, going.wait, LONG)
        quick = await outcome_of(pool, lambda: "quick")
        release.set()
        await slow
        return quick.result

    assert asyncio.run(beside_it()) == "quick"
