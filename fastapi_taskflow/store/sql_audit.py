"""What people have done to tasks, in a database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select

from fastapi_taskflow.store.audit import AuditEntry
from fastapi_taskflow.store.schema import audit


def add_entry(
    connection: Connection, action: str, task_id: str | None, detail: dict[str, Any]
) -> None:
    """Add an entry, of now, to the database."""
    at = datetime.now(UTC)
    row = {"at": at, "action": action, "task_id": task_id, "detail": detail}
    connection.execute(audit.insert(), row)


def newest_entries(connection: Connection, limit: int, before: int | None) -> list[AuditEntry]:
    """So many entries of the database, as ``MemoryTrail.newest()`` gives them."""
    columns = audit.c
    chosen = select(columns.id, columns.at, columns.action, columns.task_id, columns.detail)
    if before is not None:
        chosen = chosen.where(columns.id < before)
    rows = connection.execute(chosen.order_by(columns.id.desc()).limit(limit))
    return [AuditEntry(*row) for row in rows]
