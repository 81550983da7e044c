"""Why a request is turned down, by any of the routes: errors as answers, and as documented."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import HTTPException

from fastapi_taskflow.admin.schemas import Problem
from fastapi_taskflow.errors import (
    NotRetriableError,
    ShuttingDownError,
    StoreError,
    StoreUnavailableError,
    TaskNotFoundError,
)

Responses = dict[int | str, dict[str, Any]]
"""What a route answers beside its model, as FastAPI documents it."""

UNKNOWN: Responses = {404: {"model": Problem, "description": "No such task"}}
UNAVAILABLE: Responses = {
    503: {"model": Problem, "description": "The database can't be used now, or the app shuts down"}
}


@contextmanager
def problems() -> Iterator[None]:
    """Within the block, the errors of several routes are answers."""
    try:
        yield
    except TaskNotFoundError as error:
        raise HTTPException(404, str(error)) from error
    except NotRetriableError as error:
        raise HTTPException(409, str(error)) from error
    except (StoreError, StoreUnavailableError, ShuttingDownError) as error:
        raise HTTPException(503, str(error)) from error
