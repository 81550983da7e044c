"""The tables, defined once for every dialect, and their version."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    and_,
    false,
    or_,
)

from fastapi_taskflow.store.types import (
    ExactText,
    JsonText,
    PlainText,
    ShortText,
    UtcMicroseconds,
    WholeText,
)

SCHEMA_VERSION = 3

metadata = MetaData()


def _table(name: str, *parts: Any) -> Table:
    return Table(name, metadata, *parts, mysql_engine="InnoDB", mariadb_engine="InnoDB")


def _number() -> Column[int]:
    """A row's number, in the order of writing; SQLite counts INTEGER only."""
    return Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=false())


versions = _table(
    "taskflow_schema", Column("version", Integer, primary_key=True, autoincrement=False)
)

tasks = _table(
    "taskflow_tasks",
    Column("task_id", ShortText(36), primary_key=True),
    Column("func_name", PlainText, nullable=False),
    Column("status", ShortText(16), nullable=False),
    Column("tags", JsonText, nullable=False),
    Column("idempotency_key", PlainText),
    Column("created_at", UtcMicroseconds, nullable=False),
    Column("start_time", UtcMicroseconds),
    Column("end_time", UtcMicroseconds),
    Column("duration", Double),
    Column("attempt", Integer, nullable=False),
    Column("retries_used", Integer, nullable=False),
    Column("error", PlainText),
    Column("stacktrace", PlainText),
    Column("owner", ShortText(36)),  # the process that runs it
    Column("args", WholeText),  # JSON, or an encrypted token
    Column("result", WholeText),  # JSON
    Column("progress_done", Double),
    Column("progress_total", Double),
    Column("progress_message", PlainText),
    _flag("cancel_requested"),
    _flag("persist"),
    _flag("requeue_on_interrupt"),
    Column("search", WholeText),  # see matching.searchable
    Index("ix_taskflow_tasks_listing", "created_at", "task_id"),
    Index("ix_taskflow_tasks_status", "status"),
    Index("ix_taskflow_tasks_owner", "owner", "status"),
    Index("ix_taskflow_tasks_ended", "owner", "end_time"),
)

UNFINISHED = tasks.c.status.in_(["pending", "running"])
"""The tasks that have not ended."""

RUNS_AGAIN = and_(
    tasks.c.status == "interrupted",
    tasks.c.requeue_on_interrupt.is_(True),
    tasks.c.start_time.is_not(None),  # else it had not begun, and was given up as that
)
"""The interrupted tasks that are to run again."""

LEFT = or_(UNFINISHED, RUNS_AGAIN)
"""What a process leaves behind that is not at its end, or is to run again."""

entries = _table(
    "taskflow_entries",
    _number(),
    Column("task_id", ShortText(36), nullable=False),
    Column("seq", Integer),
    Column("timestamp", UtcMicroseconds, nullable=False),
    Column("level", PlainText, nullable=False),
    Column("message", PlainText, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("extra", JsonText, nullable=False),
    Index("ix_taskflow_entries_task", "task_id", "id"),
)

# For queries; a record's tags as they were given are in its row.
tags = _table(
    "taskflow_tags",
    Column("task_id", ShortText(36), primary_key=True),
    Column("key", ExactText(255), primary_key=True),
    Column("value", ExactText(255), nullable=False),
    Index("ix_taskflow_tags_value", "key", "value"),
)

keys = _table(
    "taskflow_keys",
    Column("idempotency_key", ExactText(255), primary_key=True),
    Column("task_id", ShortText(36), nullable=False),
)

owners = _table(
    "taskflow_owners",
    Column("owner", ShortText(36), primary_key=True),
    Column("host", PlainText, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("born", BigInteger, nullable=False),  # the process's start: ids are used again
    Column("started_at", UtcMicroseconds, nullable=False),
    Column("heartbeat_at", UtcMicroseconds, nullable=False),
)

audit = _table(
    "taskflow_audit",
    _number(),
    Column("at", UtcMicroseconds, nullable=False),
    Column("action", ShortText(32), nullable=False),
    Column("task_id", ShortText(36)),
    Column("detail", JsonText, nullable=False),
    Index("ix_taskflow_audit_at", "at"),
)
