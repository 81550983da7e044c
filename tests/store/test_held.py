"""The connection that the writer keeps, and when it takes another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.held import Held

FILE = 0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    connections = Connections(str(path))
    engine = connections.engine()
    _make_table(engine)
    yield engine
    connections.close(engine)


def _make_table(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER)"))


@pytest.fixture
def held(engine: Engine) -> Iterator[Held]:
    held = Held(engine)
    yield held
    held.close()


def _used(held: Held, *, file: int = FILE) -> object:
    """Write, and return the driver's connection by which that was done."""
    with held.transaction(file) as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
        return connection.connection.driver_connection


def _count(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM t")).scalar_one())


def test_what_goes_well_goes_on_with_the_same_connection(engine: Engine, held: Held) -> None:
    first = _used(held)

    assert _used(held) is first
    assert _count(engine) == 2


def test_after_an_error_it_is_another_one(engine: Engine, held: Held) -> None:
    first = _used(held)
    with suppress(ZeroDivisionError), held.transaction(FILE) as connection:
        connection.execute(text("INSERT INTO t VALUES (2)"))
        raise ZeroDivisionError

    assert _used(held) is not first
    assert _count(engine) == 2


def test_another_file_is_written_by_another_one(path: Path, engine: Engine, held: Held) -> None:
    first = _used(held)
    path.unlink()
    _make_table(engine)

    assert _used(held, file=FILE + 1) is not first
    assert _count(engine) == 1


@pytest.mark.parametrize("is_used", [False, True], ids=["kept", "in use"])
def test_once_it_is_closed_none_is_out(engine: Engine, held: Held, is_used: bool) -> None:
    _used(held)
    with held.transaction(FILE) if is_used else nullcontext():
        held.close()

    assert "Current Checked out connections: 0" in engine.pool.status()
