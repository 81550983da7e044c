"""What accepts and runs a manager's tasks, from its opening to its shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any

from fastapi_taskflow.context import TaskContext
from fastapi_taskflow.errors import (
    ShuttingDownError,
    StoreUnavailableError,
    TaskArgumentError,
)
from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.execution.active import ActiveTasks
from fastapi_taskflow.execution.arguments import pack_arguments
from fastapi_taskflow.execution.execution import Execution
from fastapi_taskflow.execution.options import TaskFunction
from fastapi_taskflow.execution.processes.packing import pack_call
from fastapi_taskflow.execution.runner import Runner
from fastapi_taskflow.execution.span import current_span_context
from fastapi_taskflow.execution.transitions import Progress
from fastapi_taskflow.execution.vault import Vault
from fastapi_taskflow.fork import leave_to_parent, restart_after_fork
from fastapi_taskflow.lifespan import ShutdownSignals
from fastapi_taskflow.loggers.branch import Branch
from fastapi_taskflow.loggers.bridge import ObserverHandler
from fastapi_taskflow.loggers.emit import TaskEmitter
from fastapi_taskflow.loggers.ledger import Diagnostics
from fastapi_taskflow.loggers.observers import Observers
from fastapi_taskflow.records import LIBRARY
from fastapi_taskflow.registry import TaskRegistry
from fastapi_taskflow.rescue import Rescue
from fastapi_taskflow.store import TaskStore
from fastapi_taskflow.store.record import new_record

CLEANUP_SECONDS = 1.0
"""How long interrupted async bodies may take for their ``finally`` blocks at shutdown."""

STORE_SECONDS = 5.0
"""How long the store may take for what is not written yet at shutdown."""

CALLED_OFF = "it was called off before it was stored"

CANCELLED_ELSEWHERE = "it was cancelled by a request to another process"

STORE_TURN = 0.005
"""Seconds between two looks at a store that is being flushed."""

_log = Diagnostics(f"{LIBRARY}.execution")


class TaskEngine:
    """Accepts tasks, runs them, and stops in order.

    Args:
        registry: The functions and their options.
        store: Where the state is.
        branch: Where the records go.
        observers: What is at the end of the branch.
        runner: What runs an accepted task.
        shutdown_timeout: Seconds that running tasks get at shutdown.
        drain_timeout: Seconds that async observers get for the events that wait.
        store_timeout: Seconds that the store gets to make a change last.
        vault: What arguments are stored in.
        requeue_pending: Whether what has not begun runs in another process if this one stops.
    """

    def __init__(
        self,
        registry: TaskRegistry,
        store: TaskStore,
        branch: Branch,
        observers: Observers,
        runner: Runner,
        *,
        shutdown_timeout: float,
        drain_timeout: float,
        store_timeout: float,
        vault: Vault,
        requeue_pending: bool,
    ) -> None:
        self.store = store
        self._registry = registry
        self._branch = branch
        self._observers = observers
        self._runner = runner
        self._shutdown_timeout = shutdown_timeout
        self._drain_timeout = drain_timeout
        self._store_timeout = store_timeout
        self._vault = vault
        self._requeue_pending = requeue_pending
        self._rescue = Rescue(
            registry,
            store,
            branch,
            vault,
            requeue_pending=requeue_pending,
            can_run=lambda: self.loop is not None and self._accepting,
            run=self._resume,
        )
        self._signals = ShutdownSignals(self._signal_received)
        self._inherits = False
        self._begin_anew()
        restart_after_fork(self)

    def _begin_anew(self) -> None:
        self.users = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self._resumed: set[asyncio.Task[None]] = set()
        self._active = ActiveTasks()
        self._leaving: set[asyncio.Future[None]] = set()
        self._signalled_at: float | None = None
        self._clock: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None
        self._accepting = True
        self._opened = False
        self._began = False
        self._guard = threading.Lock()

    def start_afresh(self) -> None:
        """Be stopped, and know of no task: all that runs, runs in the parent."""
        leave_to_parent(self.loop, self._resumed, self._active, self._leaving)
        self._begin_anew()
        self._inherits = True
        self._signals.restore()

    # Accepting

    def accept(
        self,
        call: object,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        tags: dict[str, str] | None,
        idempotency_key: object,
    ) -> tuple[str, Execution | None]:
        """Accept a task: its id, and what to run unless the key was used before.

        Raises:
            TaskArgumentError: It can't be called so, or the tags are no dict[str, str].
            TaskflowError: The manager is shutting down, or can't be opened.
        """
        function = self._registry.find(call)
        function.check_call(args, kwargs)
        payload = pack_call(function, args, kwargs) if function.in_process else None
        tags = _checked_tags(function, tags)
        if idempotency_key is not None and (
            idempotency_key == "" or not isinstance(idempotency_key, str)
        ):
            reason = f"idempotency_key={idempotency_key!r} is neither None nor a str with a text"
            raise TaskArgumentError(function.name, reason)
        if not self._accepting:
            raise ShuttingDownError(function.name)
        packed = self._packed(function, args, kwargs)
        self.open()
        task_id = _new_id()
        record = self.store.add(
            new_record(
                task_id,
                function.name,
                TaskStatus.PENDING,
                datetime.now(UTC),
                args,
                kwargs,
                self._branch.redact_tags(tags),
                idempotency_key,
                packed=packed,
                persist=function.options.persist,
                requeue_on_interrupt=function.options.requeue_on_interrupt,
            )
        )
        if record.task_id != task_id:
            return record.task_id, None
        emitter = TaskEmitter(self._branch, TaskContext(task_id, function.name, 0, tags))
        progress = Progress(self.store, emitter)
        outlives = packed is not None and (self._requeue_pending or function.options.persist)
        execution = Execution(
            function, args, kwargs, progress, current_span_context(), payload, outlives=outlives
        )
        self._active.add(execution)
        return task_id, execution

    async def enqueue(
        self,
        call: object,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        tags: dict[str, str] | None,
        idempotency_key: str | None,
    ) -> tuple[str, Execution | None]:
        """Accept a task, and wait until it is where it lasts.

        Raises:
            StoreUnavailableError: The database did not take it in time; it is called off.
            TaskflowError: As ``accept()``.
        """
        task_id, execution = self.accept(
            call, args, kwargs, tags=tags, idempotency_key=idempotency_key
        )
        try:
            stored = await self.store.flush_async(self._store_timeout)
        except BaseException:
            self._call_off(execution)
            raise
        if not stored:
            self._call_off(execution)
            raise StoreUnavailableError(self._registry.find(call).name, self._store_timeout)
        first = self._first(task_id, execution)
        if execution is None and first == task_id and self._is_cancelled(task_id):
            # Called off by the request that it was of, while this one waited: the key is free.
            return await self.enqueue(
                call, args, kwargs, tags=tags, idempotency_key=idempotency_key
            )
        return first, execution if first == task_id else None

    def _packed(
        self, function: TaskFunction, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> str | None:
        """The arguments as they are stored; None where nothing is."""
        if not self.store.is_durable:
            return None
        vault = self._vault
        text = pack_arguments(function, args, kwargs, reveal_secrets=vault.encrypts)
        return vault.seal(text)

    def _first(self, task_id: str, execution: Execution | None) -> str:
        """The task that has a task's idempotency key, as far as the database has told.

        Args:
            task_id: The task.
            execution: What would run it; where another one has the key, it is called off.
        """
        first = self.store.holder(task_id)
        if execution is not None and first != task_id:
            self.discard(execution, f"its idempotency key is that of the task {first}")
        return first

    async def _is_first(self, execution: Execution) -> bool:
        """Whether no other task has its key, as far as is known once it is where it lasts."""
        if not self.store.is_durable:
            return True
        await self.store.flush_async(self._store_timeout)
        task_id = execution.context.task_id
        return self._first(task_id, execution) == task_id

    def _call_off(self, execution: Execution | None) -> None:
        if execution is not None:
            self.discard(execution, CALLED_OFF)

    def _is_cancelled(self, task_id: str) -> bool:
        record = self.store.find(task_id)
        return record is not None and record.status is TaskStatus.CANCELLED

    async def wait_stored(self) -> None:
        """Wait until what was accepted is where it lasts, if it comes to that in time."""
        await self.store.flush_async(self._store_timeout)

    def settle(self, task_id: str, execution: Execution | None) -> str:
        """Wait until what was accepted is where it lasts, unless that would hold up a loop.

        Returns:
            The id of the task that has its idempotency key; on a loop as far as that is known.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self.store.flush(self._store_timeout)
        return self._first(task_id, execution)

    def discard(self, execution: Execution, reason: str) -> None:
        """Call off an accepted task, if it has not started."""
        if execution.task is None and execution.progress.cancel(reason):
            self._active.remove(execution)

    def cancel(self, task_id: str, reason: str) -> bool:
        """Cancel a task of this process; called by any thread.

        Args:
            task_id: The task.
            reason: Its error, without secrets.

        Returns:
            Whether it was such a task, and had not ended.
        """
        execution = self._active.find(task_id)
        if execution is None or not execution.cancel(reason):
            return False
        if execution.task is None:
            self._active.remove(execution)
        return True

    def cancel_requested(self, task_id: str) -> None:
        """Cancel a task, as another process has asked for it."""
        self.cancel(task_id, CANCELLED_ELSEWHERE)

    # Running

    async def run(self, execution: Execution, *, drain: bool = False) -> None:
        """Run an accepted task to its end.

        Cancelling this call does not cancel the task: it goes on on its loop, and shutdown
        finds it there. (What the request has enqueued behind it never starts, and is
        cancelled.)

        Args:
            execution: The task.
            drain: Whether to wait for its events to reach the async observers, as is always
                done when no lifespan runs the manager.
        """
        if execution.is_called_off:
            return
        if self.loop is None:
            await self._begin()
        self._serve_found(execution)
        if not await self._is_first(execution):
            return
        if not (execution.context.cancelled or execution.is_called_off):
            ended = asyncio.get_running_loop().create_future()
            execution.run_by(self._runner).add_done_callback(partial(self._ended, execution, ended))
            await ended  # not the task, which would be cancelled with this call
        if self._may_have_found():
            self._serve_found(execution)
        await self.store.flush_async(self._store_timeout)
        if self._opened and (drain or self.loop is None):
            if self._leaving:
                await asyncio.wait(self._leaving, timeout=self._drain_timeout)
            await self._observers.drain(self._drain_timeout)

    def _may_have_found(self) -> bool:
        """Whether a new configuration may have brought observers that a record has reached."""
        return self._branch.has_unserved or self._observers.has_loggers or self.loop is None

    def _serve_found(self, execution: Execution) -> None:
        """Deliver on this loop to observers that a logging configuration has brought."""
        if not self._observers.may_find:  # which is seen sooner than all handlers are
            if self.loop is None:
                self._observers.attach()
            return
        found = self._observers.find(self._branch.users_handlers(execution.function.name))
        if found or self.loop is None:
            self._observers.attach()
        if found:  # by a new configuration, which may have taken others away
            for handler in self._observers.take_leave(self._branch.users_handlers()):
                self._let_go(handler)

    def _let_go(self, handler: ObserverHandler) -> None:
        leaving = asyncio.ensure_future(handler.leave(self._drain_timeout))

        def left(leaving: asyncio.Future[None]) -> None:
            self._leaving.discard(leaving)
            self._observers.left(handler, stopped=not leaving.cancelled())

        self._leaving.add(leaving)
        leaving.add_done_callback(left)

    async def _begin(self) -> None:
        """Open and start what no lifespan has started."""
        self.open()
        if not self._began:
            self._began = True
            await self._observers.start(wait=False)

    def _resume(self, execution: Execution) -> None:
        """Run a task that was taken over, on the manager's loop; called by any thread."""
        self._active.add(execution)
        loop = self.loop
        if loop is None:  # it has stopped just now: the task is for another process
            self._active.remove(execution)
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: likewise
            loop.call_soon_threadsafe(self._run_resumed, execution)

    def run_soon(self, execution: Execution) -> None:
        """Run an accepted task, not waiting for it: on the manager's loop, or else on this one."""
        loop = self.loop or asyncio.get_running_loop()
        loop.call_soon_threadsafe(self._run_resumed, execution)

    def _run_resumed(self, execution: Execution) -> None:
        task = asyncio.ensure_future(self.run(execution))
        self._resumed.add(task)
        task.add_done_callback(self._resumed.discard)

    def _ended(
        self, execution: Execution, ended: asyncio.Future[None], task: asyncio.Task[None]
    ) -> None:
        if not ended.done():  # whoever waited may have been cancelled
            ended.set_result(None)
        self._active.remove(execution)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error(
                "Task %s [%s] ended outside its own road",
                execution.context.func_name,
                execution.context.task_id,
                exc_info=error,
            )

    # Starting and stopping

    def open(self) -> None:
        """Open files and the database, now; idempotent.

        Raises:
            TaskflowError: One of them can't be used.
        """
        with self._guard:
            if self._opened:
                return
            try:
                self.store.open()
                self._rescue.check_keys()
                self._observers.open()
            except BaseException:
                self._observers.release()
                self.store.close(0.0)
                raise
            self._opened = True
        self._look_after_others()

    def _look_after_others(self) -> None:
        """Take over, now and then, what processes have left that are dead, and hear the living."""
        self.store.look_after(self._rescue.decide, self._rescue.take, self.cancel_requested)

    async def start(self) -> None:
        """Open everything, run the observers' ``startup()``, and serve on this loop."""
        self.open()
        self._observers.find(self._branch.users_handlers())
        await self._observers.start()
        self._began = True
        self.loop = asyncio.get_running_loop()
        self._look_after_others()
        self._signals.install()

    async def stop(self, *, grace: float | None = None, drain: float | None = None) -> None:
        """Stop accepting, let running tasks end, interrupt the rest, drain, close.

        Args:
            grace: Seconds for running tasks; None means what is left of ``shutdown_timeout``.
            drain: Seconds for events that wait; None means ``drain_timeout``.
        """
        self._accepting = False
        try:
            await self._active.wait_idle(self._time_left() if grace is None else grace)
            self._active.interrupt_all()
            await self._active.wait_idle(CLEANUP_SECONDS)
            await self._runner.close()
            self._observers.find(self._branch.users_handlers())
            drain = self._drain_timeout if drain is None else drain
            if self._leaving:
                await asyncio.wait(self._leaving, timeout=drain)
            await self._observers.close(drain)
            self._branch.settle()
            await self._close_store()
            # Cut short before, it is still to be closed at exit.
            self._opened = self._inherits = False
        finally:
            self._rest()

    async def _close_store(self) -> None:
        """Close the store once it is flushed, or the time for that is over."""
        deadline = time.monotonic() + STORE_SECONDS
        # In turns: the loop may serve others, and at exit no executor takes work.
        while not self.store.flush(0.0) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(STORE_TURN)
        self.store.close(0.0)

    @property
    def is_open(self) -> bool:
        """Whether there is something to stop.

        That is so in a forked child which has not opened anything, but goes on in the body of
        one of its parent's tasks, and logs.
        """
        return self._opened or (self._inherits and self._branch.has_sent)

    def _rest(self) -> None:
        self._signals.restore()
        for scheduled in (self._clock, self._ending):
            if scheduled is not None:
                scheduled.cancel()
        self._clock = self._ending = self._signalled_at = self.loop = None
        self._branch.watchers.stop()
        self._branch.watchers.begin()
        self._began = False
        self._accepting = True

    def _time_left(self) -> float:
        if self._signalled_at is None:
            return self._shutdown_timeout
        return max(0.0, self._shutdown_timeout - (time.monotonic() - self._signalled_at))

    def _signal_received(self) -> None:
        """A server was told to stop: from now on the time for running tasks counts."""
        if self._signalled_at is None and self.loop is not None:
            self._signalled_at = time.monotonic()
            self.loop.call_soon_threadsafe(self._start_clock)

    def _start_clock(self) -> None:
        if self.loop is not None:
            self._clock = self.loop.call_later(self._time_left(), self._time_is_up)
            self._ending = self.loop.create_task(self._end_watches())

    async def _end_watches(self) -> None:
        """End what would go on for ever, when no task runs: servers wait for open streams."""
        await self._active.wait_idle(self._time_left())
        await self._active.wait_idle(CLEANUP_SECONDS)
        self._branch.watchers.stop()

    def _time_is_up(self) -> None:
        self._accepting = False
        self._active.interrupt_all()


def _new_id() -> str:
    """A random UUID (version 4) as text, in less than half of the time that ``uuid`` takes."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _checked_tags(function: TaskFunction, tags: object) -> dict[str, str]:
    if tags is None:
        return {}
    if not isinstance(tags, dict) or not all(
        isinstance(part, str) for item in tags.items() for part in item
    ):
        raise TaskArgumentError(
            function.name,
            f"tags={tags!r} is no dict[str, str]; an argument of that name of the function's "
            "own goes in with functools.partial",
        )
    return dict(tags)
