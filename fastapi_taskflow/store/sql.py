"""The database: what is written to it and read from it, through SQLAlchemy Core."""

from __future__ import annotations

import errno
import threading
import uuid
import weakref
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Select,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
)
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from fastapi_taskflow.errors import StoreError
from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.fork import ForkGate, restart_after_fork
from fastapi_taskflow.store.base import Query, Samples, Totals
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.dialects import (
    UPGRADE_TIMEOUT,
    WRITES,
    alone,
    check_encoding,
    file_of,
    is_locked,
    may_pass,
    name_of,
    reason_of,
)
from fastapi_taskflow.store.doubt import Doubt, Logged
from fastapi_taskflow.store.keys import take_keys
from fastapi_taskflow.store.matching import fold
from fastapi_taskflow.store.memory import TIMED
from fastapi_taskflow.store.migrations import migrate, version_of
from fastapi_taskflow.store.record import LogEntry, TaskRecord
from fastapi_taskflow.store.rows import (
    DETAIL,
    ENTRY,
    FULL,
    RECORD,
    WHOLE,
    change_row,
    entry_of,
    entry_row,
    record_of,
    tag_rows,
    task_row,
)
from fastapi_taskflow.store.schema import (
    LEFT,
    SCHEMA_VERSION,
    UNFINISHED,
    entries,
    owners,
    tags,
    tasks,
    versions,
)

SAMPLE = 20
"""How many rows are looked at to see whether they can be read."""


