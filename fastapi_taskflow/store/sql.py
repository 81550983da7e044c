"""The database: what is written to it and read from it, through SQLAlchemy Core."""

from __future__ import annotations

import errno
import threading
import weakref
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from fastapi_taskflow.errors import StoreError
from fastapi_taskflow.fork import ForkGate, leave_to_parent, restart_after_fork
from fastapi_taskflow.store.connections import Connections
from fastapi_taskflow.store.dialects import (
    WRITES,
    file_of,
    may_pass,
    name_of,
    reason_of,
)
from fastapi_taskflow.store.doubt import Doubt, Logged
from fastapi_taskflow.store.held import Held
from fastapi_taskflow.store.keys import take_keys
from fastapi_taskflow.store.preparation import prepared
from fastapi_taskflow.store.reads import Reads
from fastapi_taskflow.store.record import TaskRecord
from fastapi_taskflow.store.rows import (
    change_row,
    entry_row,
    tag_rows,
    task_row,
)
from fastapi_taskflow.store.schema import UNFINISHED, tasks, versions
from fastapi_taskflow.store.statements import Statements


class Database(Reads):
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
        self._held: Held | None = None
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
            leave_to_parent(self._held)
            self._engine = self._held = None

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
                self._engine = prepared(self._connections)
                self._statements = Statements(self._engine.dialect)
                if self.url.get_backend_name() == "sqlite":
                    self._held = Held(self._engine)
                self._closing = weakref.finalize(
                    self, _close, self._connections, self._engine, self._held
                )
                self._closing.atexit = False  # at exit, the manager closes
            elif self._is_lost:
                self._connections.close(prepared(self._connections))
                self.remade += 1
            else:
                return
            self._file, self._is_lost = file_of(self.url), False

    def close(self) -> None:
        """Close all connections; idempotent."""
        if self._engine is not None:
            self._closing.detach()  # called, it would do nothing once the interpreter is to exit
            _close(self._connections, self._engine, self._held)
            self._engine = self._held = None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that writes: committed at the end, rolled back by an exception.

        Raises:
            SQLAlchemyError: It could not be written now.
        """
        with self._gate, self._connected().connect() as connection:
            connection.execution_options(**WRITES)
            try:
                with connection.begin():
                    yield connection
            except DBAPIError as error:
                if may_pass(error):  # a server that takes writes again may not take them by this
                    connection.invalidate()  # connection: one made while it was read-only, say
                raise

    @contextmanager
    def batch(self, file: int) -> Iterator[Connection]:
        """A transaction of the thread that writes batches.

        It keeps its connection to a SQLite file; one to a server may be of a user's pool.

        Args:
            file: What ``remade`` was when the file was looked at.

        Raises:
            SQLAlchemyError: It could not be written now.
        """
        if self._held is None:
            with self.transaction() as connection:
                yield connection
        else:
            with self._gate, self._held.transaction(file) as connection:
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read by.

        Raises:
            SQLAlchemyError: It can't be read now.
        """
        with self._gate, self._connected().connect() as connection:
            try:
                yield connection
            except DBAPIError:
                self._check_file()  # it may have been replaced just before the connection was made
                raise

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
            with self.batch(file) as connection:
                doubt.resolve(connection)
                old = [record for record in added if doubt.is_added(record)]
                self._change(connection, [*old, *changed])  # first: one that ends may free a key
                new = [record for record in added if not doubt.is_added(record)]
                taken = take_keys(connection, new)
                new = [record for record in new if record.task_id not in taken]
                late = [item for item in logged if not doubt.is_logged(item[1])]
                doubt.sending(new, late)
                self._add(connection, new, late)
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

    def _change(self, connection: Connection, changed: Collection[TaskRecord]) -> None:
        if changed:
            rows = [(*change_row(record), record.task_id, record.owner) for record in changed]
            self._statements.change.execute(connection, rows)

    def _add(
        self, connection: Connection, added: Collection[TaskRecord], logged: Collection[Logged]
    ) -> None:
        if added:
            self._statements.add.execute(connection, [task_row(record) for record in added])
            tagged = [row for record in added for row in tag_rows(record)]
            if tagged:  # a task's tags never change
                self._statements.tag.execute(connection, tagged)
        if logged:
            self._statements.log.execute(connection, [entry_row(*item) for item in logged])

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

    def _connected(self) -> Engine:
        self._check_file()
        self.open()
        assert self._engine is not None  # open() has returned
        return self._engine


def _close(connections: Connections, engine: Engine, held: Held | None) -> None:
    if held is not None:
        held.close()
    connections.close(engine)


def _gate_of(url: URL) -> AbstractContextManager[None]:
    """What holds up forks while a database is used.

    SQLite's own locks are the process's, as it sees it: one that is held at a fork is held in the
    child for ever, and no connection there could write.
    """
    return ForkGate() if url.get_backend_name() == "sqlite" else nullcontext()


def _lost() -> FileNotFoundError:
    what = "its file was deleted or replaced, and what it had is lost; a new one is made"
    return FileNotFoundError(errno.ENOENT, what)
