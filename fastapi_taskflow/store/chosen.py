"""The store that a manager's parameters name: memory, or memory with a database behind it.

The database's side, and SQLAlchemy with it, is imported where one is named, and nowhere else: that
takes longer than all other imports of this package.
"""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from typing import TYPE_CHECKING

from fastapi_taskflow.errors import ConfigurationError, ConfigurationTypeError
from fastapi_taskflow.store.base import TaskStore
from fastapi_taskflow.store.memory import MemoryStore

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

MAX_DAYS = 36_500.0
_DAYS = f"a number of days above 0, {MAX_DAYS:,.0f} at most; or None, which deletes none"


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
        from fastapi_taskflow.store import connections  # noqa: PLC0415  # late, as said above

        self.connections = connections.connections_of(database)

    def __repr__(self) -> str:
        """Where it is, without a password."""
        return f"SqlStore({self.connections.name()!r})"


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


def refuse_options_of_databases(**options: object) -> None:
    """Refuse what was given, unless it is None, where there is no database for it.

    Raises:
        ConfigurationError: There was such an option.
    """
    for name, value in options.items():
        if value is not None:
            expected = "a database for it, by snapshot_db or snapshot_store; or leave it out"
            raise ConfigurationError(name, value, expected)


def with_snapshots(
    memory: MemoryStore,
    behind: SqlStore | None,
    log: logging.Logger,
    retention_days: float | None = None,
) -> TaskStore:
    """The live store, with a database behind it, or alone where there is none.

    Raises:
        ConfigurationError: The days are no such number.
    """
    age = _checked_days(retention_days)
    if behind is None:
        return memory
    from fastapi_taskflow.store import snapshot, sql  # noqa: PLC0415  # late, as said above

    return snapshot.SnapshotStore(memory, sql.Database(behind.connections), log, age)


def _checked_days(days: float | None) -> timedelta | None:
    """What ``retention_days`` means."""
    if days is None:
        return None
    if isinstance(days, bool) or not isinstance(days, (int, float)):
        raise ConfigurationTypeError("retention_days", days, _DAYS)
    if not 0 < days <= MAX_DAYS:  # nor is NaN
        raise ConfigurationError("retention_days", days, _DAYS)
    return timedelta(days=days)
