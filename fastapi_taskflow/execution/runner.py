"""A task from its slot to its end: attempts, waits between them, one final status."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import Any

from fastapi_taskflow.context import TaskContext, active_task
from fastapi_taskflow.errors import WorkerLostError
from fastapi_taskflow.execution.call import BodyEndedError, Limit, call_function, in_thread
from fastapi_taskflow.execution.execution import Execution
from fastapi_taskflow.execution.failure import Failure
from fastapi_taskflow.execution.options import TaskFunction
from fastapi_taskflow.execution.processes.attempt import completed, make_job
from fastapi_taskflow.execution.processes.calls import Call
from fastapi_taskflow.execution.processes.pool import ProcessPool
from fastapi_taskflow.execution.results import Results
from fastapi_taskflow.execution.retry import may_retry, retry_delay
from fastapi_taskflow.execution.slots import Slots
from fastapi_taskflow.execution.span import TaskSpan, task_span
from fastapi_taskflow.execution.threads import WorkerThreads
from fastapi_taskflow.fork import ChildEnds
from fastapi_taskflow.guard import is_cancelled, let_pass
from fastapi_taskflow.loggers.capture import Capture
from fastapi_taskflow.loggers.ledger import Diagnostics
from fastapi_taskflow.loggers.prints import prints_logged
from fastapi_taskflow.records import LIBRARY
from fastapi_taskflow.store import LogEntry, TaskStore
from fastapi_taskflow.tracing import current_ids

_log = Diagnostics(f"{LIBRARY}.execution")


_NOTHING = nullcontext()


class Runner:
    """Runs executions.

    Args:
        store: Where retries leave their mark in a task's log.
        slots: The limit on tasks that run at once.
        threads: Where sync bodies run.
        processes: Where bodies run that have a process to run in.
        capture: What other loggers' records become entries.
        results: What packs the results.
        log_prints: Whether prints become entries where a function's options don't say.
        store_timeout: Seconds that the store gets to make it last that a task has begun.
    """

    def __init__(
        self,
        store: TaskStore,
        slots: Slots,
        threads: WorkerThreads,
        processes: ProcessPool,
        capture: Capture,
        results: Results,
        *,
        log_prints: bool,
        store_timeout: float,
    ) -> None:
        self._store = store
        self._store_timeout = store_timeout
        self._slots = slots
        self._threads = threads
        self._processes = processes
        self._capture = capture
        self._results = results
        self._log_prints = log_prints

    async def run(self, execution: Execution) -> None:
        """Run a task to its end. What its body raises ends here.

        Cancelling the task that runs this interrupts the execution.
        """
        try:
            await self._slots.acquire()
            try:
                with (
                    self._capture.listening() if self._capture.names else _NOTHING,
                    task_span(execution.context, execution.origin) as span,
                ):
                    await self._attempt_within(execution, span)
            finally:
                self._slots.release()
        except BaseException:  # cancelled, or worse: none stays RUNNING for ever
            execution.interrupted()
            raise

    async def _attempt_within(self, execution: Execution, span: TaskSpan) -> None:
        try:
            await self._attempt_all(execution, span)
        except BaseException:  # as in run(), but within the span: the news has its ids
            execution.interrupted()
            raise

    async def _attempt_all(self, execution: Execution, span: TaskSpan) -> None:
        options = execution.function.options
        while True:
            failure = await self._attempt(execution)
            if failure is None:
                return
            if is_cancelled():  # the body has made an error of its interruption
                raise asyncio.CancelledError
            attempt = execution.context.attempt
            _report(execution, failure)
            if not may_retry(options, attempt, failure.exception):
                _give_up(execution, failure)
                span.fail(failure)
                return
            await asyncio.sleep(retry_delay(options, attempt))
            if not execution.progress.retry():
                return  # it was interrupted, and made an error of that
            self._separate(execution.context)

    async def _attempt(self, execution: Execution) -> Failure | None:
        """Run the body once. Returns how it failed, or None where the task has ended."""
        function, progress = execution.function, execution.progress
        slots = self._slots_of(function)
        if slots is not None:
            await slots.acquire()
        begun = False
        try:
            begun = await self._begin(execution)
        finally:
            if not begun and slots is not None:
                slots.release()
        if not begun:
            return None
        active_task.set(progress.emitter)
        redactor = progress.emitter.branch.redactor
        here = asyncio.current_task()
        try:
            with self._printing(execution):
                result = await call_function(function, partial(self._call, execution))
        except BodyEndedError as ended:
            return Failure(ended.error, redactor, ended.remote)
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            return Failure(error, redactor)  # the body's own doing
        except BaseException as error:  # noqa: BLE001  # the task's own code
            let_pass(error, within=here)
            return Failure(error, redactor)
        progress.succeed(**self._results.fields(result))
        return None

    async def _begin(self, execution: Execution) -> bool:
        """Have the task RUNNING, if it isn't. Returns whether its body may be called."""
        if execution.progress.started is not None:
            return True
        if not execution.progress.start():
            return False
        if execution.outlives:  # should this process die now, others must know that it has begun
            await self._store.flush_async(self._store_timeout)
        return True

    def _slots_of(self, function: TaskFunction) -> Slots | None:
        """The limit on the bodies that run where this function's does, if there is one."""
        if function.in_process:
            return self._processes.slots
        return self._threads.slots if function.in_thread else None

    async def _call(self, execution: Execution, limit: Limit | None) -> Any:
        function = execution.function
        if function.in_process:
            return await completed(self._submit(execution), limit)
        call = partial(function.call, *execution.args, **execution.kwargs)
        if function.in_thread:
            return await in_thread(call, self._threads)
        with ChildEnds():
            return await call()

    def _submit(self, execution: Execution) -> Call:
        emitter = execution.progress.emitter
        log_prints = self._logs_prints(execution)
        try:
            payload = execution.packed()
            job = make_job(
                execution.function, payload, emitter, self._capture, log_prints=log_prints
            )
        except BaseException:
            self._processes.slots.release()
            raise
        return self._processes.submit(job, emitter)

    def _logs_prints(self, execution: Execution) -> bool:
        log_prints = execution.function.options.log_prints
        return self._log_prints if log_prints is None else log_prints

    def _printing(self, execution: Execution) -> AbstractContextManager[None]:
        """What becomes of the prints of an attempt's body, if it runs in this process."""
        if self._logs_prints(execution) and not execution.function.in_process:
            return prints_logged(execution.progress.emitter)
        return _NOTHING  # what a task prints is no entry of another one, within which it runs

    async def close(self) -> None:
        """End the worker processes."""
        await self._processes.close()

    def _separate(self, context: TaskContext) -> None:
        """Leave the mark of a retry in the task's log."""
        separator = f"--- Retry {context.attempt} ---"
        entry = LogEntry(None, datetime.now(UTC), "info", separator, context.attempt)
        self._store.append(context.task_id, entry)


def _give_up(execution: Execution, failure: Failure) -> None:
    """End a task after its last attempt: it failed, or its worker was lost, and who knows how."""
    if isinstance(failure.exception, WorkerLostError):
        execution.progress.lose(failure.error)
    else:
        execution.progress.fail(failure)


def _report(execution: Execution, failure: Failure) -> None:
    context, options = execution.context, execution.function.options
    prepared = failure.prepared_traceback
    _log.warning(
        "Task %s [%s]: attempt %d of %d failed: %s",
        context.func_name,
        context.task_id,
        context.attempt + 1,
        options.retries + 1,
        prepared or failure.error,
        exc_info=failure.exc_info if prepared is None else None,
        extra={"task_id": context.task_id, "attempt": context.attempt, **current_ids()},
    )