class Database:
    """Task records and their log entries in a database. Any thread may read; one writes.

    Args:
        connections: Where its connections come from.

    Attributes:
        remade: How often a SQLite file was made anew, as it was gone.
    """

    def __init__(self, connections: Connections) -> None:
        self.url = connections.url
        self._connections = connections
        self._engine: Engine | None = None
        self._gate = _gate_of(self.url)
        self._file: tuple[int, int] | None = None
        self._is_lost = False
        self.remade = 0
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Have no connections: the parent's are its own, and closing them would end them there."""
        self._opening = threading.Lock()
        self._doubt = Doubt()
        if self._engine is not None:
            self._closing.detach()
            self._connections.leave(self._engine)
            self._engine = None

    @property
    def name(self) -> str:
        """Where it is, without a password."""
        return name_of(self.url)

    def open(self) -> None:
        """Connect, and make the tables, or bring them up to date, if need be.

        Raises:
            StoreError: It can't be used, or a newer version of the library made its tables.
        """
        with self._opening:
            if self._engine is None:
                self._engine = self._prepared()
                self._closing = weakref.finalize(self, self._connections.close, self._engine)
                self._closing.atexit = False  # at exit, the manager closes
            elif self._is_lost:
                self._connections.close(self._prepared())
                self.remade += 1
            else:
                return
            self._file, self._is_lost = file_of(self.url), False

    def close(self) -> None:
        """Close all connections; idempotent."""
        if self._engine is not None:
            self._closing()  # once, and no longer kept for it
            self._engine = None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that writes: committed at the end, rolled back by an exception.

        Raises:
            SQLAlchemyError: It could not be written now.
        """
        with self._gate, self._connected().connect() as connection:
            connection.execution_options(**WRITES)
            with connection.begin():
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read by."""
        with self._gate, self._connected().connect() as connection:
            yield connection

    def write(
        self,
        added: Collection[TaskRecord],
        changed: Collection[TaskRecord],
        logged: Collection[Logged],
    ) -> dict[str, str]:
        """Write all of it in one transaction, or nothing.

        What is given again, after an error for which ``may_pass`` holds, is there once. A
        changed record that another process has claimed since stays as that one has it.

        Returns:
            Which of the added records have no row, as their idempotency key is in use: the id
            of the task that has it, by their id.

        Raises:
            SQLAlchemyError: It could not be written now.
        """
        doubt = self._doubt
        self._check_file()
        self.open()
        file = self.remade
        try:
            with self.transaction() as connection:
                doubt.resolve(connection)
                new = [record for record in added if not doubt.is_added(record)]
                taken = take_keys(connection, new)
                new = [record for record in new if record.task_id not in taken]
                old = [record for record in added if doubt.is_added(record)]
                late = [item for item in logged if not doubt.is_logged(item[1])]
                doubt.sending(new, late)
                _write(connection, new, [*old, *changed], late)
            self._check_file()
            if self.remade != file:  # another thread has noticed
                raise _lost()
        except Exception as error:
            if not may_pass(error):
                doubt.refused()
            raise
        doubt.written(added, logged)
        return taken

    def probe(self) -> None:
        """Write, but nothing new.

        Raises:
            SQLAlchemyError: The database takes nothing now.
        """
        with self.transaction() as connection:
            connection.execute(versions.update().values(version=versions.c.version))

    def request_cancel(self, task_id: str) -> None:
        """Note that a task, unless it has ended, is to be cancelled by the process that has it.

        Raises:
            StoreError: It could not be written now.
        """
        asked = tasks.update().where(tasks.c.task_id == task_id, UNFINISHED)
        with self.asking(), self.transaction() as connection:
            connection.execute(asked.values(cancel_requested=True))

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Within the block, what the database can't do now is a ``StoreError``."""
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(self.name, reason_of(error, self.url)) from error

    def _check_file(self) -> None:
        """Notice a SQLite file that is gone: SQLite goes on writing where nobody reads it.

        Raises:
            OSError: It is gone; said once. The next time another file is made, or used.
        """
        with self._opening:
            if self._engine is None or self._is_lost or self._file is None:
                return
            self._is_lost = file_of(self.url) != self._file
            if self._is_lost:
                raise _lost()

    def get(self, task_id: str) -> TaskRecord | None:
        """A record without its logs, or None."""
        with self.asking(), self.reading() as connection:
            row = connection.execute(select(*DETAIL).where(tasks.c.task_id == task_id)).first()
        return None if row is None else record_of(row)

    def find(self, task_id: str) -> TaskRecord | None:
        """A record with its stored arguments, without its logs, or None.

        Raises:
            StoreError: The database can't be read now.
        """
        chosen = select(*WHOLE).where(tasks.c.task_id == task_id)
        with self.asking(), self.reading() as connection:
            row = connection.execute(chosen).first()
        return None if row is None else record_of(row)

    def samples(self) -> Samples:
        """Some of the tasks that are left to run, and of the newest.

        Raises:
            StoreError: The database can't be read now.
        """
        chosen = select(*FULL).limit(SAMPLE)
        with self.asking(), self.reading() as connection:
            left = connection.execute(chosen.where(LEFT)).all()
            newest = connection.execute(chosen.order_by(tasks.c.created_at.desc())).all()
        return Samples([record_of(row) for row in left], [record_of(row) for row in newest])

    def entries(self, task_id: str) -> list[LogEntry]:
        """The entries under a task's id, the oldest first."""
        of_task = entries.c.task_id == task_id
        chosen = select(*ENTRY).where(of_task).order_by(entries.c.id)
        with self.asking(), self.reading() as connection:
            return [entry_of(row) for row in connection.execute(chosen)]

    def query(self, query: Query) -> list[TaskRecord]:
        """The records that match, newest first, without their logs."""
        newest = (tasks.c.created_at.desc(), tasks.c.task_id.desc())
        with self.asking(), self.reading() as connection:
            chosen = _filtered(select(*RECORD), query, connection.dialect.name)
            rows = connection.execute(chosen.order_by(*newest).limit(query.limit)).all()
        return [record_of(row) for row in rows]

    def totals(self) -> Totals:
        """Figures over all records."""
        counts = select(tasks.c.status, func.count()).group_by(tasks.c.status)
        timed = tasks.c.status.in_([status.value for status in TIMED])
        with self.asking(), self.reading() as connection:
            by_status = dict.fromkeys(TaskStatus, 0)
            by_status.update((TaskStatus(status), n) for status, n in connection.execute(counts))
            mean = connection.execute(select(func.avg(tasks.c.duration)).where(timed)).scalar()
        return Totals(by_status, mean)

    def _connected(self) -> Engine:
        self._check_file()
        self.open()
        assert self._engine is not None  # open() has returned
        return self._engine

    def _prepared(self) -> Engine:
        """An engine for tables of this library's version."""
        try:
            with ExitStack() as undo:
                engine = self._connections.engine()
                undo.callback(self._connections.close, engine)
                with engine.connect() as connection:
                    self._connections.check(connection)
                    version = version_of(connection)
                if version is None or version < SCHEMA_VERSION:
                    version = self._migrated()
                if version == SCHEMA_VERSION:
                    self._check_writable()
                    undo.pop_all()
        except (OSError, TypeError, ValueError, SQLAlchemyError) as error:
            # Drivers raise TypeError and ValueError for options that they don't know.
            raise StoreError(self.name, reason_of(error, self.url)) from error
        if version > SCHEMA_VERSION:
            raise StoreError(
                self.name,
                f"its schema has version {version}, this library knows {SCHEMA_VERSION}; "
                "use the newer release of fastapi_taskflow that made it",
            )
        return engine

    def _check_writable(self) -> None:
        """Write a row, and take it back: who may read need not be who may write.

        Raises:
            SQLAlchemyError: It can't be written, though nobody else writes to it.
        """
        row = {"owner": str(uuid.uuid4()), "host": "", "pid": 0, "born": 0}
        now = datetime.now(UTC)
        with ExitStack() as stack:
            hasty = self._connections.engine(patience=0.0)
            stack.callback(self._connections.close, hasty)
            try:  # connecting waits for locks, too
                connection = stack.enter_context(hasty.connect().execution_options(**WRITES))
                connection.execute(owners.insert(), {**row, "started_at": now, "heartbeat_at": now})
                connection.rollback()
            except OperationalError as error:
                if not is_locked(error):
                    raise

    def _migrated(self) -> int:
        with ExitStack() as stack:
            patient = self._connections.engine(patience=UPGRADE_TIMEOUT)
            stack.callback(self._connections.close, patient)
            connection = stack.enter_context(patient.connect().execution_options(**WRITES))
            stack.enter_context(connection.begin())
            stack.enter_context(alone(connection))
            check_encoding(connection)
            return migrate(connection)


