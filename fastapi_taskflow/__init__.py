"""Managed background tasks for FastAPI, whose every line and status is a ``logging`` record."""

from fastapi_taskflow.admin import TaskAdmin
from fastapi_taskflow.background import ManagedBackgroundTasks
from fastapi_taskflow.context import TaskContext, bind_task_context, get_task_context
from fastapi_taskflow.errors import (
    ConfigurationError,
    ConfigurationTypeError,
    DecryptionError,
    LogFileError,
    RunningLoopError,
    ShuttingDownError,
    StoredArgumentsError,
    StoreError,
    StoreUnavailableError,
    TaskArgumentError,
    TaskflowError,
    TaskNotFoundError,
    TaskTimeoutError,
    UnstorableArgumentError,
    WatchOverflowError,
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
from fastapi_taskflow.manager import TaskManager
from fastapi_taskflow.store.record import LogEntry, TaskRecord

__version__ = "0.1.0"

__all__ = [
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
    "ObserverHandler",
    "ObserverStats",
    "ProgressEvent",
    "RedactFilter",
    "RunningLoopError",
    "ShuttingDownError",
    "StdoutLogger",
    "StoreError",
    "StoreUnavailableError",
    "StoredArgumentsError",
    "TaskAdmin",
    "TaskArgumentError",
    "TaskContext",
    "TaskContextFilter",
    "TaskFormatter",
    "TaskJsonFormatter",
    "TaskManager",
    "TaskNotFoundError",
    "TaskObserver",
    "TaskProgress",
    "TaskRecord",
    "TaskStatus",
    "TaskTimeoutError",
    "TaskflowError",
    "UnstorableArgumentError",
    "WatchOverflowError",
    "bind_task_context",
    "get_task_context",
    "task_log",
    "task_progress",
]
