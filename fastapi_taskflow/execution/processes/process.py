"""One worker process, as the process sees it that started it; and a call that is made there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Protocol

from fastapi_taskflow.errors import (
    TaskResultError,
    WorkerLostError,
    WorkerStartError,
    exit_text,
)
from fastapi_taskflow.execution.processes.packing import loads, unpack_error
from fastapi_taskflow.execution.processes.relay import relay
from fastapi_taskflow.execution.processes.wire import (
    Began,
    Captured,
    Job,
    Logged,
    Message,
    Raised,
    Returned,
    Wire,
)
from fastapi_taskflow.execution.processes.worker import END_SECONDS, SIGNALS
from fastapi_taskflow.execution.slots import Slots
from fastapi_taskflow.execution.threads import Outcome
from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.loggers.birth import report, text_of
from fastapi_taskflow.loggers.emit import TaskEmitter

IDLE_SECONDS = 60.0
"""How long an idle worker waits for work before it is ended."""

RECENT_LISTENERS = 8
"""How many of a worker's calls may still log, from threads that their bodies left behind."""

SMALL = 1 << 15
"""Bytes of a call that the line to an idle worker takes at once, without waiting for it."""

PROGRAM = """\
import sys
sys.path[:] = {path!r}
sys.argv[:] = {argv!r}
from fastapi_taskflow.execution.processes.worker import main
main({descriptor})
"""


class Listener:
    """Hears what an attempt logs, for as long as threads of it may be left in the worker.

    Args:
        emitter: The attempt's voice here.
    """

    def __init__(self, emitter: TaskEmitter) -> None:
        self._emitter = emitter
        self._context = copy_context()

    def hear(self, message: Logged | Captured) -> None:
        """Pass on what was logged, in the task's context variables."""
        try:
            self._context.run(relay, self._emitter, message)
        except BaseException as error:  # noqa: BLE001  # no line is worth a worker
            let_pass(error)
            report("an entry of a worker process failed and is lost", error)


