"""A call that is made in a worker process, as the process sees it that the task belongs to."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import copy_context
from typing import Any, Protocol

from fastapi_taskflow.errors import TaskResultError
from fastapi_taskflow.execution.processes.packed_error import unpack_error
from fastapi_taskflow.execution.processes.packing import loads
from fastapi_taskflow.execution.processes.relay import relay
from fastapi_taskflow.execution.processes.wire import (
    Captured,
    Job,
    Logged,
    Progressed,
    Raised,
    Returned,
)
from fastapi_taskflow.execution.slots import Slots
from fastapi_taskflow.execution.threads import Outcome
from fastapi_taskflow.guard import let_pass
from fastapi_taskflow.loggers.birth import report, text_of
from fastapi_taskflow.loggers.emit import TaskEmitter


class Listener:
    """Hears what an attempt logs, for as long as threads of it may be left in the worker.

    Args:
        emitter: The attempt's voice here.
    """

    def __init__(self, emitter: TaskEmitter) -> None:
        self._emitter = emitter
        self._context = copy_context()

    def hear(self, message: Logged | Captured | Progressed) -> None:
        """Pass on what was logged, in the task's context variables."""
        try:
            self._context.run(relay, self._emitter, message)
        except BaseException as error:  # noqa: BLE001  # no line is worth a worker
            let_pass(error)
            report("an entry of a worker process failed and is lost", error)


class Holder(Protocol):
    """Who has a call."""

    def end(self, call: Call) -> None:
        """End with the call, unless that has ended."""


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
        self.worker: Holder | None = None
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


def outcome_of(name: str, message: Returned | Raised) -> Outcome:
    """How a task's body ended, as its worker says."""
    if isinstance(message, Raised):
        return Outcome(error=unpack_error(message.error), remote=message.error.trace)
    try:
        return Outcome(loads(message.result))
    except Exception as error:  # noqa: BLE001  # the result's own code
        return Outcome(error=TaskResultError(name, f"{type(error).__name__}: {text_of(error)}"))
