"""Whether a manager's keys open what its database has is known when it starts."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from fastapi_taskflow import ConfigurationError, ManagedBackgroundTasks, TaskManager

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


def pay(card: str) -> str:
    return f"receipt for {card}"


def manager_of(path: Path, key: Any, *, persist: bool = True) -> TaskManager:
    manager = TaskManager(snapshot_db=path, encrypt_args_key=key)
    manager.task(persist=persist)(pay)
    return manager


def leave_one(path: Path, key: Any) -> str:
    """Have a task that waits to run in another process."""

    async def main() -> str:
        async with manager_of(path, key) as manager:
            return await ManagedBackgroundTasks(manager.engine).enqueue(pay, "4111")

    return asyncio.run(main())


def end_one(path: Path, key: Any) -> None:
    """Have a task that has ended."""
    manager = manager_of(path, key)
    manager.run(pay, "4111")
    asyncio.run(manager.shutdown())


async def started(manager: TaskManager) -> None:
    async with manager:
        pass


@pytest.mark.parametrize("key", [None, NEW], ids=["none", "another"])
def test_what_is_to_run_and_no_key_opens_is_an_error(path: Path, key: str | None) -> None:
    task_id = leave_one(path, OLD)

    wrong = rf"encrypt_args_key=.*does not open pay \[{task_id}\].*give that key too, after"
    with pytest.raises(ConfigurationError, match=wrong) as caught:
        asyncio.run(started(manager_of(path, key)))

    assert NEW not in str(caught.value)


def test_a_key_that_opens_nothing_is_an_error_though_all_tasks_have_ended(path: Path) -> None:
    end_one(path, OLD)

    with pytest.raises(ConfigurationError, match=re.escape("any of the newest ones")):
        asyncio.run(started(manager_of(path, NEW)))


@pytest.mark.parametrize("leave", [leave_one, end_one])
def test_the_old_key_behind_the_new_one_is_enough(path: Path, leave: Any) -> None:
    leave(path, OLD)

    asyncio.run(started(manager_of(path, [NEW, OLD])))


def test_without_a_key_ended_tasks_may_be_encrypted(path: Path) -> None:
    end_one(path, OLD)

    asyncio.run(started(manager_of(path, None)))


def test_what_will_not_run_again_needs_no_key(path: Path) -> None:
    leave_one(path, OLD)

    asyncio.run(started(manager_of(path, None, persist=False)))


def test_another_apps_tasks_need_its_key_only(path: Path) -> None:
    leave_one(path, OLD)
    end_one(path, OLD)

    asyncio.run(started(TaskManager(snapshot_db=path, encrypt_args_key=NEW)))


def test_a_lost_key_is_given_up_by_deleting_what_it_has_encrypted(path: Path) -> None:
    leave_one(path, OLD)
    end_one(path, OLD)

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for column in ("args", "result"):
            nothing = f"UPDATE taskflow_tasks SET {column} = NULL WHERE {column} LIKE 'fernet:%'"
            connection.execute(nothing)

    asyncio.run(started(manager_of(path, NEW)))
