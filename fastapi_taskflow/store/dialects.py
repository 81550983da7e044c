"""What the databases differ in: their URLs, drivers and settings, and how each keeps order."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    DisconnectionError,
    InternalError,
    OperationalError,
    TimeoutError,
)
from sqlalchemy.pool import ConnectionPoolEntry

from fastapi_taskflow.errors import StoreError
from fastapi_taskflow.store.types import MYSQL

BUSY_TIMEOUT = 5.0
"""Seconds that a statement waits while another process writes to the SQLite file."""

BUSY_PAUSE = 0.01
"""Seconds between two tries where SQLite itself doesn't wait."""

UPGRADE_TIMEOUT = 60.0
"""Seconds to wait for another process that is changing the tables."""

CONNECT_TIMEOUT = 5
"""Seconds that a server may take to accept a connection."""

SILENCE_TIMEOUT = 30
"""Seconds after which a server that is silent is gone: nothing else tells of a cut line."""

_KEEP_ALIVE = {
    "keepalives_idle": SILENCE_TIMEOUT // 3,
    "keepalives_interval": SILENCE_TIMEOUT // 3,
    "keepalives_count": 2,
    "tcp_user_timeout": SILENCE_TIMEOUT * 1000,
}

WRITES = {"taskflow_writes": True}
"""Execution options of a connection whose transactions write."""

_ALWAYS: dict[str, Any] = {"hide_parameters": True}  # errors are logged, what is written is not

DRIVERS = {"sqlite": "pysqlite", "postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}
_MEANT = {"postgres": "postgresql"}
_MISTYPED = re.compile(
    r"(sqlite|postgres|postgresql|mysql|mariadb|oracle|mssql|mongodb|redis|file|https?)(\+\w+)?(:|//)",
    re.IGNORECASE,
)
"""What begins like a URL that is none: taken for a path, it would be a file that nobody wants."""

_EXTRAS = {"psycopg": "postgres", "pymysql": "mysql"}
_URLS = (
    "expected a path, sqlite:///path, postgresql://user:password@host/database, or mysql:// or "
    "mariadb:// likewise (drivers: psycopg, pymysql)"
)


def parse(location: str | URL) -> URL:
    """The URL of a path or URL, with the driver that is used.

    Raises:
        StoreError: It is another dialect or driver, or the driver is not installed.
    """
    if isinstance(location, str) and "://" not in location:
        if _MISTYPED.match(location):
            raise StoreError(_masked(location), f"it is no URL, nor a path; {_URLS}")
        return _sqlite_url(URL.create("sqlite", database=location))
    url = _read(location) if isinstance(location, str) else location
    backend = url.drivername.partition("+")[0]
    backend = _MEANT.get(backend, backend)
    if url.drivername not in (backend, f"{backend}+{DRIVERS.get(backend)}"):
        instead = f"use {backend}://..." if backend in DRIVERS else _URLS
        raise StoreError(name_of(url), f"{url.drivername} is not supported; {instead}")
    if backend not in DRIVERS:
        raise StoreError(name_of(url), f"{backend} is not supported; {_URLS}")
    return _sqlite_url(url) if backend == "sqlite" else _server_url(url, backend)


def name_of(url: URL) -> str:
    """Where a database is, without a password."""
    return url.set(query={}).render_as_string(hide_password=True)  # a query may have one, too


def file_of(url: URL) -> tuple[int, int] | None:
    """What tells a SQLite file from another one that takes its place; None where there is none."""
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    try:
        found = os.stat(url.database)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def connect(url: URL, *, patience: float = BUSY_TIMEOUT) -> Engine:
    """An engine for a parsed URL. Of its connections some stay open, few are ever made.

    Raises:
        OSError: The directory of a SQLite file can't be made or written to.
    """
    if url.get_backend_name() == "sqlite":
        _check_writable(Path(url.database or ""))
        is_given = "timeout" in url.query and patience == BUSY_TIMEOUT
        waiting = {} if is_given else {"timeout": patience}
        engine = create_engine(url, connect_args=waiting, **_ALWAYS)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        event.listen(engine, "connect", partial(_note_file, url))
        event.listen(engine, "checkout", partial(_refuse_other_file, url))
        return engine
    options = {**_ALWAYS, "pool_size": 2, "max_overflow": 8, "pool_pre_ping": True}
    settings: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT}
    if url.get_backend_name() in MYSQL:
        settings |= {"charset": "utf8mb4", "sql_mode": "STRICT_ALL_TABLES"}
        if patience == BUSY_TIMEOUT:  # a change of tables takes what it takes
            settings |= {"read_timeout": SILENCE_TIMEOUT, "write_timeout": SILENCE_TIMEOUT}
    else:
        options["use_native_hstore"] = False  # else each connection asks for it
        settings |= _KEEP_ALIVE
    settings = {name: value for name, value in settings.items() if name not in url.query}
    return create_engine(url, isolation_level="READ COMMITTED", connect_args=settings, **options)


