"""Databases that can't be used: clear errors, and no password in any of them."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fastapi_taskflow import ConfigurationError, StoreError, TaskManager
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.sql import Database


@pytest.mark.parametrize(
    ("location", "driver"),
    [
        ("postgresql://u:p@host/db", "postgresql+psycopg"),
        ("postgresql+psycopg://u:p@host:5432/db?sslmode=require", "postgresql+psycopg"),
        ("mysql://u:p@host/db", "mysql+pymysql"),
        ("mysql+pymysql://u:p@host/db", "mysql+pymysql"),
        ("mariadb://u:p@host/db", "mariadb+pymysql"),
        ("sqlite+pysqlite:///tasks.db", "sqlite"),
        ("tasks.db", "sqlite"),
    ],
)
def test_a_url_needs_no_driver(location: str, driver: str) -> None:
    assert Database(Connections(location)).url.drivername == driver


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("oracle://u:tiger@host/db", "oracle is not supported; expected a path, sqlite:///path, p"),
        ("postgres://u:tiger@host/db", "postgres is not supported; use postgresql://"),
        ("postgresql+asyncpg://u:tiger@host/db", r"asyncpg is not supported; use postgresql://"),
        ("postgresql+psycopg2://u:tiger@host/db", r"postgresql\+psycopg2 is not supported"),
        ("postgresql+psycopg_async://u:tiger@host/db", "is not supported"),
        ("mysql+aiomysql://u:tiger@host/db", "is not supported; use mysql://"),
        ("sqlite+aiosqlite:///x.db", "is not supported; use sqlite://"),
        ("postgresql//u:tiger@host/db", "no URL, nor a path; expected a path, sqlite:///path, p"),
        ("postgresql:/u:tiger@host/db", "no URL, nor a path"),
        ("PostgreSQL+psycopg:u:tiger@host/db", "no URL, nor a path"),
        ("sqlite:tasks.db", "no URL, nor a path"),
        ("file:tasks.db?mode=ro", "no URL, nor a path"),
        (":memory:", "expected a file; leave snapshot_db out to keep tasks in memory"),
        ("nonsense+psycopg://u:tiger@host/db", "is not supported"),
        ("postgresql://u:tiger@host", "expected the name of a database"),
        ("mysql://u:tiger@host/?charset=latin1", "expected the name of a database"),
        ("postgresql://u:tiger@host:port/db", "it is no URL; expected a path"),
        ("://u:tiger@host/db", "it is no URL"),
        ("postgresql://u:ti@ger@host/db", "is written %40"),
        ("oracle://u@host/db?password=tiger", "is not supported"),
    ],
)
def test_a_url_that_cant_be_used_is_refused_without_its_password(location: str, says: str) -> None:
    with pytest.raises(StoreError, match=says) as caught:
        TaskManager(snapshot_db=location)

    assert "ger" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("location", ["", "   "], ids=["empty", "blank"])
def test_a_location_that_says_nothing_is_refused(location: str) -> None:
    with pytest.raises(ConfigurationError, match="the path of a SQLite file, the URL"):
        TaskManager(snapshot_db=location)


@pytest.mark.parametrize(
    "name", ["tasks.db?x=1", "a:b.db", "postgresql.db", "sqlite/tasks.db", "sqlite"]
)
def test_any_other_text_is_a_path(name: str) -> None:
    assert Connections(name).url.database == str(Path(name).absolute())


@pytest.mark.parametrize(
    ("location", "module", "extra"),
    [
        ("postgresql://u:tiger@host/db", "psycopg", "postgres"),
        ("mysql://u:tiger@host/db", "pymysql", "mysql"),
        ("mariadb://u:tiger@host/db", "pymysql", "mysql"),
    ],
)
def test_a_missing_driver_is_an_error_that_names_its_extra(
    location: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(StoreError) as caught:
        TaskManager(snapshot_db=location)

    assert f'pip install "fastapi-taskflow[{extra}]"' in str(caught.value)
    assert "tiger" not in str(caught.value)


def _refused(location: str) -> str:
    with pytest.raises(StoreError) as caught:
        Database(Connections(location)).open()
    assert "tiger" not in repr((caught.value, caught.value.__cause__))
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda url: url.set(password="tiger"), ("password", "denied")),
        (lambda url: url.set(username="tigger", password="tiger"), ("tigger",)),
        (lambda url: url.set(database="nowhere"), ("nowhere",)),
        (lambda url: url.update_query_dict({"nonsense": "tiger"}), ("nonsense",)),
    ],
    ids=["password", "user", "database", "option"],
)
def test_a_server_that_refuses_is_a_clear_error_at_startup(
    server: Any, change: Callable[[Any], Any], says: tuple[str, ...]
) -> None:
    url = change(Database(Connections(server.emptied_database())).url)

    said = _refused(url.render_as_string(hide_password=False))

    assert said.startswith("the snapshot database '")
    assert any(each in said for each in says)
    assert "expected a database that takes connections" in said


@pytest.mark.parametrize("scheme", ["postgresql", "mysql", "mariadb"])
def test_a_server_that_is_not_there_is_a_clear_error_at_startup(scheme: str) -> None:
    assert "efused" in _refused(f"{scheme}://u:tiger@127.0.0.1:1/db")


def test_a_user_who_may_make_no_tables_is_told(server: Any) -> None:
    url = Database(Connections(server.new_database())).url
    server.execute("DROP USER IF EXISTS guest")
    is_postgres = url.get_backend_name() == "postgresql"
    server.execute(f"CREATE USER guest {'PASSWORD' if is_postgres else 'IDENTIFIED BY'} 'tiger'")
    if not is_postgres:
        server.execute(f"GRANT SELECT ON {url.database}.* TO guest")

    guest = url.set(username="guest", password="tiger")
    said = _refused(guest.render_as_string(hide_password=False))

    assert "denied" in said
    assert "a user who may make tables" in said


def test_a_user_who_may_only_read_is_told_at_startup(server: Any) -> None:
    with closing(Database(Connections(server.emptied_database()))) as database:
        database.open()
    url = database.url
    server.execute("DROP USER IF EXISTS reader")
    if url.get_backend_name() == "postgresql":
        server.execute("CREATE USER reader PASSWORD 'tiger' IN ROLE pg_read_all_data")
    else:
        server.execute("CREATE USER reader IDENTIFIED BY 'tiger'")
        server.execute(f"GRANT SELECT ON {url.database}.* TO reader")

    reader = url.set(username="reader", password="tiger")

    assert "denied" in _refused(reader.render_as_string(hide_password=False))


def test_a_file_that_another_process_writes_to_can_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "tasks.db"
    with closing(Database(Connections(str(path)))) as first:
        first.open()
        with first.transaction(), closing(Database(Connections(str(path)))) as second:
            second.open()


def test_a_database_without_unicode_is_refused(postgresql: Any) -> None:
    options = "TEMPLATE template0 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER libc"

    said = _refused(postgresql.new_database(options))

    assert "its encoding is LATIN1, and has to be UTF8" in said


READ_ONLY = """
import os, sys
from fastapi_taskflow import StoreError
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.sql import Database

