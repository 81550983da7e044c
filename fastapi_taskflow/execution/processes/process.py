"""One worker process, as the process sees it that started it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from fastapi_taskflow.errors import (
    WorkerLostError,
    WorkerStartError,
    exit_text,
)
from fastapi_taskflow.execution.processes.calls import Call, Listener, outcome_of
from fastapi_taskflow.execution.processes.wire import (
    Began,
    Captured,
    Job,
    Logged,
    Message,
    Progressed,
    Wire,
)
from fastapi_taskflow.execution.processes.worker import END_SECONDS, SIGNALS
from fastapi_taskflow.execution.threads import Outcome
from fastapi_taskflow.loggers.birth import report

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
        self._guard = threading.RLock()  # the garbage collector may hang up, anywhere
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
            self.hang_up()  # at once: the worker may be given another call just now
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
        if isinstance(message, (Logged, Captured, Progressed)):
            listener = self._recent.get(message.number)
            if listener is not None:
                listener.hear(message)
        elif self._call is not None and isinstance(message, Began):
            self._call.begin()
        elif not isinstance(message, Began):
            self._end_call(outcome_of(self._name, message))

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
