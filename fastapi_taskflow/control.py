"""What people do to tasks: cancel them, run them again, delete them; and the trail of that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from fastapi_taskflow.checks import Seconds, seconds, whole_number
from fastapi_taskflow.engine import TaskEngine
from fastapi_taskflow.errors import (
    ConfigurationTypeError,
    DecryptionError,
    NotRetriableError,
    StoredArgumentsError,
    StoreError,
    TaskArgumentError,
    TaskEndedError,
    TaskNotFoundError,
)
from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.execution.arguments import unpack_arguments
from fastapi_taskflow.execution.options import TaskFunction
from fastapi_taskflow.execution.vault import Vault
from fastapi_taskflow.loggers.ledger import Diagnostics
from fastapi_taskflow.records import LIBRARY
from fastapi_taskflow.registry import TaskRegistry
from fastapi_taskflow.store import TaskRecord, TaskStore
from fastapi_taskflow.store.audit import AuditEntry

CANCELLED = "it was cancelled by task_manager.cancel()"

STORE_SECONDS = 5.0
"""How long the database may take until what was done lasts."""

OTHERS_SECONDS = 2.0
"""How long another process may take to cancel a task; it looks every second."""

TURN_SECONDS = 0.05
"""Seconds between two looks at whether it has."""

BATCH = 100
"""Tasks that are retried at a time."""

NAMED_IDS = 1000
"""The most new tasks that an entry of the trail names."""

RETRIED_BEFORE = "it was retried before"

_log = Diagnostics(f"{LIBRARY}.store")


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of tasks that were to be retried.

    Attributes:
        retried: The new tasks' ids, by the ids of those they repeat.
        skipped: Why the others are not retried, by their ids.
    """

    retried: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


class _Call(NamedTuple):
    """What a task calls, to be called once more."""

    function: TaskFunction
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tags: dict[str, str]


