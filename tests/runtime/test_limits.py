"""Limits: slots one by one, and managers that run no more than they may."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fastapi_taskflow import TaskManager, TaskStatus
from fastapi_taskflow.execution.slots import Slots


async def _turn(task: asyncio.Task[Any]) -> bool:
    """Whether a task that waits for a slot gets one when the loop has had a few turns."""
    for _ in range(5):
        await asyncio.sleep(0)
    return task.done()


def test_slots_are_given_in_the_order_they_were_asked_for() -> None:
    got: list[int] = []

    async def take(slots: Slots, number: int) -> None:
        await slots.acquire()
        got.append(number)
        slots.release()

    async def main() -> None:
        slots = Slots(1)
        await slots.acquire()
        tasks = [asyncio.create_task(take(slots, number)) for number in range(5)]
        await asyncio.sleep(0)
        slots.release()
        await asyncio.gather(*tasks)

    asyncio.run(main())

    assert got == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("given", [False, True], ids=["before it is given", "after it is given"])
def test_a_cancelled_waiter_takes_no_slot_with_it(given: bool) -> None:
    async def main() -> tuple[bool, bool]:
        slots = Slots(1)
        await slots.acquire()
        goes = asyncio.create_task(slots.acquire())
        stays = asyncio.create_task(slots.acquire())
        await asyncio.sleep(0)
        if given:
            slots.release()
        goes.cancel()
        await asyncio.wait({goes})
        if not given:
            slots.release()
        return goes.cancelled(), await _turn(stays)

    assert asyncio.run(main()) == (True, True)


def test_a_waiter_that_is_thrown_away_takes_no_slot_with_it() -> None:
    async def main() -> bool:
        slots = Slots(1)
        await slots.acquire()
        thrown_away = slots.acquire()
        thrown_away.send(None)
        slots.release()  # given to it
        thrown_away.close()
        return await _turn(asyncio.create_task(slots.acquire()))

    assert asyncio.run(main())


def _waiting_on_a_closed_loop(slots: Slots) -> Any:
    """What waits for the only slot, which somebody has, on a loop that is closed."""
    asyncio.run(slots.acquire())
    closed = asyncio.new_event_loop()
    waiting = slots.acquire()
    closed.run_until_complete(_started(waiting))
    closed.close()
    return waiting


def test_a_waiter_whose_loop_was_closed_is_passed_over() -> None:
    slots = Slots(1)
    waiting = _waiting_on_a_closed_loop(slots)

    slots.release()

    asyncio.run(_acquired(slots))
    waiting.close()


def test_a_waiter_that_is_thrown_away_after_its_loop_brings_no_slot_with_it() -> None:
    slots = Slots(1)
    waiting = _waiting_on_a_closed_loop(slots)

    slots.release()  # passed over
    waiting.close()

    async def second() -> bool:
        await slots.acquire()
        return await _turn(asyncio.create_task(slots.acquire()))

    assert not asyncio.run(second())


async def _acquired(slots: Slots) -> None:
    """Fail, where the slot was lost, instead of waiting for ever."""
    async with asyncio.timeout(30):
        await slots.acquire()


async def _started(waiting: Any) -> None:
    waiting.send(None)


def test_waiters_on_a_loop_that_ends_give_their_place_to_another_loops() -> None:
    slots = Slots(1)
    asyncio.run(slots.acquire())

    async def abandon() -> None:
        waiters = [asyncio.create_task(slots.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        slots.release()  # given to the first, who never gets to use it
        assert len(waiters) == 3

    asyncio.run(abandon())

    asyncio.run(_acquired(slots))


class _Gauge:
    """Counts how many bodies are inside at once."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self._guard = threading.Lock()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._guard:
            self.inside += 1
            self.most = max(self.most, self.inside)
        yield
        with self._guard:
            self.inside -= 1


def test_no_more_tasks_run_at_once_than_may_whatever_they_are() -> None:
    manager, gauge = TaskManager(max_concurrent_tasks=3), _Gauge()

    def sync_body() -> None:
        with gauge():
            asyncio.run(asyncio.sleep(0))

    async def async_body() -> None:
        with gauge():
            await asyncio.sleep(0)

    async def main() -> list[Any]:
        bodies = [sync_body, async_body] * 10
        return await asyncio.gather(*(manager.execute(body) for body in bodies))

    records = asyncio.run(main())

    assert {record.status for record in records} == {TaskStatus.SUCCESS}
    assert gauge.most <= 3


def test_the_limit_holds_over_several_event_loops() -> None:
    manager, gauge = TaskManager(max_concurrent_tasks=2), _Gauge()

    async def body() -> None:
        with gauge():
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(manager.execute(body) for _ in range(8)))

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert gauge.most <= 2
    assert manager.store.totals().by_status[TaskStatus.SUCCESS] == 24


def test_a_pool_of_its_own_is_not_held_up_by_another_managers() -> None:
    started, release = threading.Event(), threading.Event()
    busy, free = TaskManager(max_sync_threads=1), TaskManager(max_sync_threads=1)

    def stuck() -> None:
        started.set()
        release.wait(30)

    async def main() -> Any:
        blocked = asyncio.create_task(busy.execute(stuck))
        await asyncio.to_thread(started.wait, 30)
        record = await free.execute(threading.get_ident)
        release.set()
        await blocked
        return record

    assert asyncio.run(main()).status is TaskStatus.SUCCESS


def test_a_pool_runs_as_many_sync_bodies_at_once_as_it_has_threads() -> None:
    manager, gauge = TaskManager(max_sync_threads=3), _Gauge()
    barrier = threading.Barrier(3, timeout=30)

    def body() -> int:
        with gauge():
            return barrier.wait()

    async def main() -> list[Any]:
        return await asyncio.gather(*(manager.execute(body) for _ in range(9)))

    records = asyncio.run(main())

    assert {record.status for record in records} == {TaskStatus.SUCCESS}
    assert gauge.most == 3


def test_async_bodies_need_no_thread() -> None:
    manager = TaskManager(max_sync_threads=1)
    started, release = threading.Event(), threading.Event()

    def stuck() -> None:
        started.set()
        release.wait(30)

    async def body() -> str:
        return "done"

    async def main() -> Any:
        blocked = asyncio.create_task(manager.execute(stuck))
        await asyncio.to_thread(started.wait, 30)
        record = await manager.execute(body)
        release.set()
        await blocked
        return record.result

    assert asyncio.run(main()) == "done"


def test_a_failing_task_gives_its_slot_and_thread_back() -> None:
    manager = TaskManager(max_concurrent_tasks=1, max_sync_threads=1)

    @manager.task(retries=1)
    def fail() -> None:
        raise ValueError

    async def main() -> list[Any]:
        bodies = [fail, fail, threading.get_ident]
        return [await manager.execute(body) for body in bodies]

    assert [record.status.value for record in asyncio.run(main())] == [
        "failed",
        "failed",
        "success",
    ]
