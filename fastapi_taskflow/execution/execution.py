"""An accepted task on its way: what it calls, and how it is begun, interrupted and cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi_taskflow.context import TaskContext, tell_cancelled
from fastapi_taskflow.execution.options import TaskFunction
from fastapi_taskflow.execution.processes.packing import Payload, pack_call
from fastapi_taskflow.execution.transitions import Progress


class Runs(Protocol):
    """What runs executions."""

    async def run(self, execution: Execution) -> None:
        """Run a task to its end. Cancelling the task that runs this interrupts the execution."""


STOPPED = "its process shut down before the task had ended"


@dataclass(eq=False, slots=True)
class Execution:
    """An accepted task on its way.

    Attributes:
        function: What it calls.
        args: With these positional arguments.
        kwargs: And these keyword arguments.
        progress: Its way through its statuses.
        origin: What identifies the OpenTelemetry span that it was enqueued in, if any.
        payload: The call as a worker process gets it, once it is packed.
        task: What runs it; None until then.
        variables: The context variables of what runs it.
        outlives: Whether it runs in another process if this one stops before it has begun.
        is_called_off: Whether it was interrupted: if it has not begun, it never does here.
    """

    function: TaskFunction
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    progress: Progress
    origin: Any = None  # OpenTelemetry is optional
    payload: Payload | None = None
    task: asyncio.Task[None] | None = field(default=None)
    variables: Context = field(default_factory=copy_context)
    outlives: bool = False
    is_called_off: bool = False

    @property
    def context(self) -> TaskContext:
        """What its records say of it now."""
        return self.progress.emitter.context

    def packed(self) -> Payload:
        """The call as a worker process gets it: packed once, and the same for every attempt.

        Raises:
            TaskArgumentError: The function or an argument can't be pickled.
        """
        if self.payload is None:
            self.payload = pack_call(self.function, self.args, self.kwargs)
        return self.payload

    def run_by(self, runner: Runs) -> asyncio.Task[None]:
        """Begin to run it on this loop."""
        self.variables = copy_context()
        loop = asyncio.get_running_loop()
        self.task = loop.create_task(runner.run(self), context=self.variables)
        return self.task

    def interrupt(self) -> None:
        """End it, from any thread. A body in a thread is no longer awaited, a process ends."""
        self.is_called_off = True
        # In its context variables, a copy, as they are in use: the news has its span's ids.
        self.variables.copy().run(self.interrupted)
        self._stop()

    def cancel(self, reason: str) -> bool:
        """Cancel it, from any thread, and stop it as ``interrupt()`` does.

        Returns:
            Whether it had not ended.
        """
        if not self.variables.copy().run(self.progress.cancel, reason):
            return False
        tell_cancelled(self.context)  # only now: a body that is told returns, which is no success
        self._stop()
        return True

    def _stop(self) -> None:
        if self.task is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed: nothing runs there
                self.task.get_loop().call_soon_threadsafe(self.task.cancel)

    def interrupted(self) -> None:
        """It ends here, unless it is for another process to begin."""
        if not self.outlives or self.progress.started is not None:
            self.progress.interrupt(STOPPED)
