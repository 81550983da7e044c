"""What others write, as it is told to those who watch: late, after a failure, after a pause."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, closing
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, text

from fastapi_taskflow import LogEntry, TaskAdmin, TaskManager, TaskRecord, TaskStatus, task_log
from fastapi_taskflow.loggers.watch import Published
from fastapi_taskflow.store import Query, leases, poller
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.others import Others
from fastapi_taskflow.store.rows import entry_row
from fastapi_taskflow.store.schema import entries
from fastapi_taskflow.store.sql import Database
from fastapi_taskflow.store.statements import Statements
from fastapi_taskflow.store.window import MAX_SEEN, Window

PATIENCE = 30.0
QUERY = Query()
FOLLOW = "fastapi_taskflow-follow"


def chat(name: str) -> None:
    for number in range(3):
        task_log(f"{name} {number}")


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def messages(events: AsyncIterator[Any], count: int) -> list[str]:
    """So many events: messages and statuses."""
    seen: list[str] = []
    async with asyncio.timeout(PATIENCE):
        async for event in events:
            seen.append(_text(event))
            if len(seen) == count:
                break
    return seen


def _text(event: Any) -> str:
    return str(getattr(event, "message", None) or event.status.value)


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def texts(name: str) -> list[str]:
    return ["running", *(f"{name} {number}" for number in range(3)), "success"]


def test_a_stream_of_another_processs_task_ends_with_it(location: str) -> None:
    async def main() -> tuple[str, int]:
        manager, other = (TaskManager(snapshot_db=location) for _ in range(2))
        app = FastAPI()
        TaskAdmin(app, manager)
        hold = asyncio.Event()

        async def held() -> None:
            task_log("begun")
            await hold.wait()

        async with manager, other:
            running = asyncio.ensure_future(other.execute(held))
            await until(lambda: [r for r in other.store.query(QUERY) if r.start_time])
            task_id = other.store.query(QUERY)[0].task_id
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                wanted = {"task_id": task_id}
                reading = asyncio.ensure_future(client.get("/tasks/stream", params=wanted))
                await until(lambda: FOLLOW in names())
                hold.set()
                answer = await asyncio.wait_for(reading, PATIENCE)
                await running
                return answer.text, (await client.get("/tasks/stream", params=wanted)).status_code

    text, later = asyncio.run(main())

    assert text.count('"status":"success"') == 1
    assert later == 204


def test_a_reader_that_comes_back_has_neither_gaps_nor_doubles(location: str) -> None:
    async def read(last_id: str | None, count: int) -> tuple[str, list[Any]]:
        with closing(manager.watchers.read(None, last_id)) as reader:
            manager.store.follow(None)
            assert not reader.is_reset
            if last_id is None:
                await other.execute(chat, "first")
            items: list[Published | None] = []
            async with asyncio.timeout(PATIENCE):
                while len(items) < count:
                    await reader.wait()
                    items.append(reader.take())
        assert items[-1] is not None
        last_id = manager.watchers.id_of(items[-1].number)
        return last_id, [item.event for item in items if item is not None]

    async def main() -> list[Any]:
        async with manager, other:
            last_id, first = await read(None, 2)
            await other.execute(chat, "second")
            return first + (await read(last_id, 8))[1]

    manager, other = (TaskManager(snapshot_db=location) for _ in range(2))

    by_task: dict[str, list[str]] = {}
    for event in asyncio.run(main()):
        by_task.setdefault(event.task_id, []).append(_text(event))

    assert list(by_task.values()) == [texts("first"), texts("second")]


def test_who_comes_back_after_the_look_has_ended_begins_anew(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "LINGER_SECONDS", 0.0)

    async def main() -> tuple[bool, list[str]]:
        manager, other = (TaskManager(snapshot_db=location) for _ in range(2))
        async with manager, other:
            with closing(manager.watchers.read()) as reader:
                manager.store.follow(None)
                last_id = manager.watchers.id_for(reader)
            await until(lambda: FOLLOW not in names())
            await other.execute(chat, "unseen")
            with closing(manager.watchers.read(None, last_id)) as reader:
                manager.store.follow(None)
                await other.execute(chat, "seen")
                return reader.is_reset, await messages(reader, 5)

    assert asyncio.run(main()) == (True, texts("seen"))


def test_a_database_that_is_gone_is_reported_once_and_nothing_is_missed(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def reports() -> list[str]:
        return [text for text in caplog.messages if "can't be watched now" in text]

    async def main() -> list[str]:
        manager, other = (TaskManager(snapshot_db=where) for _ in range(2))
        async with manager, other, aclosing(manager.watch()) as events:
            await other.execute(chat, "before")
            before = await messages(events, 5)
            server.kill()
            await until(reports)
            running = asyncio.ensure_future(other.execute(chat, "meanwhile"))
            await asyncio.to_thread(server.start)
            await running
            return before + await messages(events, 5)

    where = server.emptied_database()
    caplog.set_level(logging.ERROR)

    assert asyncio.run(main()) == [*texts("before"), *texts("meanwhile")]
    assert len(reports()) == 1


def test_a_row_that_cant_be_read_ends_no_look(
    location: str, caplog: pytest.LogCaptureFixture
) -> None:
    def reports() -> list[str]:
        return [text for text in caplog.messages if "can't be watched now" in text]

    def set_tags(database: Database, tags: str) -> None:
        with database.transaction() as connection:
            connection.execute(text("UPDATE taskflow_tasks SET tags = :tags"), {"tags": tags})

    async def main(database: Database) -> list[str]:
        manager, other = (TaskManager(snapshot_db=location) for _ in range(2))
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def held() -> None:
            begun.set()
            await go_on.wait()

        async with manager, other:
            running = asyncio.ensure_future(other.execute(held))
            await begun.wait()
            await until(lambda: [r for r in manager.store.query(QUERY) if r.start_time])
            await asyncio.to_thread(set_tags, database, "{")
            async with aclosing(manager.watch()) as events:
                await until(reports)
                await asyncio.to_thread(set_tags, database, "{}")
                go_on.set()
                await running
                return await messages(events, 1)

    with closing(Database(Connections(location))) as database:
        assert asyncio.run(main(database)) == ["success"]
    assert len(reports()) == 1


def test_an_entry_that_is_committed_late_is_told(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "DEAD_SECONDS", 3600.0)  # nobody beats for the other process

    async def main() -> list[str]:
        manager = TaskManager(snapshot_db=where)
        async with manager, aclosing(manager.watch()) as events:
            with database.transaction() as late:
                Statements(late.dialect).log.execute(late, [entry_row("a", entry("late"))])
                with database.transaction() as early:
                    Statements(early.dialect).log.execute(early, [entry_row("b", entry("early"))])
                first = await messages(events, 1)
            return first + await messages(events, 1)

    def entry(message: str) -> LogEntry:
        return LogEntry(1, datetime.now(UTC), "info", message, 0)

    where = server.emptied_database()
    with closing(Database(Connections(where))) as database:
        lease, now = leases.Lease(database), datetime.now(UTC)
        lease.beat()
        rows = [
            TaskRecord(name, "work", TaskStatus.RUNNING, now, start_time=now, owner=lease.owner)
            for name in "ab"
        ]
        database.write(rows, [], [])

        assert asyncio.run(main()) == ["early", "late"]

        with database.reading() as connection:
            by_number = select(entries.c.message).order_by(entries.c.id)
            assert list(connection.scalars(by_number)) == ["late", "early"]
            assert connection.scalar(select(func.count()).select_from(entries)) == 2


def test_numbers_that_are_given_again_are_read_again(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    class Counted(Others):
        def last_entry(self) -> int:
            looks.append(last := super().last_entry())
            return last

    monkeypatch.setattr(poller, "Others", Counted)

    async def main() -> tuple[list[str], list[str]]:
        manager, other = (TaskManager(snapshot_db=location) for _ in range(2))
        async with manager, other, aclosing(manager.watch()) as events:
            await other.execute(chat, "first")
            first = await messages(events, 5)
            await other.delete_history(older_than=0)
            await until(lambda: not other.store.query(QUERY))
            seen = len(looks)
            await until(lambda: len(looks) > seen + 1)
            await other.execute(chat, "second")
            return first, await messages(events, 5)

    assert asyncio.run(main()) == (texts("first"), texts("second"))


def test_as_long_as_nobody_watches_nobody_looks(location: str) -> None:
    async def main() -> list[str]:
        async with TaskManager(snapshot_db=location) as manager:
            await manager.execute(chat, "own")
            return names()

    assert FOLLOW not in asyncio.run(main())


def test_a_window_goes_on_where_it_was_a_while_ago() -> None:
    patient, hasty = Window(0, 3600.0), Window(0, 0.0)

    for window in (patient, hasty):
        window.see([("a", 1), ("b", 2)])
        window.advance(2)

    assert (patient.start, patient.knows("a")) == (0, True)
    assert (hasty.start, hasty.knows("a")) == (2, False)


def test_what_a_window_remembers_is_bounded() -> None:
    window = Window(0, 3600.0)

    for place in range(0, 3 * MAX_SEEN, 500):
        window.see((number, number) for number in range(place, place + 500))
        window.advance(place + 499)

    assert 0 < 3 * MAX_SEEN - window.start <= MAX_SEEN + 500
    assert window.knows(3 * MAX_SEEN - 1)
