"""The tables, defined once for every dialect, and their version."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Dialect,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)

SCHEMA_VERSION = 1


class UtcMicroseconds(TypeDecorator[datetime]):
    """An aware time, kept as whole microseconds since 1970 in UTC: exact, and sortable."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """An aware time as a number."""
        if value is None:
            return None
        since = value - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """A number as an aware time."""
        if value is None:
            return None
        whole, rest = divmod(value, 1_000_000)
        return datetime.fromtimestamp(whole, tz=UTC).replace(microsecond=rest)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

metadata = MetaData()

versions = Table("taskflow_schema", metadata, Column("version", Integer, primary_key=True))

tasks = Table(
    "taskflow_tasks",
    metadata,
    Column("task_id", String(36), primary_key=True),
    Column("func_name", String(255), nullable=False),
    Column("status", String(16), nullable=False),
    Column("tags", JSON, nullable=False),
    Column("idempotency_key", String(255)),
    Column("created_at", UtcMicroseconds, nullable=False),
    Column("start_time", UtcMicroseconds),
    Column("end_time", UtcMicroseconds),
    Column("duration", Float),
    Column("attempt", Integer, nullable=False),
    Column("retries_used", Integer, nullable=False),
    Column("error", Text),
    Column("stacktrace", Text),
    Index("ix_taskflow_tasks_listing", "created_at", "task_id"),
    Index("ix_taskflow_tasks_status", "status"),
)

entries = Table(
    "taskflow_entries",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("task_id", String(36), nullable=False),
    Column("seq", Integer),
    Column("timestamp", UtcMicroseconds, nullable=False),
    Column("level", String(32), nullable=False),
    Column("message", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("extra", JSON, nullable=False),
    Index("ix_taskflow_entries_task", "task_id", "id"),
)
