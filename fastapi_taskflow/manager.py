"""``TaskManager``: the wiring between functions, store, observers and the app."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

from fastapi import BackgroundTasks, FastAPI

from fastapi_taskflow.background import NEVER_RUN, ManagedBackgroundTasks
from fastapi_taskflow.checks import Seconds, seconds, whole_number, yes_or_no
from fastapi_taskflow.control import CANCELLED, Control, Retried
from fastapi_taskflow.engine import TaskEngine
from fastapi_taskflow.errors import (
    ConfigurationError,
    ConfigurationTypeError,
    RunningLoopError,
    TaskNotFoundError,
)
from fastapi_taskflow.events import Event, News
from fastapi_taskflow.execution.options import RetryOn, make_options
from fastapi_taskflow.execution.processes.pool import ProcessPool
from fastapi_taskflow.execution.results import MAX_RESULT_BYTES, Results
from fastapi_taskflow.execution.runner import Runner
from fastapi_taskflow.execution.slots import Slots
from fastapi_taskflow.execution.threads import SHARED_THREADS, WorkerThreads
from fastapi_taskflow.execution.vault import Key, Vault
from fastapi_taskflow.filters import RedactFilter
from fastapi_taskflow.lifespan import stop_at_exit, wrap_lifespan
from fastapi_taskflow.loggers.branch import Branch
from fastapi_taskflow.loggers.capture import Capture
from fastapi_taskflow.loggers.dispatch import EntryKeeper
from fastapi_taskflow.loggers.file import BACKUP_COUNT, MAX_BYTES, file_shorthand
from fastapi_taskflow.loggers.ledger import Diagnostics, Ledger, ObserverStats
from fastapi_taskflow.loggers.observers import ObserverChoice, Observers
from fastapi_taskflow.loggers.watch import Watch
from fastapi_taskflow.loggers.watchers import Watchers
from fastapi_taskflow.records import LIBRARY
from fastapi_taskflow.redact import Redactor
from fastapi_taskflow.registry import TaskRegistry
from fastapi_taskflow.store import MemoryStore, TaskRecord, TaskStore
from fastapi_taskflow.store.audit import AuditEntry
from fastapi_taskflow.store.chosen import (
    SqlStore,
    chosen_store,
    refuse_options_of_databases,
    with_snapshots,
)
from fastapi_taskflow.store.memory import MAX_FINISHED_TASKS, MAX_LOG_ENTRIES

if TYPE_CHECKING:
    from sqlalchemy import URL  # imported with the database's side, see chosen.py

F = TypeVar("F", bound=Callable[..., Any])

SHUTDOWN_TIMEOUT = 30.0
DRAIN_TIMEOUT = 10.0
STORE_TIMEOUT = 5.0


def _redactor(choice: RedactFilter | Iterable[str] | None) -> Redactor | None:
    if choice is None:
        return None
    try:
        return choice.redactor if isinstance(choice, RedactFilter) else Redactor(keys=choice)
    except ConfigurationError as error:
        raise error.renamed("redact") from None


class TaskManager:
    """Runs background tasks, and tells observers what they log and how they fare.

    Args:
        snapshot_db: The path of a SQLite file, or the URL of a SQLite, PostgreSQL, MySQL or
            MariaDB database, in which tasks and their log entries outlast the process; None
            keeps them in memory only.
        snapshot_store: The same as a ``SqlStore``, which can also be made of an engine that the
            app has already.
        loggers: The observers, in the order in which they receive.
        log_file: Short for one more ``FileLogger`` with this path.
        log_file_max_bytes: Its ``max_bytes``.
        log_file_backup_count: Its ``backup_count``.
        log_file_mode: Its ``mode``.
        log_lifecycle: Its ``log_lifecycle``.
        propagate: Whether records go on to the process's own logging configuration.
        capture_loggers: Names of loggers, "root" for all that propagate: what they and the
            loggers below them log inside a task becomes an entry of that task too, once, with
            its level. Their levels and disabling count as ever.
        log_prints: Whether what tasks print becomes entries of theirs, at "info", a line each,
            in place of output; what is empty is passed over.
        log_limit: How many entries below "warning" each place in the code may log in one task;
            at the task's end an entry for each such place says how many more were suppressed.
            None means no limit.
        redact: What takes secrets out of messages, extras, tags, errors and tracebacks before
            anything is stored or sent, to whomever: a ``RedactFilter``, or the names of
            secret keys. Arguments and ``get_task_context()`` stay as they are, and so does the
            result in memory; stored and shown it is without secrets.
        max_concurrent_tasks: The most tasks that run at once, others wait as PENDING; None
            means no limit.
        max_sync_threads: The size of a pool of threads for this manager's sync functions;
            None shares one pool of 40 with all such managers.
        max_processes: The most worker processes that run ``executor="process"`` functions at
            once, others wait as PENDING; None means one for each processor.
        max_log_entries: The most entries kept of one task's log, the newest.
        max_finished_tasks: The most ended tasks kept in memory, the newest, with their
            arguments and results.
        max_result_bytes: The most bytes of JSON that are stored, and shown, of what a task
            returns. What has more, or is not JSON, is kept in memory only.
        retention_days: After how many days, or parts of one, an ended task is deleted from the
            database; None keeps them all. What is old is looked for at the start and every hour.
        shutdown_timeout: Seconds that running tasks get at shutdown, counted from SIGTERM or
            SIGINT where there was one.
        drain_timeout: Seconds that all async observers together get for waiting events.
        requeue_pending: Whether every task that had not begun when its process stopped, or died,
            runs in another one, as if its function had ``persist=True``.
        encrypt_args_key: A Fernet key, or several, of which the first one encrypts the
            arguments and results in the database and the others still open what was encrypted
            before. Routes don't show such results.
        store_timeout: Seconds that a task waits for the database, before its body and at its
            end; it goes on then, and what happened is written once the database is back.

    Raises:
        ConfigurationError: A value that can't be used; the message names it and the right ones.
        StoreError: ``snapshot_db`` is another database's URL, or its driver is not installed.
    """

    def __init__(
        self,
        *,
        snapshot_db: str | os.PathLike[str] | URL | None = None,
        snapshot_store: SqlStore | None = None,
        loggers: Iterable[ObserverChoice] | None = None,
        log_file: str | os.PathLike[str] | None = None,
        log_file_max_bytes: int = MAX_BYTES,
        log_file_backup_count: int = BACKUP_COUNT,
        log_file_mode: str = "rotate",
        log_lifecycle: bool = False,
        propagate: bool = True,
        capture_loggers: Iterable[str] = (),
        log_prints: bool = False,
        log_limit: int | None = None,
        redact: RedactFilter | Iterable[str] | None = None,
        max_concurrent_tasks: int | None = None,
        max_sync_threads: int | None = None,
        max_processes: int | None = None,
        max_log_entries: int = MAX_LOG_ENTRIES,
        max_finished_tasks: int = MAX_FINISHED_TASKS,
        max_result_bytes: int = MAX_RESULT_BYTES,
        retention_days: float | None = None,
        shutdown_timeout: Seconds = SHUTDOWN_TIMEOUT,
        drain_timeout: Seconds = DRAIN_TIMEOUT,
        requeue_pending: bool = False,
        encrypt_args_key: Key | Sequence[Key] | None = None,
        store_timeout: Seconds = STORE_TIMEOUT,
    ) -> None:
        behind = chosen_store(snapshot_db, snapshot_store)
        redactor = _redactor(redact)
        vault = Vault(encrypt_args_key)
        if behind is None:
            refuse_options_of_databases(
                retention_days=retention_days,
                requeue_pending=requeue_pending or None,
                encrypt_args_key="***" if vault.encrypts else None,
            )
        observers = Observers(() if loggers is None else loggers, redactor)
        file = file_shorthand(
            log_file,
            max_bytes=log_file_max_bytes,
            backup_count=log_file_backup_count,
            mode=log_file_mode,
            log_lifecycle=log_lifecycle,
        )
        if file is not None:
            observers.add(file)
        self._observers = observers
        memory = MemoryStore(
            whole_number("max_log_entries", max_log_entries, minimum=1),
            whole_number("max_finished_tasks", max_finished_tasks, minimum=1),
        )
        log = Diagnostics(f"{LIBRARY}.store")
        self._store = with_snapshots(memory, behind, log, retention_days)
        if log_limit is not None:
            whole_number("log_limit", log_limit, minimum=1)
        self._branch = Branch(
            observers.sinks,
            EntryKeeper(self._store.note, Ledger("store")),
            propagate=yes_or_no("propagate", propagate),
            log_limit=log_limit,
            redactor=redactor,
            keeper=self._store,
        )
        self._store.serve(self._branch.watchers)
        self._results = Results(vault, redactor, whole_number("max_result_bytes", max_result_bytes))
        self._registry = TaskRegistry()
        threads = SHARED_THREADS
        if max_sync_threads is not None:
            threads = WorkerThreads(whole_number("max_sync_threads", max_sync_threads, minimum=1))
        if max_processes is not None:
            whole_number("max_processes", max_processes, minimum=1)
        if max_concurrent_tasks is not None:
            whole_number("max_concurrent_tasks", max_concurrent_tasks, minimum=1)
        self._engine = TaskEngine(
            self._registry,
            self._store,
            self._branch,
            observers,
            Runner(
                self._store,
                Slots(max_concurrent_tasks),
                threads,
                ProcessPool(max_processes),
                Capture(capture_loggers, self._branch),
                self._results,
                log_prints=yes_or_no("log_prints", log_prints),
                store_timeout=seconds("store_timeout", store_timeout),
            ),
            shutdown_timeout=seconds("shutdown_timeout", shutdown_timeout),
            drain_timeout=seconds("drain_timeout", drain_timeout),
            store_timeout=seconds("store_timeout", store_timeout),
            vault=vault,
            requeue_pending=yes_or_no("requeue_pending", requeue_pending),
        )
        self._control = Control(
            self._engine, self._store, self._registry, vault, self._branch.redact_text
        )
        stop_at_exit(self._engine)

    @property
    def store(self) -> TaskStore:
        """What is known of tasks."""
        return self._store

    @property
    def engine(self) -> TaskEngine:
        """What accepts and runs tasks."""
        return self._engine

    def task(
        self,
        function: object = None,
        /,
        *,
        name: str | None = None,
        retries: int = 0,
        delay: Seconds = 0.0,
        backoff: float = 1.0,
        jitter: Seconds = 0.0,
        max_delay: Seconds | None = None,
        retry_on: RetryOn = Exception,
        timeout: Seconds | None = None,
        executor: str | None = None,
        log_prints: bool | None = None,
        persist: bool = False,
        requeue_on_interrupt: bool = False,
    ) -> Callable[[F], F]:
        """Register a function with options; the function itself stays as it is.

        The wait before retry n, counted from 0, is ``min(delay * backoff**n, max_delay)``
        plus, at random, up to ``jitter``. Times are seconds, or ``timedelta``.

        Args:
            function: Nothing: the decorator is written with parentheses.
            name: The name of its tasks; None takes the function's.
            retries: How often a failed attempt is tried again.
            delay: The wait before the first retry.
            backoff: The factor by which each further wait grows.
            jitter: The most that is added to each wait at random.
            max_delay: The longest wait, jitter aside; None means no limit.
            retry_on: The errors after which it is tried again.
            timeout: The longest that one attempt may take; None means no limit. A sync
                function's thread runs on after it, but nobody waits for its end; a worker
                process is ended.
            executor: "async" on the event loop, "thread" in a worker thread, "process" in a
                worker process, where arguments and result are pickled; None chooses one of the
                first two by the function's kind.
            log_prints: Whether what it prints becomes log entries; None does as the manager's
                ``log_prints`` says.
            persist: With a database: whether a task that had not begun when its process
                stopped, or died, runs in another one, or the next.
            requeue_on_interrupt: With a database: whether a task that was interrupted, as its
                process stopped or died, runs again, from its beginning, with its attempt and
                tags. It must be able to run twice.

        Raises:
            ConfigurationError: A value that can't be used.
        """
        if function is not None:
            expected = "parentheses: @task_manager.task()"
            raise ConfigurationTypeError("@task_manager.task", function, expected)
        options = make_options(
            retries=retries,
            delay=delay,
            backoff=backoff,
            jitter=jitter,
            max_delay=max_delay,
            retry_on=retry_on,
            timeout=timeout,
            executor=executor,
            log_prints=log_prints,
            persist=persist,
            requeue_on_interrupt=requeue_on_interrupt,
        )

        def register(function: F) -> F:
            self._registry.register(function, options, name)
            return function

        return register

    async def get_tasks(
        self, background_tasks: BackgroundTasks
    ) -> AsyncIterator[ManagedBackgroundTasks]:
        """The dependency that gives an endpoint its managed background tasks.

        Use it as ``tasks: ManagedBackgroundTasks = Depends(task_manager.get_tasks)``. Tasks
        of a request that fails before they start are cancelled, and say so.
        """
        tasks = ManagedBackgroundTasks(self._engine, background_tasks)
        try:
            yield tasks
        finally:
            tasks.discard_unstarted(NEVER_RUN)

    async def execute(
        self,
        func: Callable[..., Any],
        *args: Any,
        tags: dict[str, str] | None = None,
        idempotency_key: str | None = None,
        **kwargs: Any,
    ) -> TaskRecord:
        """Run one task through the whole path, and wait for it and its events.

        Args:
            func: A function, registered or not.
            *args: Its positional arguments.
            tags: Labels that the task's events and record carry.
            idempotency_key: Where a task with this key is pending, runs, or has succeeded,
                that one's record is returned and nothing runs.
            **kwargs: Its keyword arguments.

        Returns:
            The task's record, also of a task that failed.

        Raises:
            TaskArgumentError: It can't be called so, or the tags are no dict[str, str].
            TaskflowError: The manager is shutting down, or can't be opened.
        """
        task_id, execution = self._engine.accept(
            func, args, kwargs, tags=tags, idempotency_key=idempotency_key
        )
        with self._store.holding(task_id):
            if execution is not None:
                await self._engine.run(execution, drain=True)
            else:
                await self._engine.wait_stored()
            return self.get_task(self._store.holder(task_id))

    def run(
        self,
        func: Callable[..., Any],
        *args: Any,
        tags: dict[str, str] | None = None,
        idempotency_key: str | None = None,
        **kwargs: Any,
    ) -> TaskRecord:
        """Do what ``execute()`` does, from a thread without a running event loop.

        Raises:
            RunningLoopError: An event loop runs in this thread.
            TaskflowError: As ``execute()``.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise RunningLoopError
        call = self.execute(func, *args, tags=tags, idempotency_key=idempotency_key, **kwargs)
        loop = self._engine.loop
        if loop is not None and loop.is_running():
            return asyncio.run_coroutine_threadsafe(call, loop).result()
        return asyncio.run(call)

    async def cancel(self, task_id: str, *, reason: str = CANCELLED) -> TaskRecord:
        """Cancel a task that has not ended, of this process or of another one on the database.

        One that has not begun never does. An async function is cancelled, a worker process
        ended, a sync function told by ``get_task_context().cancelled`` and no longer awaited.
        There are no more retries, and whatever the body still does changes nothing.

        Args:
            task_id: The task.
            reason: Its error from now on; a task of another process has one that says so.

        Returns:
            The record. A task of another process is cancelled by that one, within about a
            second; where it has not been in two, the record's status is still what it was.

        Raises:
            TaskNotFoundError: There is none of this id.
            TaskEndedError: It has ended.
            StoreError: The request to the other process can't be written to the database.
        """
        return await self._control.cancel(task_id, reason)

    async def retry(self, task_id: str) -> TaskRecord:
        """Run the call of a task that has ended again, as a new task, and don't wait for it.

        It has the arguments and tags of the old one, no idempotency key, and the options that
        its function has now. It runs on the manager's loop; without a lifespan on this one.

        Args:
            task_id: The task that has ended, however it did; it stays as it is.

        Returns:
            The new task's record.

        Raises:
            TaskNotFoundError: There is none of this id.
            NotRetriableError: It has not ended, or its function is not registered here, or its
                arguments are not stored, or can't be read.
            StoreError: The database can't be read or written.
            StoreUnavailableError: It has not taken the new task in time.
            ShuttingDownError: The manager is shutting down.
        """
        return await self._control.retry(task_id)

    async def retry_many(self, task_ids: Iterable[str]) -> Retried:
        """Retry tasks that have ended, but for those that were retried before.

        However often and in how many processes this and ``retry_failed()`` are called, they
        retry a task once; its retry has taken its place. ``retry()`` does so each time.

        Args:
            task_ids: The tasks.

        Returns:
            The ids of the new tasks, and why others are skipped.

        Raises:
            ConfigurationError: It is a text, or nothing to go through.
            StoreError: The database can't be read or written.
            ShuttingDownError: The manager is shutting down.
        """
        return await self._control.retry_many(task_ids)

    async def retry_failed(self, *, since: Seconds | None, func_name: str | None = None) -> Retried:
        """Retry, as ``retry_many()`` does, all that has failed or was interrupted.

        Interrupted tasks that run again by themselves are left out.

        Args:
            since: Only what ended in the last so many seconds; None for all.
            func_name: Only this function's tasks.

        Returns:
            The ids of the new tasks, and why others are skipped.

        Raises:
            ConfigurationError: ``since`` is no time.
            TaskflowError: As ``retry_many()``.
        """
        return await self._control.retry_failed(since, func_name)

    async def delete_history(self, *, older_than: Seconds) -> int:
        """Delete the tasks that ended longer ago than that, with all that is known of them.

        An idempotency key of theirs is free again.

        Args:
            older_than: How long ago, in seconds.

        Returns:
            How many there were.

        Raises:
            ConfigurationError: ``older_than`` is no time.
            StoreError: The database can't be written.
        """
        return await self._control.delete_history(older_than)

    def audit(self, *, limit: int = 50, before: int | None = None) -> list[AuditEntry]:
        """What was cancelled, retried and deleted by hand, the newest first.

        With a database it lasts, and is that of all processes; without one, the newest 1000
        entries are kept.

        Args:
            limit: The most entries.
            before: Only entries whose ``number`` is lower.

        Raises:
            ConfigurationError: The limit or ``before`` is no whole number of 1 or more.
            StoreError: The database can't be read.
        """
        return self._control.audit(limit, before)

    def get_task(self, task_id: str) -> TaskRecord:
        """A task's record as it is now, with its logs.

        Raises:
            TaskNotFoundError: There is none of this id.
        """
        record = self._store.get(task_id)
        if record is None:
            raise TaskNotFoundError(task_id)
        return self._results.opened(record)

    @overload
    def watch(
        self, task_id: str | None = None, *, progress: Literal[False] = False
    ) -> Watch[Event]: ...

    @overload
    def watch(self, task_id: str | None = None, *, progress: bool) -> Watch[News]: ...

    def watch(self, task_id: str | None = None, *, progress: bool = False) -> Watch[Any]:
        """Events as they happen, from this call on: ``async for event in ...``.

        With a database those of other processes on it are among them, within about half a second.
        A task's events come in the order of their ``seq``, none is lost and none comes twice.
        Any number may watch, in any thread and on any event loop, tasks of any kind; nobody
        waits for a watcher, for whom up to 10,000 events wait. ``contextlib.aclosing()`` ends
        a watch with its block.

        Args:
            task_id: One task, until it has ended; None watches all tasks until the manager
                shuts down, which after SIGTERM or SIGINT is when no task runs any more.
            progress: Whether to tell what ``task_progress()`` says as well, the newest of it.

        Returns:
            An async iterator of ``LogEvent`` and ``LifecycleEvent``, and ``ProgressEvent`` where
            that is wanted. It raises
            ``WatchOverflowError`` after the last event that there was room for.

        Raises:
            TaskNotFoundError: There is no task of this id.
        """
        yes_or_no("progress", progress)
        watch = self._branch.watchers.watch(task_id, progress=progress)
        with watch.closed_by_errors():
            if task_id is not None and self.get_task(task_id).status.is_final:
                watch.end()
            else:
                self._store.follow(task_id)
        return watch

    @property
    def watchers(self) -> Watchers:
        """Those who watch, and what is kept for readers that come back."""
        return self._branch.watchers

    def observer_stats(self) -> dict[str, ObserverStats]:
        """Figures by observer.

        The keys are class names, ``Name-2`` for the second one of a class, and "pipeline"
        for the handlers of the process's own logging configuration.
        """
        return {**self._observers.stats(), "pipeline": self._branch.pipeline.stats()}

    def init_app(self, app: FastAPI) -> None:
        """Start and stop with an app, whether or not it has a lifespan of its own."""
        wrap_lifespan(app, self)

    async def startup(self) -> None:
        """Open files and the database, and run the observers' ``startup()``.

        Each call wants a ``shutdown()`` of its own; only the first one acts.

        Raises:
            LogFileError: A log file can't be written.
            StoreError: The database can't be used.
            ConfigurationError: No ``encrypt_args_key`` opens what is to run.
        """
        engine = self._engine
        engine.users += 1
        if engine.users > 1:
            return
        try:
            await engine.start()
        except BaseException:
            engine.users -= 1
            raise

    async def shutdown(self) -> None:
        """Stop in order; afterwards it may be started again.

        No more tasks are accepted; running ones get ``shutdown_timeout``, the rest are
        interrupted; then the observers are drained and closed, and the store is closed.
        """
        engine = self._engine
        engine.users = max(0, engine.users - 1)
        if engine.users == 0 and engine.is_open:
            await engine.stop()

    async def __aenter__(self) -> Self:
        await self.startup()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.shutdown()