def _gate_of(url: URL) -> AbstractContextManager[None]:
    """What holds up forks while a database is used.

    SQLite's own locks are the process's, as it sees it: one that is held at a fork is held in the
    child for ever, and no connection there could write.
    """
    return ForkGate() if url.get_backend_name() == "sqlite" else nullcontext()


def _lost() -> FileNotFoundError:
    what = "its file was deleted or replaced, and what it had is lost; a new one is made"
    return FileNotFoundError(errno.ENOENT, what)


def _write(
    connection: Connection,
    added: Collection[TaskRecord],
    changed: Collection[TaskRecord],
    logged: Collection[Logged],
) -> None:
    if added:
        connection.execute(tasks.insert(), [task_row(record) for record in added])
        tagged = [row for record in added for row in tag_rows(record)]
        if tagged:  # a task's tags never change
            connection.execute(tags.insert(), tagged)
    if changed:
        own = or_(tasks.c.owner.is_(None), tasks.c.owner == bindparam("own"))
        statement = tasks.update().where(tasks.c.task_id == bindparam("id"), own)
        connection.execute(
            statement,
            [
                {**change_row(record), "id": record.task_id, "own": record.owner}
                for record in changed
            ],
        )
    if logged:
        connection.execute(entries.insert(), [entry_row(*item) for item in logged])


def _filtered(statement: Select[Any], query: Query, dialect: str) -> Select[Any]:
    column = tasks.c
    wanted = {"status": query.status and query.status.value, "func_name": query.func_name}
    statement = statement.where(
        *(column[name] == value for name, value in wanted.items() if value is not None),
        *(_is_tagged(key, value) for key, value in query.tags.items()),
    )
    if query.since is not None:
        statement = statement.where(column.created_at >= query.since)
    if query.until is not None:
        statement = statement.where(column.created_at < query.until)
    if query.after is not None:
        at, task_id = query.after
        same = and_(column.created_at == at, column.task_id < task_id)
        statement = statement.where(or_(column.created_at < at, same))
    if query.text is not None:
        place = func.strpos if dialect == "postgresql" else func.instr  # LIKE has wildcards
        statement = statement.where(place(column.search, fold(query.text)) > 0)
    return statement


def _is_tagged(key: str, value: str) -> ColumnElement[bool]:
    of_task = tags.c.task_id == tasks.c.task_id
    return exists().where(of_task, tags.c.key == key, tags.c.value == value)
