"""The worker processes of a manager: started when they are needed, used again, ended when idle."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref

from fastapi_taskflow.errors import WorkerStartError
from fastapi_taskflow.execution.processes.calls import Call
from fastapi_taskflow.execution.processes.process import WorkerProcess
from fastapi_taskflow.execution.processes.wire import Job
from fastapi_taskflow.execution.processes.worker import END_SECONDS
from fastapi_taskflow.execution.slots import Slots
from fastapi_taskflow.execution.threads import Outcome
from fastapi_taskflow.fork import restart_after_fork
from fastapi_taskflow.loggers.emit import TaskEmitter

CLOSE_TURN = 0.005
"""Seconds between two looks at workers that are to end."""

KILL_SECONDS = 1.0
"""How long killed workers are waited for."""


class ProcessPool:
    """Makes calls in worker processes, no more than so many at a time.

    Args:
        max_processes: How many; None means one for each processor.
    """

    def __init__(self, max_processes: int | None = None) -> None:
        self._max_processes = max_processes or os.cpu_count() or 1
        self._workers: set[WorkerProcess] = set()
        self.start_afresh()
        restart_after_fork(self)

    def start_afresh(self) -> None:
        """Begin without workers and calls, as a forked child must."""
        for worker in self._workers:
            worker.forget()
        self.slots = Slots(self._max_processes)
        self._guard = threading.Lock()
        self._idle: list[WorkerProcess] = []
        self._workers = set()
        weakref.finalize(self, _hang_up, self._workers).atexit = False

    @property
    def pids(self) -> list[int]:
        """The ids of the processes."""
        with self._guard:
            return sorted(worker.pid for worker in self._workers if worker.pid is not None)

    def submit(self, job: Job, emitter: TaskEmitter) -> Call:
        """Make a call in a worker; a slot must be held for it.

        The slot is given back when the call ends.
        """
        call = Call(job, emitter, self.slots)
        try:
            self._give(call)
        except RuntimeError:  # the system has no more threads
            self.slots.release()
            raise
        return call

    def _give(self, call: Call) -> None:
        while not self._offer(self._next(), call):
            pass  # it has ended just now

    def _offer(self, worker: WorkerProcess, call: Call) -> bool:
        try:
            return worker.take(call)
        except RuntimeError:
            worker.hang_up()
            with self._guard:
                self._workers.discard(worker)
            raise

    def _next(self) -> WorkerProcess:
        with self._guard:
            if self._idle:
                return self._idle.pop()  # the last one, so that the others have a rest, and end
            worker = WorkerProcess(weakref.ref(self))
            self._workers.add(worker)
            return worker

    def free(self, worker: WorkerProcess) -> None:
        """The worker has nothing to do."""
        with self._guard:
            self._idle.append(worker)

    def retire(self, worker: WorkerProcess) -> bool:
        """Whether the worker, idle for long, may end: nobody will give it a call any more."""
        with self._guard:
            if worker not in self._idle:
                return False
            self._idle.remove(worker)
            return True

    def gone(self, worker: WorkerProcess, call: Call | None) -> bool:
        """The worker has ended. Returns whether the call, which never began, goes to another."""
        self.retire(worker)
        with self._guard:
            self._workers.discard(worker)
        if call is None or call.is_abandoned:
            return False
        try:
            self._give(call)
        except RuntimeError as error:
            call.end(Outcome(error=WorkerStartError(call.job.name, str(error))))
        return True

    async def close(self) -> None:
        """End all workers: at once, but for what ``finally`` blocks may take."""
        with self._guard:
            workers = list(self._workers)
            self._idle.clear()
        for worker in workers:
            worker.hang_up()
        # In turns, as at the interpreter's exit no thread can be started to wait.
        await _all_gone(workers, END_SECONDS)
        for worker in workers:
            worker.kill()
        await _all_gone(workers, KILL_SECONDS)


async def _all_gone(workers: list[WorkerProcess], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    # No event of a loop: the workers' threads know none, and there may be another one by now.
    while (  # noqa: ASYNC110
        not all(worker.is_gone.is_set() for worker in workers) and time.monotonic() < deadline
    ):
        await asyncio.sleep(CLOSE_TURN)


def _hang_up(workers: set[WorkerProcess]) -> None:
    for worker in list(workers):
        worker.hang_up()
