"""The tasks that were accepted and have not ended."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from fastapi_taskflow.execution.execution import Execution


class ActiveTasks:
    """The executions between enqueue and end. Any thread may call it."""

    def __init__(self) -> None:
        self._executions: dict[str, Execution] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self._guard = threading.Lock()

    def add(self, execution: Execution) -> None:
        """Know of an execution from now on."""
        with self._guard:
            self._executions[execution.context.task_id] = execution

    def remove(self, execution: Execution) -> None:
        """Forget an execution that has ended."""
        with self._guard:
            self._executions.pop(execution.context.task_id, None)
            if not self._waiters or self._running():
                return
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            with contextlib.suppress(RuntimeError):  # its loop is closed: nobody waits there
                waiter.get_loop().call_soon_threadsafe(_resolve, waiter)

    def find(self, task_id: str) -> Execution | None:
        """The execution of this id, if it is one of these."""
        with self._guard:
            return self._executions.get(task_id)

    async def wait_idle(self, timeout: float) -> None:
        """Wait until nothing runs, for so many seconds at most."""
        waiter = asyncio.get_running_loop().create_future()
        with self._guard:
            if not self._running():
                return
            self._waiters.append(waiter)
        await asyncio.wait({waiter}, timeout=timeout)

    def interrupt_all(self) -> None:
        """Interrupt what is left: running and waiting tasks end here, and say so."""
        with self._guard:
            left = list(self._executions.values())
        for execution in left:
            execution.interrupt()
            if execution.task is None:
                self.remove(execution)

    def _running(self) -> bool:
        return any(execution.task is not None for execution in self._executions.values())


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
