"""``SqlStore``: a database by its path, its URL, or an engine that the app has."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.ext.asyncio import create_async_engine

from fastapi_taskflow import ConfigurationError, SqlStore, StoreError, TaskManager, task_log
from fastapi_taskflow.store.dialects import parse


@pytest.fixture
def engine(server: Any) -> Iterator[Engine]:
    engine = create_engine(parse(server.emptied_database()))
    yield engine
    engine.dispose()


def work() -> str:
    task_log("at work")
    return "done"


def test_a_lent_engine_is_used_and_stays_the_users(engine: Engine) -> None:
    manager = TaskManager(snapshot_store=SqlStore(engine))
    pool = engine.pool
    record = manager.run(work)
    asyncio.run(manager.shutdown())

    again = TaskManager(snapshot_store=SqlStore(engine))
    found = again.get_task(record.task_id)
    asyncio.run(again.shutdown())

    assert (found.status, [line[21:] for line in found.logs]) == ("success", ["at work"])
    assert engine.pool is pool
    with engine.connect() as connection:
        assert connection.get_isolation_level() == connection.default_isolation_level
        assert connection.scalar(text("SELECT 1")) == 1


def test_settings_that_would_cut_values_off_are_an_error(mariadb: Any) -> None:
    engine = create_engine(parse(mariadb.emptied_database()))
    event.listen(engine, "connect", lambda raw, _: raw.cursor().execute("SET sql_mode = ''"))

    with pytest.raises(StoreError, match="STRICT_ALL_TABLES"):
        asyncio.run(TaskManager(snapshot_store=SqlStore(engine)).startup())
    engine.dispose()


@pytest.mark.parametrize(
    "engine",
    [create_engine("sqlite://"), create_async_engine("postgresql+psycopg://localhost/x"), 7, ""],
    ids=["sqlite", "async", "number", "empty"],
)
def test_what_is_no_database_is_an_error_that_says_what_is(engine: Any) -> None:
    with pytest.raises(ConfigurationError, match="sync Engine"):
        SqlStore(engine)


def test_the_two_parameters_are_one(tmp_path: Path) -> None:
    path = tmp_path / "tasks.db"
    record = TaskManager(snapshot_db=path).run(work)

    for same in (SqlStore(path), SqlStore(f"sqlite:///{path}"), SqlStore(parse(os.fspath(path)))):
        assert TaskManager(snapshot_store=same).get_task(record.task_id).result == "done"
    with pytest.raises(ConfigurationError, match="None beside snapshot_store"):
        TaskManager(snapshot_db=path, snapshot_store=SqlStore(path))
    with pytest.raises(ConfigurationError, match="a SqlStore, or None"):
        TaskManager(snapshot_store=path)  # type: ignore[arg-type]