class Control:
    """Does to tasks what people ask for.

    Args:
        engine: What runs the tasks of this process.
        store: What is known of all of them.
        registry: The functions that can run here.
        vault: What opens stored arguments.
        redact: Takes secrets out of a text.
    """

    def __init__(
        self,
        engine: TaskEngine,
        store: TaskStore,
        registry: TaskRegistry,
        vault: Vault,
        redact: Callable[[str], str],
    ) -> None:
        self._engine = engine
        self._store = store
        self._registry = registry
        self._vault = vault
        self._redact = redact

    # Cancel

    async def cancel(self, task_id: str, reason: str) -> TaskRecord:
        """Cancel a task that has not ended, wherever it is; see ``TaskManager.cancel()``."""
        if not isinstance(reason, str):
            raise ConfigurationTypeError("reason", reason, "a str")
        reason = self._redact(reason)
        self._engine.open()
        if self._engine.cancel(task_id, reason):
            await self._store.flush_async(STORE_SECONDS)
        else:
            await asyncio.to_thread(self._cancel_elsewhere, task_id)
        record = await asyncio.to_thread(self._known, task_id)
        await self._note("cancel", task_id, reason=reason, status=record.status.value)
        return record

    def _cancel_elsewhere(self, task_id: str) -> None:
        """Ask another process to cancel its task, and wait a little for that."""
        record = self._found(task_id)
        if record.status.is_final:
            raise TaskEndedError(task_id, record.status.value)
        self._store.request_cancel(task_id)
        deadline = time.monotonic() + OTHERS_SECONDS
        while not (record := self._found(task_id)).status.is_final:
            if time.monotonic() > deadline:
                return
            time.sleep(TURN_SECONDS)
        if record.status is not TaskStatus.CANCELLED:
            raise TaskEndedError(task_id, record.status.value)

    # Retry

    async def retry(self, task_id: str) -> TaskRecord:
        """Run an ended task's call again; see ``TaskManager.retry()``."""
        self._engine.open()
        call = await asyncio.to_thread(self._call_of, task_id)
        claimed = await asyncio.to_thread(self._store.history.claim_retries, [task_id])
        try:
            new_id, execution = await self._engine.enqueue(
                call.function, call.args, call.kwargs, tags=call.tags, idempotency_key=None
            )
        except BaseException as error:
            if claimed:
                await asyncio.to_thread(self._store.history.release_retry, task_id)
            if isinstance(error, TaskArgumentError):
                raise NotRetriableError(task_id, str(error)) from error
            raise
        assert execution is not None  # there is no key that another task could have
        self._engine.run_soon(execution)
        await self._note("retry", task_id, new=new_id)
        return await asyncio.to_thread(self._known, new_id)

    async def retry_many(self, task_ids: Iterable[str]) -> Retried:
        """Retry those that are not retried yet; see ``TaskManager.retry_many()``."""
        if isinstance(task_ids, (str, bytes)) or not isinstance(task_ids, Iterable):
            raise ConfigurationTypeError("task_ids", task_ids, "a list of ids")
        self._engine.open()
        return await self._retry_all(list(dict.fromkeys(task_ids)), "bulk-retry")

    async def retry_failed(self, since: Seconds | None, func_name: str | None) -> Retried:
        """Retry what has failed, or was interrupted; see ``TaskManager.retry_failed()``."""
        after = None if since is None else _ago("since", since)
        self._engine.open()
        failed = (TaskStatus.FAILED, TaskStatus.INTERRUPTED)
        ids = await asyncio.to_thread(self._store.history.ended, failed, after, func_name)
        window = None if after is None else after.isoformat()
        return await self._retry_all(ids, "retry-failed", since=window, func_name=func_name)

    async def _retry_all(self, task_ids: list[str], action: str, **detail: Any) -> Retried:
        done = Retried()
        try:
            for batch in _batches(task_ids):
                await self._retry_batch(batch, done)
        finally:  # whatever stops it half way: what was done is noted
            counts = {"retried": len(done.retried), "skipped": len(done.skipped)}
            new = dict(islice(done.retried.items(), NAMED_IDS))
            await self._note(action, None, **detail, **counts, new=new)
        await self._store.flush_async(STORE_SECONDS)
        return done

    async def _retry_batch(self, task_ids: list[str], done: Retried) -> None:
        history = self._store.history
        calls = await asyncio.to_thread(self._calls_of, task_ids, done.skipped)
        claimed = await asyncio.to_thread(history.claim_retries, list(calls))
        done.skipped.update(dict.fromkeys(calls.keys() - claimed, RETRIED_BEFORE))
        try:
            for task_id in [task_id for task_id in calls if task_id in claimed]:
                try:
                    done.retried[task_id] = self._again(calls[task_id])
                except TaskArgumentError as error:
                    done.skipped[task_id] = str(error)
        finally:  # whatever stops it half way: who comes later can retry the rest
            for task_id in claimed - done.retried.keys():
                await asyncio.to_thread(history.release_retry, task_id)

    def _again(self, call: _Call) -> str:
        task_id, execution = self._engine.accept(
            call.function, call.args, call.kwargs, tags=call.tags, idempotency_key=None
        )
        assert execution is not None  # as above
        self._engine.run_soon(execution)
        return task_id

    def _calls_of(self, task_ids: list[str], skipped: dict[str, str]) -> dict[str, _Call]:
        """What tasks call, and why some are skipped."""
        calls = {}
        for task_id in task_ids:
            try:
                calls[task_id] = self._call_of(task_id)
            except NotRetriableError as error:
                skipped[task_id] = error.reason
            except TaskNotFoundError as error:
                skipped[task_id] = str(error)
        return calls

    def _call_of(self, task_id: str) -> _Call:
        """What a task calls: from memory, or as it is stored.

        Raises:
            TaskNotFoundError: There is none of this id.
            NotRetriableError: It can't be called again; the message says why.
        """
        record = self._found(task_id)
        if not record.status.is_final:
            raise NotRetriableError(task_id, f"it has not ended: it is {record.status.value}")
        function = self._registry.named(record.func_name)
        if function is None:
            reason = (
                f"no function is registered here as {record.func_name!r}; "
                "@task_manager.task() registers one"
            )
            raise NotRetriableError(task_id, reason)
        args, kwargs = self._arguments(record, function)
        return _Call(function, args, kwargs, record.tags)

    def _arguments(
        self, record: TaskRecord, function: TaskFunction
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not self._store.is_durable:
            return record.args, record.kwargs
        if record.packed is None:
            raise NotRetriableError(record.task_id, "its arguments are not stored")
        try:
            return unpack_arguments(function, self._vault.unseal(record.packed))
        except (StoredArgumentsError, DecryptionError) as error:
            raise NotRetriableError(record.task_id, str(error)) from error

    # History

    async def delete_history(self, older_than: Seconds) -> int:
        """Delete tasks that ended so long ago; see ``TaskManager.delete_history()``."""
        before = _ago("older_than", older_than)
        self._engine.open()
        count = await asyncio.to_thread(self._store.history.delete, before)
        await self._note("delete-history", None, before=before.isoformat(), deleted=count)
        return count

    def audit(self, limit: int, before: int | None) -> list[AuditEntry]:
        """What people have done; see ``TaskManager.audit()``."""
        whole_number("limit", limit, minimum=1)
        if before is not None:
            whole_number("before", before, minimum=1)
        self._engine.open()
        return self._store.history.audit(limit, before)

    async def _note(self, action: str, task_id: str | None, **detail: Any) -> None:
        """Note what was done. It stays done where it can't be noted."""
        try:
            await asyncio.to_thread(self._store.history.add_audit, action, task_id, detail)
        except StoreError as error:
            _log.error("%s of %s is not in the audit trail: %s", action, task_id, error)

    def _known(self, task_id: str) -> TaskRecord:
        """A record with its logs."""
        return self._store.get(task_id) or self._found(task_id)

    def _found(self, task_id: str) -> TaskRecord:
        record = self._store.find(task_id)
        if record is None:
            raise TaskNotFoundError(task_id)
        return record


def _ago(name: str, given: Seconds) -> datetime:
    """The time so long ago."""
    try:
        return datetime.now(UTC) - timedelta(seconds=seconds(name, given))
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _batches(task_ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(task_ids), BATCH):
        yield task_ids[start : start + BATCH]
