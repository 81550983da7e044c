"""Retries, deletions and the trail of what people did, by the manager's methods."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fastapi_taskflow import (
    ConfigurationError,
    InMemoryLogger,
    ManagedBackgroundTasks,
    ShuttingDownError,
    TaskManager,
    TaskNotFoundError,
    TaskRecord,
    TaskStatus,
    task_log,
)
from fastapi_taskflow.control import RETRIED_BEFORE
from fastapi_taskflow.errors import NotRetriableError

PATIENCE = 20.0
KEY = "b2xkLWtleS1vbGQta2V5LW9sZC1rZXktb2xkLWtleS0="


class App:
    """A manager, as one process has it, and its functions."""

    def __init__(self, database: Path | None, **options: Any) -> None:
        self.memory = InMemoryLogger()
        self.manager = TaskManager(loggers=[self.memory], snapshot_db=database, **options)
        self.calls: list[Any] = []
        self.fails = True
        self.may_end = threading.Event()
        self.may_end.set()

        @self.manager.task()
        def send(to: str, at: timedelta, *, copies: int = 1) -> None:
            self.calls.append((to, at, copies))
            if self.fails:
                raise ValueError("boom")

        @self.manager.task()
        def other() -> None:
            self.may_end.wait(PATIENCE)
            raise ValueError("boom")

        self.send, self.other = send, other

    async def ended(self, task_id: str) -> TaskRecord:
        async with asyncio.timeout(PATIENCE):
            while not (record := self.manager.get_task(task_id)).status.is_final:  # noqa: ASYNC110  # a state
                await asyncio.sleep(0.001)
        return record

    def run(self, main: Callable[[], Awaitable[Any]]) -> Any:
        async def within() -> Any:
            async with self.manager:
                return await main()

        return asyncio.run(within())


Make = Callable[..., App]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    database = tmp_path / "tasks.db" if request.param == "sqlite" else None
    return lambda **options: App(database, **options)


@pytest.fixture
def make_durable(tmp_path: Path) -> Make:
    return lambda **options: App(tmp_path / "tasks.db", **options)


def test_a_retry_is_a_new_task_with_the_same_call_and_tags(make: Make) -> None:
    app = make()
    minute = timedelta(minutes=1)

    async def main() -> Any:
        first = await app.manager.execute(
            app.send, "ann", minute, copies=2, tags={"kind": "mail"}, idempotency_key="key"
        )
        app.fails = False
        new = await app.manager.retry(first.task_id)
        return app.manager.get_task(first.task_id), new, await app.ended(new.task_id)

    first, new, ended = app.run(main)

    assert new.task_id == ended.task_id != first.task_id
    assert (first.status, ended.status) == (TaskStatus.FAILED, TaskStatus.SUCCESS)
    assert (ended.func_name, ended.tags, ended.idempotency_key) == ("send", {"kind": "mail"}, None)
    assert app.calls == [("ann", minute, 2)] * 2
    told = [(e.task_id, e.status.value) for e in app.memory.lifecycle_events]
    assert told[2:] == [(new.task_id, "running"), (new.task_id, "success")]


def test_after_a_restart_the_stored_call_is_made_again(make_durable: Make) -> None:
    first = make_durable()
    call = ("ann", timedelta(minutes=1), 2)
    task_id = first.run(lambda: first.manager.execute(first.send, *call[:2], copies=2)).task_id
    second = make_durable()

    async def main() -> Any:
        return await second.ended((await second.manager.retry(task_id)).task_id)

    assert second.run(main).status is TaskStatus.FAILED
    assert second.calls == [call]


def test_every_retry_by_id_is_one(make: Make) -> None:
    app = make()

    async def main() -> Any:
        task_id = (await app.manager.execute(app.other)).task_id
        return {task_id, *[(await app.manager.retry(task_id)).task_id for _ in range(3)]}

    assert len(app.run(main)) == 4


def test_without_a_lifespan_it_runs_on_the_callers_loop() -> None:
    app = App(None)

    async def main() -> Any:
        task_id = (await app.manager.execute(app.other)).task_id
        return await app.ended((await app.manager.retry(task_id)).task_id)

    assert asyncio.run(main()).status is TaskStatus.FAILED


async def _pending(app: App) -> str:
    return ManagedBackgroundTasks(app.manager.engine).add_task(app.other)


async def _unregistered(app: App) -> str:
    return (await app.manager.execute(task_log, "x")).task_id


async def _unknown(app: App) -> str:
    return "nobody"


REFUSALS = {
    "pending": (_pending, "it has not ended: it is pending"),
    "unregistered": (_unregistered, "no function is registered here as 'task_log'"),
    "unknown": (_unknown, "no task with id 'nobody'"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cant_be_retried_is_refused_or_skipped(make: Make, case: str) -> None:
    app = make()
    begin, reason = REFUSALS[case]

    async def main() -> Any:
        task_id = await begin(app)
        with pytest.raises((NotRetriableError, TaskNotFoundError), match=reason):
            await app.manager.retry(task_id)
        done = await app.manager.retry_many([task_id])
        assert done.retried == {}
        assert reason in done.skipped[task_id]

    app.run(main)


def test_arguments_that_no_key_opens_or_that_are_gone_are_refused(make_durable: Make) -> None:
    first = make_durable(encrypt_args_key=KEY)
    sealed = first.run(lambda: first.manager.execute(first.other)).task_id
    second = make_durable()
    gone = second.run(lambda: second.manager.execute(second.other)).task_id
    database = second.manager.store._database.url.database  # type: ignore[attr-defined]  # noqa: SLF001  # where it is
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("UPDATE taskflow_tasks SET args = NULL WHERE task_id = ?", (gone,))
    third = make_durable()

    async def main() -> None:
        with pytest.raises(NotRetriableError, match="can't be decrypted"):
            await third.manager.retry(sealed)
        with pytest.raises(NotRetriableError, match="its arguments are not stored"):
            await third.manager.retry(gone)

    third.run(main)


def test_all_failed_ones_are_retried_once(make: Make) -> None:
    app = make()

    async def main() -> Any:
        failed = [(await app.manager.execute(app.other)).task_id for _ in range(3)]
        await app.manager.execute(app.send, "ann", timedelta())
        app.may_end.clear()  # a retry that has failed may be retried in its turn
        calls = [app.manager.retry_failed(since=None, func_name="other") for _ in range(4)]
        several = await asyncio.gather(*calls)
        app.may_end.set()
        retried = [old for done in several for old in done.retried]
        assert sorted(retried) == sorted(failed)
        for done in several:
            assert set(done.skipped.values()) <= {RETRIED_BEFORE}
            for new in done.retried.values():
                await app.ended(new)
        again = await app.manager.retry_failed(since=timedelta(hours=1), func_name="other")
        return failed, {new for done in several for new in done.retried.values()}, again

    failed, new, again = app.run(main)

    assert set(again.retried) == new  # not those they have taken the place of
    assert again.skipped == dict.fromkeys(failed, RETRIED_BEFORE)


def test_only_what_failed_in_the_window_is_retried(make: Make) -> None:
    app = make()

    async def main() -> Any:
        await app.manager.execute(app.other)
        none = await app.manager.retry_failed(since=0)
        every = await app.manager.retry_failed(since=10**12)
        return none, every

    none, every = app.run(main)

    assert none.retried == none.skipped == {}
    assert len(every.retried) == 1


def test_what_succeeded_or_was_cancelled_is_not_retried_with_the_failed(make: Make) -> None:
    app = make()
    app.fails = False

    async def main() -> Any:
        await app.manager.execute(app.send, "ann", timedelta())
        await app.manager.cancel(await _pending(app))
        return await app.manager.retry_failed(since=None)

    assert app.run(main).retried == {}


def test_what_was_retried_by_id_is_not_retried_with_the_others(make: Make) -> None:
    app = make()

    async def main() -> Any:
        first, second = [(await app.manager.execute(app.other)).task_id for _ in range(2)]
        await app.ended((await app.manager.retry(first)).task_id)
        return first, second, await app.manager.retry_many([first, second, second])

    first, second, done = app.run(main)

    assert list(done.retried) == [second]
    assert done.skipped == {first: RETRIED_BEFORE}


def test_what_is_named_often_is_retried_once(make: Make) -> None:
    app = make()

    async def main() -> Any:
        task_id = (await app.manager.execute(app.other)).task_id
        return task_id, await app.manager.retry_many([task_id] * 250)

    task_id, done = app.run(main)

    assert (list(done.retried), done.skipped) == ([task_id], {})


def test_a_retry_that_a_shutdown_refuses_leaves_the_task_to_be_retried(make: Make) -> None:
    app = make()

    async def main() -> Any:
        task_id = (await app.manager.execute(app.other)).task_id
        app.manager.engine._accepting = False  # noqa: SLF001  # as at the beginning of a shutdown
        for call in (app.manager.retry(task_id), app.manager.retry_many([task_id])):
            with pytest.raises(ShuttingDownError):
                await call
        app.manager.engine._accepting = True  # noqa: SLF001
        return await app.manager.retry_many([task_id])

    assert len(app.run(main).retried) == 1


class _StoppedError(BaseException):
    """What ends a call half way: Ctrl-C, say."""


class _Stopping:
    """An argument that stops whoever makes it ready for a worker process."""

    is_on = False

    def __reduce__(self) -> Any:
        if self.is_on:
            raise _StoppedError
        return _Stopping, ()


def test_retries_that_are_stopped_half_way_leave_the_rest_to_be_retried() -> None:
    app = App(None)
    stopping = _Stopping()
    app.manager.task(executor="process", name="stops")(repr)

    async def main() -> Any:
        stopped = await app.manager.execute(repr, stopping)
        records = [await app.manager.execute(app.other) for _ in range(2)]
        stopping.is_on = True
        ids = [records[0].task_id, stopped.task_id, records[1].task_id]
        with pytest.raises(_StoppedError):
            await app.manager.retry_many(ids)
        return ids, await app.manager.retry_many([ids[0], ids[2]])

    ids, done = app.run(main)

    assert done.skipped == {ids[0]: RETRIED_BEFORE}
    assert list(done.retried) == [ids[2]]


def test_a_task_that_fits_its_function_no_more_is_left_to_be_retried(make_durable: Make) -> None:
    first = make_durable()
    task_id = first.run(lambda: first.manager.execute(first.send, "ann", timedelta())).task_id
    second = make_durable()

    def send(address: str) -> None:
        raise AssertionError(address)

    second.manager.task()(send)
    done = second.run(lambda: second.manager.retry_many([task_id]))

    assert "no parameter 'to' any more" in done.skipped[task_id]
    third = make_durable()
    assert list(third.run(lambda: third.manager.retry_many([task_id])).retried) == [task_id]


def test_old_tasks_are_deleted(make: Make) -> None:
    app = make()

    async def main() -> Any:
        task_id = (await app.manager.execute(app.other)).task_id
        waiting = await _pending(app)
        kept = await app.manager.delete_history(older_than=timedelta(days=1))
        ancient = await app.manager.delete_history(older_than=10**12)
        gone = await app.manager.delete_history(older_than=0)
        with pytest.raises(TaskNotFoundError):
            app.manager.get_task(task_id)
        assert app.manager.get_task(waiting).status is TaskStatus.PENDING
        return kept, ancient, gone

    assert app.run(main) == (0, 0, 1)


def test_every_action_is_noted(make: Make) -> None:
    app = make(redact=["password"])

    async def main() -> Any:
        failed = (await app.manager.execute(app.other)).task_id
        waiting = await _pending(app)
        await app.manager.cancel(waiting, reason="password=hunter2")
        new = await app.manager.retry(failed)
        await app.ended(new.task_id)
        bulk = await app.manager.retry_many([failed])
        several = await app.manager.retry_failed(since=3600, func_name="other")
        await app.ended(several.retried[new.task_id])
        deleted = await app.manager.delete_history(older_than=0)
        return failed, waiting, new.task_id, bulk, several, deleted

    failed, waiting, new, bulk, several, deleted = app.run(main)

    entries = app.manager.audit()
    assert [(entry.action, entry.task_id) for entry in entries] == [
        ("delete-history", None),
        ("retry-failed", None),
        ("bulk-retry", None),
        ("retry", failed),
        ("cancel", waiting),
    ]
    details = [entry.detail for entry in entries]
    assert details[0]["deleted"] == deleted == 4
    assert "before" in details[0]
    assert {name: details[1][name] for name in ("func_name", "retried", "skipped", "new")} == {
        "func_name": "other",
        "retried": 1,
        "skipped": 1,
        "new": several.retried,
    }
    assert details[1]["since"] is not None
    assert (details[2]["retried"], details[2]["skipped"]) == (0, len(bulk.skipped))
    assert details[3] == {"new": new}
    assert details[4]["status"] == "cancelled"
    assert "hunter2" not in str(entries)
    assert [e.task_id for e in app.manager.audit(limit=1, before=entries[2].number)] == [failed]
    asyncio.run(app.manager.shutdown())


def test_what_cant_be_noted_is_done_all_the_same_and_reported(
    make_durable: Make, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_durable()

    async def main() -> Any:
        task_id = await _pending(app)
        await app.manager.store.flush_async(PATIENCE)
        database = app.manager.store._database.url.database  # type: ignore[attr-defined]  # noqa: SLF001  # where it is
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("DROP TABLE taskflow_audit")
        return await app.manager.cancel(task_id)

    with caplog.at_level(logging.ERROR, "fastapi_taskflow.store"):
        record = app.run(main)

    assert record.status is TaskStatus.CANCELLED
    assert "is not in the audit trail" in caplog.text


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda manager: manager.retry_failed(since=-1), "since=-1"),
        (lambda manager: manager.retry_failed(since="6h"), "since='6h'"),
        (lambda manager: manager.delete_history(older_than=None), "older_than=None"),
    ],
    ids=["negative", "text", "none"],
)
def test_a_time_that_is_none_is_refused(
    make: Make, ask: Callable[[TaskManager], Awaitable[Any]], says: str
) -> None:
    app = make()

    async def main() -> None:
        with pytest.raises(ConfigurationError, match=says):
            await ask(app.manager)

    app.run(main)


@pytest.mark.parametrize(
    "asked", [{"limit": -1}, {"limit": 0}, {"before": "x"}, {"before": 0}], ids=str
)
def test_a_part_of_the_trail_that_cant_be_is_refused(asked: Any) -> None:
    name = next(iter(asked))
    with pytest.raises(ConfigurationError, match=f"{name}=.*a whole number of 1 or more"):
        TaskManager().audit(**asked)


@pytest.mark.parametrize("ids", ["abc", b"abc", None])
def test_ids_that_are_no_list_are_refused(ids: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"task_ids=.*a list of ids"):
        asyncio.run(TaskManager().retry_many(ids))
