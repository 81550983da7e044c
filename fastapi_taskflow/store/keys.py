"""Idempotency keys: of all processes on a database, one task has a key at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.store.base import MAY_RUN_AGAIN
from fastapi_taskflow.store.record import TaskRecord
from fastapi_taskflow.store.schema import RUNS_AGAIN, keys, tasks


def retry_key(task_id: str) -> str:
    """The key that says that a task was retried. It is for the life of that task's row."""
    return f"retry of {task_id}"


def take_keys(connection: Connection, records: Iterable[TaskRecord]) -> dict[str, str]:
    """Take the idempotency keys of new records, within the transaction that adds them.

    Returns:
        The records whose key is in use: the id of the task that has it, by their id.
    """
    taken = {}
    for record in records:
        if record.idempotency_key is not None:
            holder = _take(connection, record.idempotency_key, record.task_id)
            if holder != record.task_id:
                taken[record.task_id] = holder
    return taken


def _take(connection: Connection, key: str, task_id: str) -> str:
    """Take a key for a task. Returns which task has it now."""
    while True:
        found = _holder(connection, key)
        if found is None:
            if insert_key(connection, key, task_id):
                return task_id
        elif _is_kept(found):
            return str(found.task_id)
        elif _replaced(connection, key, found.task_id, task_id):
            return task_id


def _is_kept(holder: Any) -> bool:
    """Whether a key is still that of the task that has it."""
    if holder.status is None:
        return False
    return bool(holder.runs_again) or TaskStatus(holder.status) not in MAY_RUN_AGAIN


def _holder(connection: Connection, key: str) -> Any:
    """The task that has a key: its id, its status, None if it was deleted, and ``runs_again``."""
    columns = (keys.c.task_id, tasks.c.status, RUNS_AGAIN.label("runs_again"))
    chosen = select(*columns).select_from(keys.outerjoin(tasks, keys.c.task_id == tasks.c.task_id))
    return connection.execute(chosen.where(keys.c.idempotency_key == key)).first()


def insert_key(connection: Connection, key: str, task_id: str) -> bool:
    """Take a free key. Another process that takes it just now is waited for.

    Returns:
        Whether it was free.
    """
    try:
        with connection.begin_nested():
            connection.execute(keys.insert(), {"idempotency_key": key, "task_id": task_id})
    except IntegrityError:
        return False
    return True


def _replaced(connection: Connection, key: str, before: str, task_id: str) -> bool:
    """Whether the key was still that of the task before."""
    own = keys.update().where(keys.c.idempotency_key == key, keys.c.task_id == before)
    return connection.execute(own.values(task_id=task_id)).rowcount == 1
