"""Which processes live, as their database sees it: each says so in a row, and finds the dead."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.store.base import Decide, Fate
from fastapi_taskflow.store.processes import Process, this_process
from fastapi_taskflow.store.record import TaskRecord
from fastapi_taskflow.store.rows import WHOLE, record_of
from fastapi_taskflow.store.schema import UNFINISHED, owners, tasks
from fastapi_taskflow.store.sql import Database

DEAD_SECONDS = 15.0
"""Seconds without a beat after which a process counts as dead."""

CLAIMS = 100
"""Tasks of a dead process that are looked at before the next beat."""


class Lease:
    """This process's row among the owners of tasks.

    A process is dead if its machine is this one and it has ended, or if its row has not
    changed for ``DEAD_SECONDS`` by the clock here: clocks of other machines don't count.

    Args:
        database: Where the rows are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Be an owner of one's own, with no row yet."""
        self.owner = str(uuid.uuid4())
        self.is_registered = False
        self._seen: dict[str, tuple[datetime, float]] = {}

    def beat(self) -> bool:
        """Say that this process lives.

        Returns:
            Whether its row was there, or this is the first beat; if not, others have taken it
            for dead, and its tasks with it.

        Raises:
            SQLAlchemyError: The database can't be written now.
        """
        process, now, first = this_process(), datetime.now(UTC), not self.is_registered
        own = owners.c.owner == self.owner
        with self._database.transaction() as connection:
            found = connection.execute(owners.update().where(own), {"heartbeat_at": now}).rowcount
            if not found:
                row = {"owner": self.owner, "host": process.host, "pid": process.pid}
                times = {"born": process.born, "started_at": now, "heartbeat_at": now}
                connection.execute(owners.insert(), {**row, **times})
        self.is_registered = True
        return first or found > 0

    def ensure(self) -> None:
        """See to it that this process has a row, before its first task does."""
        if not self.is_registered:
            self.beat()

    def end(self) -> None:
        """Say that this process has no tasks any more.

        Raises:
            SQLAlchemyError: The database can't be written now.
        """
        if self.is_registered:
            with self._database.transaction() as connection:
                connection.execute(owners.delete().where(owners.c.owner == self.owner))
            self.start_afresh()  # what is left of its tasks is for anyone, this process too

    def unwanted(self) -> list[str]:
        """The ids of this process's tasks that another one wants cancelled.

        Raises:
            SQLAlchemyError: The database can't be read now.
        """
        own = and_(tasks.c.owner == self.owner, UNFINISHED, tasks.c.cancel_requested.is_(True))
        with self._database.reading() as connection:
            return list(connection.scalars(select(tasks.c.task_id).where(own)))

    def claim(self, decide: Decide) -> Iterator[tuple[TaskRecord, Fate]]:
        """Take over tasks of dead processes, each by one process only.

        Args:
            decide: What becomes of a task; one that is left is for another process.

        Returns:
            The records as they were left, with this process as their owner, and their fates.
            One that runs again is pending again.

        Raises:
            SQLAlchemyError: The database can't be read or written now.
        """
        with self._database.reading() as connection:
            dead = list(self._dead(connection))
            orphans = self._orphans(connection, dead)
        for record in orphans:
            fate = decide(record)
            if fate is not Fate.LEAVE and self._take(record, fate):
                yield replace(record, owner=self.owner), fate
        if dead and not orphans:
            self._forget(dead)

    def _orphans(self, connection: Connection, dead: list[str]) -> list[TaskRecord]:
        living = select(owners.c.owner).where(owners.c.owner.not_in(dead))
        others = and_(tasks.c.owner != self.owner, tasks.c.owner.not_in(living))
        chosen = select(*WHOLE).where(_LEFT, or_(tasks.c.owner.is_(None), others))
        first = (tasks.c.cancel_requested.desc(), tasks.c.created_at)
        rows = connection.execute(chosen.order_by(*first).limit(CLAIMS)).all()
        return [record_of(row) for row in rows]

    def _forget(self, dead: list[str]) -> None:
        """Delete the rows of the dead, who have no tasks any more."""
        with self._database.transaction() as connection:
            connection.execute(owners.delete().where(owners.c.owner.in_(dead)))

    def _dead(self, connection: Connection) -> Iterator[str]:
        now = time.monotonic()
        seen, self._seen = self._seen, {}
        for row in connection.execute(select(owners).where(owners.c.owner != self.owner)):
            beat, since = seen.get(row.owner, (None, now))
            if beat != row.heartbeat_at:
                since = now
            self._seen[row.owner] = row.heartbeat_at, since
            ended = Process(row.host, row.pid, row.born).has_ended()
            if ended or now - since >= DEAD_SECONDS:
                yield row.owner

    def _take(self, record: TaskRecord, fate: Fate) -> bool:
        """Whether this process was the first to take a task over."""
        values: dict[str, Any] = {"owner": self.owner}
        if fate is Fate.AGAIN:
            values.update(status=TaskStatus.PENDING.value, end_time=None, duration=None)
        same_owner = tasks.c.owner == record.owner if record.owner else tasks.c.owner.is_(None)
        same = and_(tasks.c.task_id == record.task_id, tasks.c.status == record.status.value)
        with self._database.transaction() as connection:
            statement = tasks.update().where(same, same_owner).values(values)
            return connection.execute(statement).rowcount == 1


_LEFT: ColumnElement[bool] = or_(
    UNFINISHED,
    and_(tasks.c.status == TaskStatus.INTERRUPTED.value, tasks.c.requeue_on_interrupt.is_(True)),
)
"""What a process leaves behind that is not at its end, or is to run again."""
