"""Managed background tasks for FastAPI, whose every line and status is a ``logging`` record."""

from importlib import import_module
from typing import TYPE_CHECKING

from fastapi_taskflow.context import TaskContext, bind_task_context, get_task_context
from fastapi_taskflow.errors import (
    ConfigurationError,
    ConfigurationTypeError,
    DecryptionError,
    LogFileError,
    NotRetriableError,
    RemoteError,
    RunningLoopError,
    ShuttingDownError,
    StoredArgumentsError,
    StoreError,
    StoreUnavailableError,
    TaskArgumentError,
    TaskEndedError,
    TaskflowError,
    TaskNotFoundError,
    TaskResultError,
    TaskTimeoutError,
    UnstorableArgumentError,
    WatchOverflowError,
    WorkerLoadError,
    WorkerLostError,
    WorkerStartError,
)
from fastapi_taskflow.events import (
    LifecycleEvent,
    LogEvent,
    ProgressEvent,
    TaskProgress,
    TaskStatus,
)
from fastapi_taskflow.execution.progress import task_progress
from fastapi_taskflow.filters import RedactFilter, TaskContextFilter
from fastapi_taskflow.formatters import TaskFormatter, TaskJsonFormatter
from fastapi_taskflow.handlers import ObserverHandler
from fastapi_taskflow.loggers import (
    FileLogger,
    InMemoryLogger,
    StdoutLogger,
    TaskObserver,
    task_log,
)
from fastapi_taskflow.loggers.ledger import ObserverStats

if TYPE_CHECKING:
    from fastapi_taskflow.admin import TaskAdmin
    from fastapi_taskflow.background import ManagedBackgroundTasks
    from fastapi_taskflow.control import Retried
    from fastapi_taskflow.manager import TaskManager
    from fastapi_taskflow.store.audit import AuditEntry
    from fastapi_taskflow.store.chosen import SqlStore
    from fastapi_taskflow.store.record import LogEntry, TaskRecord
else:
    # What runs tasks brings FastAPI and pydantic: it is imported when it is first named, so that
    # a worker process, and a module that only logs, begin without them (PEP 562). Type checkers
    # don't see this, as they would take any name for one of these.
    _LATE = {
        "AuditEntry": "store.audit",
        "LogEntry": "store.record",
        "ManagedBackgroundTasks": "background",
        "Retried": "control",
        "SqlStore": "store.chosen",
        "TaskAdmin": "admin",
        "TaskManager": "manager",
        "TaskRecord": "store.record",
    }

    def __getattr__(name: str) -> object:
        """Import what is imported when it is first named."""
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
        return value

    def __dir__() -> list[str]:
        """All names, imported or not."""
        return sorted({*globals(), *_LATE})


__version__ = "0.1.0"

__all__ = [
    "AuditEntry",
    "ConfigurationError",
    "ConfigurationTypeError",
    "DecryptionError",
    "FileLogger",
    "InMemoryLogger",
    "LifecycleEvent",
    "LogEntry",
    "LogEvent",
    "LogFileError",
    "ManagedBackgroundTasks",
    "NotRetriableError",
    "ObserverHandler",
    "ObserverStats",
    "ProgressEvent",
    "RedactFilter",
    "RemoteError",
    "Retried",
    "RunningLoopError",
    "ShuttingDownError",
    "SqlStore",
    "StdoutLogger",
    "StoreError",
    "StoreUnavailableError",
    "StoredArgumentsError",
    "TaskAdmin",
    "TaskArgumentError",
    "TaskContext",
    "TaskContextFilter",
    "TaskEndedError",
    "TaskFormatter",
    "TaskJsonFormatter",
    "TaskManager",
    "TaskNotFoundError",
    "TaskObserver",
    "TaskProgress",
    "TaskRecord",
    "TaskResultError",
    "TaskStatus",
    "TaskTimeoutError",
    "TaskflowError",
    "UnstorableArgumentError",
    "WatchOverflowError",
    "WorkerLoadError",
    "WorkerLostError",
    "WorkerStartError",
    "bind_task_context",
    "get_task_context",
    "task_log",
    "task_progress",
]
