"""The JSON routes that change something: what people do to tasks; and the trail of that."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from fastapi_taskflow.admin.problems import UNAVAILABLE, UNKNOWN, Responses, problems
from fastapi_taskflow.admin.schemas import (
    AuditLine,
    Deleted,
    Ended,
    Problem,
    RetriedTask,
    RetriedTasks,
    TaskIds,
    TaskSummary,
)
from fastapi_taskflow.errors import TaskEndedError
from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.manager import TaskManager

MAX_LIMIT = 500

MAX_REASON = 500
"""The most characters of the reason why a task is cancelled."""

MAX_NUMBER = 2**63 - 1
"""The highest number that an entry of the trail can have in a database."""

TaskId = Annotated[str, Path(description="The task's UUID.")]

_BAD_REQUEST: Responses = {400: {"model": Problem, "description": "A value that can't be used"}}

_SINCE = re.compile(r"([0-9]{1,6})(m|h|d)")
_UNITS = {
    "m": "minutes",
    "h": "hours",
    "d": "days",
    "min": "minutes",
    "hour": "hours",
    "day": "days",
}


def audit_route(manager: TaskManager) -> APIRouter:
    """The route that shows what people have done, to be included before ``/{task_id}``."""
    router = APIRouter(tags=["tasks"])

    @router.get(
        "/audit",
        responses={**_BAD_REQUEST, **UNAVAILABLE},
        summary="What people have done to tasks, newest first",
    )
    def audit(
        request: Request,
        response: Response,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
        cursor: Annotated[
            int | None,
            Query(ge=1, le=MAX_NUMBER, description="From the last page's Link header."),
        ] = None,
    ) -> list[AuditLine]:
        with problems():
            found = manager.audit(limit=limit + 1, before=cursor)
        entries = found[:limit]
        if len(found) > len(entries):
            following = request.url.include_query_params(cursor=entries[-1].number)
            response.headers["Link"] = f'<{following}>; rel="next"'
        return [AuditLine.model_validate(entry) for entry in entries]

    return router


def action_routes(manager: TaskManager) -> APIRouter:
    """The routes that change a manager's tasks, to be included under a prefix."""
    router = APIRouter(tags=["tasks"])

    @router.post(
        "/{task_id}/cancel",
        response_model=TaskSummary,
        responses={
            **UNKNOWN,
            **UNAVAILABLE,
            202: {"model": TaskSummary, "description": "The task's own process will cancel it"},
            409: {"model": Ended, "description": "The task has ended"},
        },
        summary="Cancel a task that has not ended",
    )
    async def cancel(
        task_id: TaskId,
        request: Request,
        response: Response,
        reason: Annotated[
            str | None,
            Query(min_length=1, max_length=MAX_REASON, description="The task's error from then."),
        ] = None,
    ) -> Any:
        reason = reason or f"it was cancelled by a request to POST {request.url.path}"
        with problems():
            try:
                record = await manager.cancel(task_id, reason=reason)
            except TaskEndedError as error:
                ended = Ended(detail=str(error), status=TaskStatus(error.status))
                return JSONResponse(ended.model_dump(mode="json"), 409)
        if not record.status.is_final:
            response.status_code = 202
        return TaskSummary.model_validate(record)

    @router.post(
        "/{task_id}/retry",
        responses={
            **UNKNOWN,
            **UNAVAILABLE,
            409: {"model": Problem, "description": "The task can't be run again"},
        },
        summary="Run the call of an ended task again, as a new task",
    )
    async def retry(task_id: TaskId) -> RetriedTask:
        with problems():
            record = await manager.retry(task_id)
        return RetriedTask(task_id=record.task_id, task=TaskSummary.model_validate(record))

    @router.post(
        "/bulk-retry", responses=UNAVAILABLE, summary="Retry tasks that were not retried before"
    )
    async def bulk_retry(wanted: TaskIds) -> RetriedTasks:
        with problems():
            return RetriedTasks.model_validate(await manager.retry_many(wanted.task_ids))

    @router.post(
        "/retry-failed",
        responses={**_BAD_REQUEST, **UNAVAILABLE},
        summary="Retry what has failed or was interrupted, and was not retried before",
    )
    async def retry_failed(
        since: Annotated[str, Query(description="30m, 6h, 2d, or all.")],
        func_name: str | None = None,
    ) -> RetriedTasks:
        window = _read_window(since)
        with problems():
            done = await manager.retry_failed(since=window, func_name=func_name)
        return RetriedTasks.model_validate(done)

    @router.delete("/history", responses=UNAVAILABLE, summary="Delete tasks that ended longer ago")
    async def delete_history(
        value: Annotated[int, Query(ge=1, le=999_999)], unit: Literal["min", "hour", "day"]
    ) -> Deleted:
        with problems():
            count = await manager.delete_history(older_than=_time(value, unit))
        return Deleted(deleted=count)

    return router


def _read_window(text: str) -> timedelta | None:
    if text == "all":
        return None
    found = _SINCE.fullmatch(text)
    if found is None:
        expected = "expected up to 999999 minutes, hours or days such as 30m, 6h or 2d, or all"
        raise HTTPException(400, f"since={text!r} can't be used; {expected}")
    return _time(int(found[1]), found[2])


def _time(count: int, unit: str) -> timedelta:
    return timedelta(**{_UNITS[unit]: count})
