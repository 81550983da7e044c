"""Which processes live, as their database sees it: each says so in a row, and finds the dead."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, exists, literal, or_, select

from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.store.base import Decide, Fate, Position
from fastapi_taskflow.store.processes import Process, this_process
from fastapi_taskflow.store.record import TaskRecord
from fastapi_taskflow.store.rows import WHOLE, record_of
from fastapi_taskflow.store.schema import LEFT, UNFINISHED, owners, tasks
from fastapi_taskflow.store.sql import Database

DEAD_SECONDS = 15.0
"""Seconds without a beat after which a process counts as dead."""

BLIND_SECONDS = 10.0
"""Seconds between two looks after which what the others did meanwhile is not known."""

CLAIMS = 100
"""Tasks of dead processes that are looked at before the next beat."""


class Lease:
    """This process's row among the owners of tasks.

    A process is dead if its machine is this one and it has ended, or if its row has not
    changed for ``DEAD_SECONDS`` by the clock here: clocks of other machines don't count. Nor
    does time in which this process saw nothing, as it stood still, or the database was gone:
    the others could not beat either.

    Args:
        database: Where the rows are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Be an owner of one's own, with a lock that nobody holds."""
        self._turn = threading.Lock()  # its row is made by one thread, though two beat
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Be another owner, with no row yet."""
        self.owner = str(uuid.uuid4())
        self.is_registered = False
        self._remade = 0
        self._seen: dict[str, tuple[datetime, float]] = {}
        self._last_look = time.monotonic()
        self._looked_up_to: Position | None = None

    def beat(self) -> bool:
        """Say that this process lives.

        Returns:
            Whether its row was there, or this is the first beat, of all or in a new file; if not,
            others have taken it for dead, and its tasks with it.

        Raises:
            SQLAlchemyError: The database can't be written now.
        """
        with self._turn:
            found = self._beat()
            first = not self.is_registered or self._remade != self._database.remade
            self.is_registered, self._remade = True, self._database.remade
        return first or found

    def _beat(self) -> bool:
        """Write this process's row. Returns whether it was there."""
        process, now = this_process(), datetime.now(UTC)
        own = owners.c.owner == self.owner
        with self._database.transaction() as connection:
            found = connection.execute(owners.update().where(own), {"heartbeat_at": now}).rowcount
            if not found:
                row = {"owner": self.owner, "host": process.host, "pid": process.pid}
                times = {"born": process.born, "started_at": now, "heartbeat_at": now}
                connection.execute(owners.insert(), {**row, **times})
        return found > 0

    def ensure(self) -> None:
        """See to it that this process has a row, before its first task in a file does."""
        self._database.open()
        if not self.is_registered or self._remade != self._database.remade:
            self.beat()

    def end(self) -> None:
        """Say that this process has no tasks any more.

        Raises:
            SQLAlchemyError: The database can't be written now.
        """
        with self._turn:
            if not self.is_registered:
                return
            with self._database.transaction() as connection:
                connection.execute(owners.delete().where(owners.c.owner == self.owner))
            self._begin_anew()  # what is left of its tasks is for anyone, this process too

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

        Of many tasks some are looked at, and others the next time.

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
        for owner, beat in dead:
            self._bury(owner, beat)
        with self._database.reading() as connection:
            orphans = self._orphans(connection)
        for record in orphans:
            fate = decide(record)
            if fate is not Fate.LEAVE and self._take(record, fate):
                yield replace(record, owner=self.owner), fate

    def _orphans(self, connection: Connection) -> list[TaskRecord]:
        """Tasks whose owner has no row: those to cancel, and others from where it ended last."""
        others = and_(tasks.c.owner != self.owner, ~_is_alive(tasks.c.owner))
        chosen = select(*WHOLE).where(LEFT, or_(tasks.c.owner.is_(None), others))
        unwanted = tasks.c.cancel_requested
        if self._looked_up_to is not None:
            created_at, task_id = self._looked_up_to
            same = and_(tasks.c.created_at == created_at, tasks.c.task_id > task_id)
            later = or_(tasks.c.created_at > created_at, same)
            chosen = chosen.where(or_(unwanted.is_(True), later))
        first = (unwanted.desc(), tasks.c.created_at, tasks.c.task_id)
        rows = connection.execute(chosen.order_by(*first).limit(CLAIMS)).all()
        last = rows[-1] if len(rows) == CLAIMS else None
        self._looked_up_to = None if last is None else Position(last.created_at, last.task_id)
        return [record_of(row) for row in rows]

    def _bury(self, owner: str, beat: datetime) -> None:
        """Delete a dead process's row, unless it has beaten: its tasks are anyone's then."""
        dead = and_(owners.c.owner == owner, owners.c.heartbeat_at == beat)
        with self._database.transaction() as connection:
            connection.execute(owners.delete().where(dead))

    def _dead(self, connection: Connection) -> Iterator[tuple[str, datetime]]:
        """The processes that are dead, each with its last beat."""
        now, last_look = time.monotonic(), self._last_look
        if now - last_look >= BLIND_SECONDS:
            self._seen.clear()  # others may have beaten, or been as blind: they get their time
        self._last_look = now
        seen, self._seen = self._seen, {}
        for row in connection.execute(select(owners).where(owners.c.owner != self.owner)):
            beat, since = seen.get(row.owner, (None, now))
            if beat != row.heartbeat_at:
                since = now
            self._seen[row.owner] = row.heartbeat_at, since
            ended = Process(row.host, row.pid, row.born).has_ended()
            if ended or now - since >= DEAD_SECONDS:
                yield row.owner, row.heartbeat_at

    def _take(self, record: TaskRecord, fate: Fate) -> bool:
        """Whether this process was the first to take a task over, and its own one still dead."""
        values: dict[str, Any] = {"owner": self.owner}
        if fate is Fate.AGAIN:
            values.update(status=TaskStatus.PENDING.value, end_time=None, duration=None, error=None)
        of = [tasks.c.task_id == record.task_id, tasks.c.status == record.status.value]
        if record.owner is None:
            of.append(tasks.c.owner.is_(None))
        else:
            of += [tasks.c.owner == record.owner, ~_is_alive(literal(record.owner))]
        with self._database.transaction() as connection:
            statement = tasks.update().where(*of).values(values)
            return connection.execute(statement).rowcount == 1


def _is_alive(owner: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether an owner has a row."""
    return exists().where(owners.c.owner == owner)
