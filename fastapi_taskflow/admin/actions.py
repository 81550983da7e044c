"""The JSON routes that change something: what people do to tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Request, Response
from fastapi.responses import JSONResponse

from fastapi_taskflow.admin.schemas import Ended, Problem, TaskSummary
from fastapi_taskflow.errors import StoreError, TaskEndedError, TaskNotFoundError
from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.manager import TaskManager

TaskId = Annotated[str, Path(description="The task's UUID.")]

_Responses = dict[int | str, dict[str, Any]]

_PROBLEMS: _Responses = {
    404: {"model": Problem, "description": "No such task"},
    503: {"model": Problem, "description": "The database can't be written now"},
}


def action_routes(manager: TaskManager) -> APIRouter:
    """The routes that change a manager's tasks, to be included under a prefix."""
    router = APIRouter(tags=["tasks"])

    @router.post(
        "/{task_id}/cancel",
        response_model=TaskSummary,
        responses={
            **_PROBLEMS,
            202: {"model": TaskSummary, "description": "The task's own process will cancel it"},
            409: {"model": Ended, "description": "The task has ended"},
        },
        summary="Cancel a task that has not ended",
    )
    async def cancel(task_id: TaskId, request: Request, response: Response) -> Any:
        with _problems():
            try:
                record = await manager.cancel(task_id, reason=_asked(request))
            except TaskEndedError as error:
                ended = Ended(detail=str(error), status=TaskStatus(error.status))
                return JSONResponse(ended.model_dump(mode="json"), 409)
        if not record.status.is_final:
            response.status_code = 202
        return TaskSummary.model_validate(record)

    return router


def _asked(request: Request) -> str:
    return f"it was cancelled by a request to {request.method} {request.url.path}"


@contextmanager
def _problems() -> Iterator[None]:
    """Within the block, the errors of several routes are answers."""
    try:
        yield
    except TaskNotFoundError as error:
        raise HTTPException(404, str(error)) from error
    except StoreError as error:
        raise HTTPException(503, str(error)) from error
