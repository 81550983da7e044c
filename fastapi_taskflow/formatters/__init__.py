"""How a record becomes a line: the formatters to name in a logging configuration."""

from fastapi_taskflow.formatters.gcp import google_cloud
from fastapi_taskflow.formatters.json import TaskJsonFormatter
from fastapi_taskflow.formatters.preset import Facts, Preset
from fastapi_taskflow.formatters.text import TaskFormatter

__all__ = ["Facts", "Preset", "TaskFormatter", "TaskJsonFormatter", "google_cloud"]