class Call:
    """An attempt on its way to a worker, and its outcome's way back.

    Attributes:
        job: The attempt.
        listener: Hears what it logs.
        began: Done when the body begins, or never will.
        outcome: How it ended.
        has_begun: Whether the body has begun.
        is_abandoned: Whether nobody waits for it any more.
        worker: Who has it, if anybody.
    """

    def __init__(self, job: Job, emitter: TaskEmitter, slots: Slots) -> None:
        loop = asyncio.get_running_loop()
        self.job = job
        self.listener = Listener(emitter)
        self.began: asyncio.Future[None] = loop.create_future()
        self.outcome: asyncio.Future[Outcome] = loop.create_future()
        self.has_begun = False
        self.is_abandoned = False
        self.worker: WorkerProcess | None = None
        self._slots = slots

    def begin(self) -> None:
        """The body begins."""
        self.has_begun = True
        self._resolve(self.began, None)

    def end(self, outcome: Outcome) -> None:
        """The body has ended, or never will begin."""
        self._slots.release()
        self._resolve(self.began, None)
        self._resolve(self.outcome, outcome)

    def abandon(self) -> None:
        """Have the worker end that has the call, if any has."""
        self.is_abandoned = True
        if self.worker is not None:
            self.worker.end(self)

    def _resolve(self, future: asyncio.Future[Any], value: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            future.get_loop().call_soon_threadsafe(_set, future, value)


def _set(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)


class Employer(Protocol):
    """Whom a worker tells of its work. Called in the worker's thread."""

    def free(self, worker: WorkerProcess) -> None:
        """The worker has nothing to do."""

    def retire(self, worker: WorkerProcess) -> bool:
        """Whether the worker, idle for long, may end: nobody will give it a call any more."""

    def gone(self, worker: WorkerProcess, call: Call | None) -> bool:
        """The worker has ended. Returns whether the call, which never began, goes to another."""


class WorkerProcess:
    """A worker process, and the thread that listens to it.

    Args:
        employer: Gives the employer, or None where that is no more.
    """

    def __init__(self, employer: Callable[[], Employer | None]) -> None:
        self._employer = employer
        self._guard = threading.Lock()
        self._wire: Wire | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._call: Call | None = None
        self._recent: OrderedDict[int, Listener] = OrderedDict()
        self._number = 0
        self._ending = False
        self.is_gone = threading.Event()

    @property
    def pid(self) -> int | None:
        """The process's id, once it is started."""
        return None if self._process is None else self._process.pid

    def take(self, call: Call) -> bool:
        """Make a call. Returns whether it can; the worker must be new, or idle.

        Raises:
            RuntimeError: The system has no more threads.
        """
        with self._guard:
            if self._ending:
                return False
            self._number += 1
            call.job = call.job._replace(number=self._number)
            call.worker = self
            self._call = call
            self._recent[self._number] = call.listener
            if len(self._recent) > RECENT_LISTENERS:
                self._recent.popitem(last=False)
            wire = self._wire
        try:
            self._pass_on(wire, call)
        except RuntimeError:
            self._call = None
            self.is_gone.set()
            raise
        if call.is_abandoned:  # while it had no worker
            self.end(call)
        return True

    def _pass_on(self, wire: Wire | None, call: Call) -> None:
        if wire is None:
            name = "fastapi_taskflow-worker"
            threading.Thread(target=self._serve, name=name, daemon=True).start()
        elif len(call.job.payload.data) < SMALL:
            self._send(wire, call.job)
        else:  # the line takes no more than the worker reads, and a loop must not wait for that
            name, arguments = "fastapi_taskflow-call", (wire, call.job)
            threading.Thread(target=self._send, args=arguments, name=name, daemon=True).start()

    def end(self, call: Call | None = None) -> None:
        """Have the process end: its body's ``finally`` blocks get a moment, then it is killed.

        Args:
            call: Do so only while the worker has this call.
        """
        with self._guard:
            if self._ending or (call is not None and call is not self._call):
                return
        self.hang_up()
        with contextlib.suppress(RuntimeError):  # at the interpreter's exit; see the pool's close
            killer = threading.Timer(END_SECONDS, self.kill)
            killer.daemon = True
            killer.start()

    def hang_up(self) -> None:
        """Tell the process to end."""
        with self._guard:
            self._ending = True
            if self._wire is not None:
                self._wire.hang_up()

    def kill(self) -> None:
        """End the process now."""
        if self._process is not None:
            self._process.kill()

    def forget(self) -> None:
        """Let go of the process, in a forked child: it is the parent's."""
        if self._wire is not None:
            self._wire.close()
        if self._process is not None and self._process.returncode is None:
            self._process.returncode = 0  # nobody shall wait for it here

    # In the worker's thread

    def _serve(self) -> None:
        try:
            wire = self._start()
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits
            self._leave(WorkerStartError(self._name, f"{type(error).__name__}: {error}"))
            return
        if self._call is not None:
            self._send(wire, self._call.job)
        try:
            self._listen(wire)
        except (EOFError, OSError):
            pass
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits
            report("a worker process said what can't be understood, and is ended", error)
        self._reap(wire)

    @property
    def _name(self) -> str:
        return "" if self._call is None else self._call.job.name

    def _start(self) -> Wire:
        """Start the process, the signals of its group blocked until it has handlers for them."""
        ours, theirs = socket.socketpair()
        with theirs:
            program = PROGRAM.format(
                path=[*map(os.fspath, sys.path)], argv=sys.argv, descriptor=theirs.fileno()
            )
            flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001  # as multiprocessing does
            before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            try:
                process = subprocess.Popen(
                    [sys.executable, *flags, "-c", program],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
            except BaseException:
                ours.close()
                raise
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        wire = Wire(ours)
        with self._guard:
            self._process, self._wire = process, wire
            if self._ending:
                wire.hang_up()
        return wire

    def _send(self, wire: Wire, job: Job) -> None:
        with contextlib.suppress(OSError):  # the process has ended, as the listener sees
            wire.send(job)

    def _listen(self, wire: Wire) -> None:
        while True:
            message = wire.receive(IDLE_SECONDS if self._call is None else None)
            if message is None:
                employer = self._employer()
                if self._call is None and (employer is None or employer.retire(self)):
                    self.end()
            else:
                self._hear(message)
            del message  # an idle worker must not keep a task's result alive

    def _hear(self, message: Message) -> None:
        if isinstance(message, (Logged, Captured)):
            listener = self._recent.get(message.number)
            if listener is not None:
                listener.hear(message)
        elif self._call is not None and isinstance(message, Began):
            self._call.begin()
        elif not isinstance(message, Began):
            self._end_call(_outcome_of(self._name, message))

    def _end_call(self, outcome: Outcome) -> None:
        with self._guard:
            call, self._call = self._call, None
            is_free = not self._ending
        employer = self._employer()
        if is_free and employer is not None:
            employer.free(self)  # before the slot is: whoever gets that looks for an idle worker
        if call is not None:
            call.end(outcome)

    def _reap(self, wire: Wire) -> None:
        """See the process off, whose end of the line is closed."""
        process = self._process
        if process is None:
            return
        try:
            exit_code = process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            exit_code = process.wait()
        wire.close()
        if exit_code < 0 or (self._call is not None and self._call.has_begun):
            self._leave(WorkerLostError(self._name, exit_code))
        else:
            reason = f"it {exit_text(exit_code)} before the task began"
            self._leave(WorkerStartError(self._name, reason))

    def _leave(self, error: Exception) -> None:
        with self._guard:
            call, self._call = self._call, None
            is_spare = not self._ending and self._number > 1
            self._ending = True
        employer = self._employer()
        is_spare = is_spare and call is not None and not call.has_begun
        taken_over = employer is not None and employer.gone(self, call if is_spare else None)
        self.is_gone.set()
        if call is not None and not taken_over:
            call.end(Outcome(error=error))


def _outcome_of(name: str, message: Returned | Raised) -> Outcome:
    if isinstance(message, Raised):
        return Outcome(error=unpack_error(message.error), remote=message.error.trace)
    try:
        return Outcome(loads(message.result))
    except Exception as error:  # noqa: BLE001  # the result's own code
        return Outcome(error=TaskResultError(name, f"{type(error).__name__}: {text_of(error)}"))