@contextmanager
def alone(connection: Connection) -> Iterator[None]:
    """Keep other processes from changing the tables meanwhile; within a transaction that writes.

    Raises:
        OSError: Another process took too long.
        SQLAlchemyError: So it did, or the database can't be used.
    """
    backend = connection.dialect.name
    seconds = int(UPGRADE_TIMEOUT)
    if backend == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = '{seconds}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('fastapi_taskflow'))"))
    if backend not in MYSQL:  # the transaction is the lock, or has it
        yield
        return
    name = "CONCAT('taskflow.', MD5(DATABASE()))"
    if not connection.scalar(text(f"SELECT GET_LOCK({name}, {seconds})")):
        raise OSError(errno.ETIMEDOUT, "another process is changing the tables")
    try:
        yield
    finally:
        connection.execute(text(f"SELECT RELEASE_LOCK({name})"))


def check_encoding(connection: Connection) -> None:
    """Refuse a database that has no form for every character.

    Raises:
        ValueError: It has none.
    """
    if connection.dialect.name == "postgresql":
        encoding = connection.scalar(text("SHOW server_encoding"))
        if encoding != "UTF8":
            raise ValueError(f"its encoding is {encoding}, and has to be UTF8")


def reason_of(error: Exception, url: URL) -> str:
    """What went wrong, in the driver's words, and what to do."""
    what = str(getattr(error, "orig", None) or error).strip()
    if url.get_backend_name() == "sqlite":
        return f"{what}; expected a file that can be written"
    return f"{what}; expected a database that takes connections, and a user who may make tables"


def may_pass(error: Exception) -> bool:
    """Whether the same write may work later: the database is locked, full, read-only or gone."""
    if isinstance(error, DBAPIError):
        # PostgreSQL's refusal to write, as a standby or read-only, is an InternalError.
        return error.connection_invalidated or isinstance(error, (OperationalError, InternalError))
    return isinstance(error, (OSError, TimeoutError))  # no file; no connection is free


def was_cut_off(error: Exception) -> bool:
    """Whether the connection has ended: the database is gone, or what was written ends it."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _sqlite_url(url: URL) -> URL:
    if not url.database or url.database == ":memory:":
        expected = "expected a file; leave snapshot_db out to keep tasks in memory"
        raise StoreError(name_of(url), expected)
    return url.set(drivername="sqlite", database=os.path.abspath(url.database))


def _server_url(url: URL, backend: str) -> URL:
    driver = DRIVERS[backend]
    url = url.set(drivername=f"{backend}+{driver}")
    if not url.database:
        raise StoreError(name_of(url), "expected the name of a database at the end of the URL")
    try:
        url.get_dialect().import_dbapi()
    except ImportError as error:
        raise StoreError(
            name_of(url),
            f"its driver {driver} can't be imported ({error}); "
            f'try: pip install "fastapi-taskflow[{_EXTRAS[driver]}]"',
        ) from error
    return url


def _read(location: str) -> URL:
    try:
        url = make_url(location)
    except (ArgumentError, ValueError):  # ValueError: the port is no number
        raise StoreError(_masked(location), f"it is no URL; {_URLS}") from None  # has the password
    if "@" in (url.host or ""):
        raise StoreError(_masked(location), "an @ in a user's name or password is written %40")
    return url


def _masked(location: str) -> str:
    """A location that is no URL, without what may be a password."""
    return re.sub(r"(:/*|//).*@", r"\1***@", location.partition("?")[0], flags=re.DOTALL)


def is_locked(error: OperationalError) -> bool:
    """Whether another process is writing to the SQLite file just now."""
    return _is_busy(error.orig)


def _is_busy(error: BaseException | None) -> bool:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return bool(code & 0xFF == sqlite3.SQLITE_BUSY)  # what is above are the finer distinctions


_EFFECTIVE = os.access in os.supports_effective_ids


def _check_writable(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    for place in (path.parent, path):  # the log of changes lies beside the file
        if place.exists() and not os.access(place, os.W_OK, effective_ids=_EFFECTIVE):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))


def _set_up_sqlite(connection: Any, _record: object) -> None:
    """Let readers and the writer go on beside each other.

    With NORMAL, a commit survives a killed process, as it is in the kernel by then. A power cut
    may take the last ones back; FULL would have every batch wait for the disk.
    """
    connection.isolation_level = None  # sqlite3 itself begins no transaction: see _begin_sqlite
    _keep_log_of_changes(connection)
    connection.execute("PRAGMA synchronous=NORMAL")


def _keep_log_of_changes(connection: sqlite3.Connection) -> None:
    """Have WAL mode, for which SQLite doesn't wait while another process writes: so wait here."""
    (patience,) = connection.execute("PRAGMA busy_timeout").fetchone()
    deadline = time.monotonic() + patience / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() >= deadline:
                raise
            time.sleep(BUSY_PAUSE)
        else:
            return


def _note_file(url: URL, _connection: object, record: ConnectionPoolEntry) -> None:
    record.info["file"] = file_of(url)


def _refuse_other_file(
    url: URL, _connection: object, record: ConnectionPoolEntry, _proxy: object
) -> None:
    """Have a connection to a file that was deleted or replaced closed, and another one made."""
    if record.info["file"] != file_of(url):
        raise DisconnectionError


def _begin_sqlite(connection: Connection) -> None:
    """Writers queue up at once: one that has read first is refused where another has written."""
    writes = connection.get_execution_options().get("taskflow_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
