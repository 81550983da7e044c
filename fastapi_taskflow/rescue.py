"""Tasks of processes that are dead: which of them run again here, and which have ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fastapi_taskflow.context import TaskContext
from fastapi_taskflow.errors import ConfigurationError, DecryptionError, StoredArgumentsError
from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.execution.arguments import unpack_arguments
from fastapi_taskflow.execution.execution import Execution
from fastapi_taskflow.execution.options import TaskFunction
from fastapi_taskflow.execution.transitions import Progress
from fastapi_taskflow.execution.vault import Vault, is_sealed
from fastapi_taskflow.loggers.branch import Branch
from fastapi_taskflow.loggers.emit import TaskEmitter
from fastapi_taskflow.loggers.order import EventOrder
from fastapi_taskflow.registry import TaskRegistry
from fastapi_taskflow.store import TaskRecord, TaskStore
from fastapi_taskflow.store.base import Fate

PROCESS_GONE = "its process ended before the task had"

CANCELLED_LATE = "it was cancelled by a request to another process; its own one is gone"


class Rescue:
    """Takes over tasks whose process is dead. Its methods may be called by any thread.

    Args:
        registry: The functions that can run here.
        store: Where the records are.
        branch: Where their news goes.
        vault: What opens their arguments.
        requeue_pending: Whether all that had not begun runs again.
        can_run: Whether there is a loop to run tasks on.
        run: Runs one on it.
    """

    def __init__(
        self,
        registry: TaskRegistry,
        store: TaskStore,
        branch: Branch,
        vault: Vault,
        *,
        requeue_pending: bool,
        can_run: Callable[[], bool],
        run: Callable[[Execution], None],
    ) -> None:
        self._registry = registry
        self._store = store
        self._branch = branch
        self._vault = vault
        self._requeue_pending = requeue_pending
        self._can_run = can_run
        self._run = run

    def check_keys(self) -> None:
        """Refuse keys that don't open what is to run here, or nothing of what is stored.

        Without a key, ended tasks are passed over: their results are shown as encrypted.

        Raises:
            ConfigurationError: So it is.
            StoreError: The database can't be read now.
        """
        samples = self._store.samples()
        for record in self._known(samples.left):
            packed, function = record.packed or "", self._registry.named(record.func_name)
            if not self._vault.opens(packed) and self._runs_again(record, function):
                raise self._wrong_key(f"{record.func_name} [{record.task_id}], which is to run")
        newest = self._known(samples.newest)
        texts = [text for each in newest for text in (each.packed, each.packed_result) if text]
        sealed = [text for text in texts if is_sealed(text)]
        if self._vault.encrypts and sealed and not any(map(self._vault.opens, sealed)):
            raise self._wrong_key("any of the newest ones")

    def _known(self, records: list[TaskRecord]) -> list[TaskRecord]:
        """Those of functions of this app: another one on the database has its own keys."""
        return [record for record in records if self._registry.named(record.func_name) is not None]

    def _wrong_key(self, which: str) -> ConfigurationError:
        expected = (
            "the key that the tasks in the database are encrypted with: "
            f"this does not open {which}; give that key too, after the one for new tasks"
        )
        given = "***" if self._vault.encrypts else None
        return ConfigurationError("encrypt_args_key", given, expected)

    def decide(self, record: TaskRecord) -> Fate:
        """What becomes of a task that its process has left like this.

        What may run again, but not here, is left to a process that knows its function.
        """
        if record.cancel_requested:
            return Fate.CANCEL
        function = self._registry.named(record.func_name)
        again = self._runs_again(record, function)
        if again and record.packed is not None:
            return Fate.AGAIN if function is not None and self._can_run() else Fate.LEAVE
        return Fate.LEAVE if record.status is TaskStatus.INTERRUPTED else Fate.INTERRUPT

    def take(self, record: TaskRecord, fate: Fate) -> None:
        """See to a task that was taken over."""
        if fate is Fate.AGAIN or record.status is TaskStatus.INTERRUPTED:
            again = TaskStatus.PENDING
            record = replace(record, status=again, end_time=None, duration=None, error=None)
        self._store.take_over(record)
        progress = self._progress(record)
        if fate is Fate.CANCEL:
            progress.cancel(CANCELLED_LATE)
            return
        function = self._registry.named(record.func_name)
        if fate is Fate.INTERRUPT or function is None or record.packed is None:
            progress.interrupt(PROCESS_GONE)
            return
        try:
            args, kwargs = unpack_arguments(function, self._vault.unseal(record.packed))
        except (StoredArgumentsError, DecryptionError) as error:
            progress.interrupt(str(error))
            return
        self._run(Execution(function, args, kwargs, progress, outlives=True))

    def _runs_again(self, record: TaskRecord, function: TaskFunction | None) -> bool:
        """Whether it does, by what is said of its function here, or was said where it began."""
        options = record if function is None else function.options
        if record.start_time is None:
            waits = record.status is TaskStatus.PENDING
            return waits and (self._requeue_pending or options.persist)
        return options.requeue_on_interrupt

    def _progress(self, record: TaskRecord) -> Progress:
        context = TaskContext(record.task_id, record.func_name, record.attempt, record.tags)
        entries = self._store.entries(record.task_id) or []
        # Its RUNNING, if there was one, had 0.
        last = max((entry.seq for entry in entries if entry.seq is not None), default=0)
        order = EventOrder(last + 1)
        emitter = TaskEmitter(self._branch, context, order, self._branch.new_budget())
        return Progress(self._store, emitter, record.start_time)
