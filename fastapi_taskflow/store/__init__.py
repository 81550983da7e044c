"""What is known of tasks: records in memory, and the database behind them."""

from fastapi_taskflow.store.base import Query, TaskStore, Totals
from fastapi_taskflow.store.memory import MemoryStore
from fastapi_taskflow.store.record import LogEntry, TaskRecord

__all__ = ["LogEntry", "MemoryStore", "Query", "TaskRecord", "TaskStore", "Totals"]
