"""What must not be read in a log, taken out of texts and values before they are written."""

from fastapi_taskflow.redact.keys import DEFAULT_KEYS
from fastapi_taskflow.redact.redactor import Redactor

__all__ = ["DEFAULT_KEYS", "Redactor"]
