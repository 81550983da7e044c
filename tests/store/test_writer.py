"""When the writer writes: at once for those who wait, and else what has gathered."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fastapi_taskflow import TaskRecord, TaskStatus
from fastapi_taskflow.store import writer as module
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.record import changed
from fastapi_taskflow.store.sql import Database
from fastapi_taskflow.store.writer import Writer

PATIENCE = 60.0
AGES = 3600.0
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LOG = logging.getLogger("fastapi_taskflow.store")


class Watched(Database):
    """Notes the statuses in each batch, and writes while it may."""

    def __init__(self, path: Path) -> None:
        super().__init__(Connections(str(path)))
        self.batches: list[list[str]] = []
        self.may_write = threading.Event()
        self.may_write.set()

    def write(self, added: Any, changed: Any, logged: Any) -> dict[str, str]:
        assert self.may_write.wait(PATIENCE)
        self.batches.append([record.status.value for record in (*added, *changed)])
        return super().write(added, changed, logged)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Watched]:
    with closing(Watched(tmp_path / "tasks.db")) as database:
        yield database


@pytest.fixture
def writer(database: Watched, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    monkeypatch.setattr(module, "GATHER_SECONDS", AGES)
    writer = Writer(database, LOG, lambda: None)
    yield writer
    database.may_write.set()
    writer.close(PATIENCE)


def _record(task_id: str = "id") -> TaskRecord:
    return TaskRecord(task_id, "send", TaskStatus.PENDING, NOON)


def test_what_nobody_waits_for_is_written_with_what_follows(
    writer: Writer, database: Watched
) -> None:
    record = _record()
    writer.record(record, new=True)
    writer.record(changed(record, status=TaskStatus.RUNNING))
    writer.record(changed(record, status=TaskStatus.SUCCESS))

    assert writer.flush(PATIENCE)

    assert database.batches == [["success"]]


def test_what_nobody_waits_for_is_written_in_a_moment(
    writer: Writer, database: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GATHER_SECONDS", 0.001)
    deadline = threading.Event()

    for number in range(3):  # also when the thread sleeps
        writer.record(_record(str(number)), new=True)
        while len(database.batches) == number:
            assert not deadline.wait(0.005)

    assert database.batches == [["pending"]] * 3


def test_what_waits_on_one_turn_of_a_loop_is_written_together(
    writer: Writer, database: Watched
) -> None:
    async def give(number: int) -> bool:
        time.sleep(0.02)  # noqa: ASYNC251  # the thread could write what came before
        writer.record(_record(str(number)), new=True)
        return await writer.flush_async(PATIENCE)

    async def main() -> list[bool]:
        return await asyncio.gather(*map(give, range(5)))

    assert all(asyncio.run(main()))
    assert database.batches == [["pending"] * 5]


def test_one_of_those_who_wait_may_be_cancelled(writer: Writer, database: Watched) -> None:
    async def main() -> list[object]:
        database.may_write.clear()
        writer.record(_record(), new=True)
        waiting = [asyncio.create_task(writer.flush_async(PATIENCE)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        database.may_write.set()
        return await asyncio.gather(*waiting, return_exceptions=True)

    first, second, third = asyncio.run(main())

    assert (first, third) == (True, True)
    assert isinstance(second, asyncio.CancelledError)


def test_no_loop_waits_longer_than_it_wants_to(writer: Writer, database: Watched) -> None:
    async def main() -> tuple[bool, bool]:
        database.may_write.clear()
        writer.record(_record(), new=True)
        short = await writer.flush_async(0.01)
        long = asyncio.create_task(writer.flush_async(PATIENCE))
        await asyncio.sleep(0)
        database.may_write.set()
        return short, await long

    assert asyncio.run(main()) == (False, True)


def test_a_loop_that_ends_while_it_waits_holds_up_no_other(
    writer: Writer, database: Watched
) -> None:
    async def leave() -> None:
        writer.record(_record("left"), new=True)
        waiting = asyncio.create_task(writer.flush_async(PATIENCE))
        await asyncio.sleep(0)
        asyncio.get_running_loop().stop()
        await waiting

    async def main() -> bool:
        writer.record(_record(), new=True)
        return await writer.flush_async(PATIENCE)

    database.may_write.clear()
    with pytest.raises(RuntimeError, match="stopped before"):
        asyncio.run(leave())
    database.may_write.set()

    assert asyncio.run(main())
