"""A database before its first use: its tables made or brought up to date, and a row written."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from datetime import UTC, datetime

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from fastapi_taskflow.errors import StoreError
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.dialects import (
    UPGRADE_TIMEOUT,
    WRITES,
    alone,
    check_encoding,
    is_locked,
    name_of,
    reason_of,
)
from fastapi_taskflow.store.migrations import migrate, version_of
from fastapi_taskflow.store.schema import SCHEMA_VERSION, owners


def prepared(connections: Connections) -> Engine:
    """An engine for tables of this library's version.

    Raises:
        StoreError: It can't be used, or a newer version of the library made its tables.
    """
    try:
        with ExitStack() as undo:
            engine = connections.engine()
            undo.callback(connections.close, engine)
            with engine.connect() as connection:
                connections.check(connection)
                version = version_of(connection)
            if version is None or version < SCHEMA_VERSION:
                version = _migrated(connections)
            if version == SCHEMA_VERSION:
                _check_writable(connections)
                undo.pop_all()
    except (OSError, TypeError, ValueError, SQLAlchemyError) as error:
        # Drivers raise TypeError and ValueError for options that they don't know.
        raise StoreError(name_of(connections.url), reason_of(error, connections.url)) from error
    if version > SCHEMA_VERSION:
        raise StoreError(
            name_of(connections.url),
            f"its schema has version {version}, this library knows {SCHEMA_VERSION}; "
            "use the newer release of fastapi_taskflow that made it",
        )
    return engine


def _check_writable(connections: Connections) -> None:
    """Write a row, and take it back: who may read need not be who may write.

    Raises:
        SQLAlchemyError: It can't be written, though nobody else writes to it.
    """
    row = {"owner": str(uuid.uuid4()), "host": "", "pid": 0, "born": 0}
    now = datetime.now(UTC)
    with ExitStack() as stack:
        hasty = connections.engine(patience=0.0)
        stack.callback(connections.close, hasty)
        try:  # connecting waits for locks, too
            connection = stack.enter_context(hasty.connect().execution_options(**WRITES))
            connection.execute(owners.insert(), {**row, "started_at": now, "heartbeat_at": now})
            connection.rollback()
        except OperationalError as error:
            if not is_locked(error):
                raise


def _migrated(connections: Connections) -> int:
    with ExitStack() as stack:
        patient = connections.engine(patience=UPGRADE_TIMEOUT)
        stack.callback(connections.close, patient)
        connection = stack.enter_context(patient.connect().execution_options(**WRITES))
        stack.enter_context(connection.begin())
        stack.enter_context(alone(connection))
        check_encoding(connection)
        return migrate(connection)
