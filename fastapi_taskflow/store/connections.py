"""Where a database's connections come from: its URL, or an engine of the user's."""

from __future__ import annotations

import os

from sqlalchemy import URL, Connection, Engine, text
from sqlalchemy.pool import Pool

from fastapi_taskflow.errors import ConfigurationError, ConfigurationTypeError
from fastapi_taskflow.store.dialects import BUSY_TIMEOUT, connect, name_of, parse
from fastapi_taskflow.store.types import MYSQL

_ENGINE = "a sync Engine of PostgreSQL, MySQL or MariaDB; of SQLite the path of its file"
_ANY = "the path of a SQLite file, the URL of a database, or a sync Engine"

_PARENTS: list[Engine | Pool] = []
"""What a forked child has of its parent's: collected as garbage, its connections would end."""


class Connections:
    """They are made by a URL, and closed at the end.

    Args:
        location: The path of a SQLite file, or a URL.

    Raises:
        StoreError: It is another database's URL, or the driver for it is not installed.
    """

    def __init__(self, location: str | URL) -> None:
        self.url = parse(location)

    def engine(self, *, patience: float = BUSY_TIMEOUT) -> Engine:
        """An engine that has them; ``patience`` is how long a locked file may stay locked.

        Raises:
            OSError: The directory of a SQLite file can't be made or written to.
        """
        return connect(self.url, patience=patience)

    def check(self, connection: Connection) -> None:
        """Refuse settings by which values would change: there are none."""

    def close(self, engine: Engine) -> None:
        """Close them all."""
        engine.dispose()

    def leave(self, engine: Engine) -> None:
        """Leave them to the parent process, in a forked child."""
        _PARENTS.append(engine)


class LentConnections(Connections):
    """They are those of an engine of the user's, who keeps it.

    Args:
        engine: The engine.

    Raises:
        ConfigurationError: It is an async engine, or of another database.
    """

    def __init__(self, engine: Engine) -> None:
        if engine.dialect.name not in ("postgresql", *MYSQL) or engine.dialect.is_async:
            raise ConfigurationError("database", engine, _ENGINE)
        self.url = engine.url
        self._lender = engine

    def engine(self, *, patience: float = BUSY_TIMEOUT) -> Engine:
        """The engine, as this library uses it: what the user does with it stays as it is."""
        lent = self._lender.execution_options(isolation_level="READ COMMITTED")
        lent.hide_parameters = True  # errors are logged, what is written is not
        return lent

    def check(self, connection: Connection) -> None:
        """Refuse a session that would change values, or cut them off.

        Raises:
            ValueError: It would.
        """
        if connection.dialect.name not in MYSQL:
            return
        mode, charset = connection.execute(
            text("SELECT @@SESSION.sql_mode, @@SESSION.character_set_client")
        ).one()
        if "STRICT_" not in mode:
            raise ValueError("its engine's sql_mode has to have STRICT_ALL_TABLES")
        if charset != "utf8mb4":
            raise ValueError(f"its engine's charset is {charset}, and has to be utf8mb4")

    def close(self, engine: Engine) -> None:
        """Nothing: they are the user's."""

    def leave(self, engine: Engine) -> None:
        """Have new ones made in this process."""
        _PARENTS.append(engine.pool)
        self._lender.dispose(close=False)


class SqlStore:
    """A database for tasks, their log entries and results: ``TaskManager(snapshot_store=...)``.

    ``snapshot_db=x`` is the same as ``snapshot_store=SqlStore(x)``. An engine brings what a URL
    can't say: certificates, tokens, a pool that is shared. It stays the user's: it is used with
    isolation level "READ COMMITTED", and never disposed of.

    Args:
        database: The path of a SQLite file; the URL of a SQLite, PostgreSQL, MySQL or MariaDB
            database, as text or as an ``sqlalchemy.URL``; or a sync ``sqlalchemy.Engine`` of one
            of the last three.

    Raises:
        ConfigurationError: It is none of these.
        StoreError: It is another database's URL, or the driver for it is not installed.
    """

    def __init__(self, database: str | os.PathLike[str] | URL | Engine) -> None:
        self.connections = _connections(database)

    def __repr__(self) -> str:
        """Where it is, without a password."""
        return f"SqlStore({name_of(self.connections.url)!r})"


def chosen_store(snapshot_db: object, snapshot_store: object) -> SqlStore | None:
    """The database that a manager's parameters name, by whichever of the two; None: neither.

    Raises:
        ConfigurationError: Both are given, or one can't be used.
        StoreError: It is another database's URL, or the driver for it is not installed.
    """
    if snapshot_store is None:
        try:
            return None if snapshot_db is None else SqlStore(snapshot_db)  # type: ignore[arg-type]  # checked there
        except ConfigurationError as error:
            raise error.renamed("snapshot_db") from None
    if not isinstance(snapshot_store, SqlStore):
        raise ConfigurationTypeError("snapshot_store", snapshot_store, "a SqlStore, or None")
    if snapshot_db is not None:
        raise ConfigurationError("snapshot_db", snapshot_db, "None beside snapshot_store")
    return snapshot_store


def _connections(database: object) -> Connections:
    if isinstance(database, Engine):
        return LentConnections(database)
    if isinstance(database, os.PathLike):
        database = os.fsdecode(database)
    if not isinstance(database, (str, URL)) or not str(database).strip():
        raise ConfigurationTypeError("database", database, _ANY)
    return Connections(database)
