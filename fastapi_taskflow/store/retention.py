"""Ended tasks deleted from the database once they are old, a few at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import Connection, select
from sqlalchemy.exc import OperationalError

from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.store.keys import retry_key
from fastapi_taskflow.store.periodic import Periodic
from fastapi_taskflow.store.schema import RUNS_AGAIN, entries, keys, tags, tasks
from fastapi_taskflow.store.sql import Database

SWEEP_SECONDS = 3600.0
"""Seconds between two looks for old tasks."""

FAILED_SECONDS = 60.0
"""Seconds after a look that failed."""

BATCH_TASKS = 100
BATCH_ENTRIES = 1000
"""What is deleted in one transaction, so that no task waits long for its turn to be written."""

MAX_TRIES = 5
RETRY_SECONDS = 0.1
"""Seconds before a transaction is tried again that the database refused, so many times."""

PAUSE_SECONDS = 0.05
"""How long others have the database to themselves between two transactions."""


_FINAL = [status.value for status in TaskStatus if status.is_final]


def delete_some(database: Database, before: datetime) -> tuple[list[str], bool]:
    """Delete some of the tasks that ended before a time, with all there is of them.

    Tasks that another process is deleting, and interrupted ones that are to run again, are
    passed over.

    Returns:
        The ids of those that are gone, and whether there may be more to delete.

    Raises:
        SQLAlchemyError: The database can't be written now.
    """
    with database.transaction() as connection:
        found = connection.execute(
            select(tasks.c.task_id, tasks.c.idempotency_key)
            .where(
                tasks.c.created_at < before,  # as there is an index, in this order
                tasks.c.end_time < before,
                tasks.c.status.in_(_FINAL),
                ~RUNS_AGAIN,
            )
            .order_by(tasks.c.created_at)
            .limit(BATCH_TASKS)
            .with_for_update(skip_locked=True)
        ).all()
        ids = [row.task_id for row in found]
        if not ids or not _delete_entries(connection, ids):
            return [], bool(ids)
        used = [row.idempotency_key for row in found if row.idempotency_key is not None]
        used += map(retry_key, ids)
        connection.execute(
            keys.delete().where(keys.c.idempotency_key.in_(used), keys.c.task_id.in_(ids))
        )
        for table in (tags, tasks):
            connection.execute(table.delete().where(table.c.task_id.in_(ids)))
    return ids, len(ids) == BATCH_TASKS


def deletions(
    database: Database, before: datetime, wait: Callable[[float], object]
) -> Iterator[list[str]]:
    """Delete all tasks that ended before a time, a few in each transaction, and others' between.

    Args:
        database: The database.
        before: The time.
        wait: Waits for so many seconds.

    Yields:
        The ids of those that are gone since.

    Raises:
        SQLAlchemyError: The database can't be written now.
    """
    has_more = True
    while has_more:
        gone, has_more = _delete_patiently(database, before, wait)
        yield gone
        if has_more:
            wait(PAUSE_SECONDS)


def _delete_patiently(
    database: Database, before: datetime, wait: Callable[[float], object]
) -> tuple[list[str], bool]:
    """Do what ``delete_some()`` does, again where processes got in each other's way."""
    for _ in range(MAX_TRIES - 1):
        try:
            return delete_some(database, before)
        except OperationalError:  # a deadlock with another process that deletes, say
            wait(RETRY_SECONDS)
    return delete_some(database, before)


def _delete_entries(connection: Connection, ids: list[str]) -> bool:
    """Delete some log entries of tasks. Returns whether these were the last ones."""
    of_tasks = select(entries.c.id).where(entries.c.task_id.in_(ids)).limit(BATCH_ENTRIES)
    numbers = list(connection.scalars(of_tasks))
    connection.execute(entries.delete().where(entries.c.id.in_(numbers)))
    return len(numbers) < BATCH_ENTRIES


class Retention:
    """Deletes what is old at the start and every hour, in a thread of its own.

    Args:
        database: The database.
        age: How old an ended task may be; None deletes none.
        forget: Called with the ids of tasks that are gone.
        log: Where to report that the database can't be used; a logger that never raises.
    """

    def __init__(
        self,
        database: Database,
        age: timedelta | None,
        forget: Callable[[list[str]], None],
        log: logging.Logger,
    ) -> None:
        self._database = database
        self._age = age
        self._forget = forget
        self._log = log
        self._thread = Periodic("fastapi_taskflow-retention")

    def start(self) -> None:
        """Begin, unless it has begun, or nothing is to be deleted."""
        if self._age is not None:
            self._thread.start(partial(self._sweep, self._age), self._failed)

    def stop(self) -> None:
        """End, after the transaction that runs."""
        self._thread.stop()

    def close(self) -> None:
        """End, and wait a little for that."""
        self._thread.close()

    def _sweep(self, age: timedelta, stopped: threading.Event) -> float:
        for gone in deletions(self._database, datetime.now(UTC) - age, stopped.wait):
            self._forget(gone)
            if stopped.is_set():
                break
        return SWEEP_SECONDS

    def _failed(self, error: BaseException) -> float:
        self._log.warning("old tasks can't be deleted now, it is tried again: %s", error)
        return FAILED_SECONDS