other = Database(Connections(sys.argv[2]))
other.open()  # what is imported late is, before another user may not read it
other.close()
if os.geteuid() == 0:  # who may write anywhere
    getattr(os, sys.argv[3])(65534)
try:
    Database(Connections(sys.argv[1])).open()
except StoreError as error:
    print(error)
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("become", ["setuid", "seteuid"])
@pytest.mark.parametrize("kind", ["directory", "file", "directory to be made"])
def test_a_place_that_cant_be_written_is_a_clear_error_at_startup(
    open_folder: Path, tmp_path: Path, run_python: Any, kind: str, become: str
) -> None:
    path = open_folder / ("deep/tasks.db" if kind == "directory to be made" else "tasks.db")
    if kind == "file":
        path.touch(0o444)
        open_folder.chmod(0o777)
    else:
        open_folder.chmod(0o555)

    said = run_python(READ_ONLY, str(path), str(tmp_path / "other.db"), become)

    assert "Permission denied" in said.stdout, said.stderr
    assert "expected a file that can be written" in said.stdout


def test_a_file_whose_log_cant_be_written_is_a_clear_error_at_startup(
    open_folder: Path, tmp_path: Path, run_python: Any
) -> None:
    path = open_folder / "tasks.db"
    with closing(Database(Connections(str(path)))) as database:
        database.open()
        with database.reading() as connection:  # while it is open, there is a log
            connection.exec_driver_sql("SELECT 1")
            open_folder.chmod(0o777)
            path.chmod(0o666)
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).chmod(0o444)

            said = run_python(READ_ONLY, str(path), str(tmp_path / "other.db"), "setuid")

    assert "expected a file that can be written" in said.stdout, said.stderr
