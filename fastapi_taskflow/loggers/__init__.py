"""The road of a record: its birth, the logger tree, and the observers at its end."""

from fastapi_taskflow.loggers.base import LifecycleEvent, LogEvent, TaskObserver
from fastapi_taskflow.loggers.entry import task_log
from fastapi_taskflow.loggers.file import FileLogger
from fastapi_taskflow.loggers.memory import InMemoryLogger
from fastapi_taskflow.loggers.stdout import StdoutLogger

__all__ = [
    "FileLogger",
    "InMemoryLogger",
    "LifecycleEvent",
    "LogEvent",
    "StdoutLogger",
    "TaskObserver",
    "task_log",
]
