"""How a record becomes a line: the formatters to name in a logging configuration."""

from fastapi_taskflow.formatters.json import TaskJsonFormatter
from fastapi_taskflow.formatters.text import TaskFormatter

__all__ = ["TaskFormatter", "TaskJsonFormatter"]
