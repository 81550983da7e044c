"""Where records go: the handlers to name in a logging configuration."""

from fastapi_taskflow.loggers.bridge import ObserverHandler
from fastapi_taskflow.loggers.file import TaskRotatingFileHandler, TaskWatchedFileHandler
from fastapi_taskflow.loggers.memory import TaskMemoryHandler
from fastapi_taskflow.loggers.stdout import TaskStreamHandler

__all__ = [
    "ObserverHandler",
    "TaskMemoryHandler",
    "TaskRotatingFileHandler",
    "TaskStreamHandler",
    "TaskWatchedFileHandler",
]
