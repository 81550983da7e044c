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

    def name(self) -> str:
        """Where they lead, without a password."""
        return name_of(self.url)

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


def connections_of(database: object) -> Connections:
    """The connections that ``SqlStore(database)`` has.

    Raises:
        ConfigurationError: It is neither a location nor an engine.
        StoreError: It is another database's URL, or the driver for it is not installed.
    """
    if isinstance(database, Engine):
        return LentConnections(database)
    if isinstance(database, os.PathLike):
        database = os.fsdecode(database)
    if not isinstance(database, (str, URL)) or not str(database).strip():
        raise ConfigurationTypeError("database", database, _ANY)
    return Connections(database)
