"""What runs in a worker process: one body after the other, until the line is cut."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from types import FrameType
from typing import Any

from fastapi_taskflow.context import active_task
from fastapi_taskflow.errors import TaskResultError
from fastapi_taskflow.execution.call import run_body
from fastapi_taskflow.execution.processes.packed_error import pack_error
from fastapi_taskflow.execution.processes.packing import dumps, unpack_call
from fastapi_taskflow.execution.processes.voice import ReportHandler, WorkerEmitter
from fastapi_taskflow.execution.processes.wire import Began, Job, Message, Raised, Returned, Wire
from fastapi_taskflow.execution.span import within_remote_span
from fastapi_taskflow.loggers.birth import text_of
from fastapi_taskflow.loggers.branch import Branch
from fastapi_taskflow.loggers.capture import Capture
from fastapi_taskflow.loggers.prints import prints_logged, prints_shown
from fastapi_taskflow.records import LIBRARY

END_SECONDS = 0.5
"""How long a body may take for its ``finally`` blocks once its worker is told to end."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""The signals that a group of processes gets as a whole. What follows is decided above."""


class WorkerEndedError(KeyboardInterrupt):
    """Raised in a body whose worker is told to end, so that its ``finally`` blocks run.

    As Ctrl-C's error it goes through ``task_log()``, and whatever else keeps the body's errors.
    """


def main(descriptor: int) -> None:
    """Serve the other end of a socket, which was inherited, until it is closed there."""
    multiprocessing.current_process().name = "fastapi_taskflow-worker"  # records say so
    # Else what a body starts by os.system() would hold the line as long as it lives.
    os.set_inheritable(descriptor, False)  # noqa: FBT003  # it takes no keywords
    wire = Wire(socket.socket(fileno=descriptor))
    os.register_at_fork(after_in_child=wire.close)  # else it would be open as long as the child
    worker = Worker(wire)
    for number in SIGNALS:
        # A handler that does nothing: to ignore the signal would be inherited by what a body runs.
        signal.signal(number, worker.on_signal)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    worker.serve()


class Worker:
    """Runs bodies in the main thread, while another one listens.

    Args:
        wire: The line to the process that the tasks belong to.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._branch = Branch((), propagate=False)
        self._reports = ReportHandler(self._send)
        self._in_body = False
        self._ending = False
        self._is_told = False

    def serve(self) -> None:
        """Do jobs until there are no more."""
        logging.getLogger(LIBRARY).addHandler(self._reports)
        threading.Thread(target=self._listen, name="fastapi_taskflow-wire", daemon=True).start()
        with contextlib.suppress(WorkerEndedError):
            while (job := self._jobs.get()) is not None:
                self._do(job)

    def _listen(self) -> None:
        """Take jobs. The end of the line is the end of this process, whatever it is doing."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._jobs.put(self._wire.receive())
        self._ending = True
        self._jobs.put(None)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        time.sleep(END_SECONDS)
        os._exit(1)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """End the body that runs, if that is what the signal was sent for."""
        self._end_body()

    def _end_body(self) -> None:
        """Raise in the body that it ends, once: what it does then for its end is left alone."""
        if self._ending and self._in_body and not self._is_told:
            self._is_told = True
            raise WorkerEndedError

    def _send(self, message: Message) -> None:
        if threading.current_thread() is threading.main_thread():
            self._send_whole(message)
        else:
            self._send_on(message)

    def _send_whole(self, message: Message) -> None:
        """Send it, and no signal cuts it short: what comes behind it could not be read."""
        in_body, self._in_body = self._in_body, False
        try:
            self._send_on(message)
        finally:
            self._in_body = in_body
        self._end_body()

    def _send_on(self, message: Message) -> None:
        with contextlib.suppress(OSError):  # nobody is there any more, and this process ends
            self._wire.send(message)

    def _do(self, job: Job) -> None:
        self._reports.number = job.number
        self._send(self._outcome(job))
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # whatever has been put there
                stream.flush()

    def _outcome(self, job: Job) -> Message:
        try:
            call, args, kwargs = unpack_call(job.name, job.payload)
            self._send(Began(job.number))
            result = copy_context().run(self._run, job, partial(call, *args, **kwargs))
            return Returned(job.number, _packed(job, result))
        except WorkerEndedError:
            raise
        except BaseException as error:  # noqa: BLE001  # the task's own code
            return Raised(job.number, pack_error(error))

    def _run(self, job: Job, call: Callable[[], Any]) -> Any:
        """Run a body as a thread would, with a voice that reaches the other process."""
        emitter = WorkerEmitter(self._branch, job, self._send)
        active_task.set(emitter)
        for name, level in job.levels.items():
            logging.getLogger(name).setLevel(level)
        with (
            within_remote_span(job.span),
            Capture(job.captured, self._branch).listening(),
            prints_logged(emitter) if job.log_prints else prints_shown(),
        ):
            self._in_body = True
            try:
                self._end_body()
                return run_body(call)
            finally:
                self._in_body = False
                emitter.settle_progress()


def _packed(job: Job, result: object) -> bytes:
    try:
        return dumps(result)
    except Exception as error:
        reason = f"{type(result).__name__}: {type(error).__name__}: {text_of(error)}"
        raise TaskResultError(job.name, reason) from error
