"""The JSON routes: tasks, their logs, and the figures over all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request, Response
from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from fastapi_taskflow.admin.cursor import read_cursor, write_cursor
from fastapi_taskflow.admin.problems import UNAVAILABLE, UNKNOWN, Responses, problems
from fastapi_taskflow.admin.schemas import Entry, Metrics, Problem, TaskDetail, TaskSummary
from fastapi_taskflow.errors import ConfigurationError
from fastapi_taskflow.events import TaskStatus
from fastapi_taskflow.levels import find_level, level_number
from fastapi_taskflow.manager import TaskManager
from fastapi_taskflow.store import LogEntry
from fastapi_taskflow.store import Query as Listing
from fastapi_taskflow.store.base import Position

MAX_LIMIT = 500

_BAD_REQUEST: Responses = {
    400: {"model": Problem, "description": "A cursor, tag or level that can't be read"}
}

TaskId = Annotated[str, Path(description="The task's UUID.")]


def task_routes(manager: TaskManager) -> APIRouter:
    """The routes over one manager's tasks, to be included under a prefix."""
    router = APIRouter(tags=["tasks"])

    @router.get("", responses={**_BAD_REQUEST, **UNAVAILABLE}, summary="List tasks, newest first")
    def list_tasks(
        request: Request, response: Response, listing: Annotated[Listing, Depends(_listing)]
    ) -> list[TaskSummary]:
        with problems():
            found = manager.store.query(replace(listing, limit=listing.limit + 1))
        records = found[: listing.limit]
        if len(found) > len(records):
            last = Position(records[-1].created_at, records[-1].task_id)
            following = request.url.include_query_params(cursor=write_cursor(last))
            response.headers["Link"] = f'<{following}>; rel="next"'
        return [TaskSummary.model_validate(record) for record in records]

    @router.get("/metrics", responses=UNAVAILABLE, summary="Figures over all tasks")
    def metrics() -> Metrics:
        with problems():
            return Metrics.of(manager.store.totals(), manager.observer_stats())

    @router.get("/{task_id}", responses={**UNKNOWN, **UNAVAILABLE}, summary="One task")
    def get_task(task_id: TaskId) -> TaskDetail:
        with problems():
            record = manager.store.get(task_id)
        return _not_found(task_id) if record is None else TaskDetail.of(record)

    @router.get(
        "/{task_id}/logs",
        responses={**UNKNOWN, **_BAD_REQUEST, **UNAVAILABLE},
        summary="A task's log entries, oldest first",
    )
    def get_logs(task_id: TaskId, wanted: Annotated[_Wanted, Depends()]) -> list[Entry]:
        with problems():
            entries = manager.store.entries(task_id)
        if entries is None:
            _not_found(task_id)
        return [Entry.of(entry) for entry in wanted.of(entries)]

    return router


def _read_time(given: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """Read a time; pydantic's own errors tell of characters, not of what is right."""
    try:
        return read(given)
    except ValidationError as error:
        raise PydanticCustomError("time", _TIME) from error


_TIME = (
    "Input should be a time in ISO 8601, such as 2026-01-01T12:00:00Z, or "
    "2026-01-01T13:00:00%2B01:00: a plain + in a URL means a space"
)

Time = Annotated[datetime, WrapValidator(_read_time)]


def _listing(
    status: TaskStatus | None = None,
    func_name: str | None = None,
    tag: Annotated[list[str] | None, Query(description="key:value; repeat for more.")] = None,
    q: Annotated[str | None, Query(description="Part of an id, function or error.")] = None,
    since: Annotated[Time | None, Query(description="Enqueued at this time or later.")] = None,
    until: Annotated[Time | None, Query(description="Enqueued before this time.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
    cursor: Annotated[str | None, Query(description="From the last page's Link header.")] = None,
) -> Listing:
    return Listing(
        status=status,
        func_name=func_name,
        tags=_read_tags(tag or ()),
        text=q,
        since=_aware(since),
        until=_aware(until),
        after=None if cursor is None else _read_position(cursor),
        limit=limit,
    )


class _Wanted:
    """Which entries of a log are asked for."""

    def __init__(
        self,
        level: Annotated[str | None, Query(description="This level and above.")] = None,
        after: Annotated[int | None, Query(description="Only what follows this seq.")] = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    ) -> None:
        try:
            self.levelno = 0 if level is None else level_number(level, parameter="level")
        except ConfigurationError as error:
            raise HTTPException(400, str(error)) from error
        self.after = after
        self.limit = limit

    def of(self, entries: list[LogEntry]) -> list[LogEntry]:
        """The first so many entries that are asked for."""
        found = [entry for entry in self._since(entries) if self._is_high_enough(entry)]
        return found[: self.limit]

    def _since(self, entries: list[LogEntry]) -> list[LogEntry]:
        after = self.after
        if after is None:
            return entries
        for index, entry in enumerate(entries):
            if entry.seq is not None and entry.seq > after:
                return entries[index:]
        return []

    def _is_high_enough(self, entry: LogEntry) -> bool:
        # A level that another process registered has no number here: it is shown.
        return (find_level(entry.level) or self.levelno) >= self.levelno


def _read_tags(texts: Iterable[str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for key, value in map(_read_tag, texts):
        if tags.setdefault(key, value) != value:
            message = f"tag={key}:{value} can't be used beside {key}:{tags[key]}; a task has one"
            raise HTTPException(400, message)
    return tags


def _read_tag(text: str) -> tuple[str, str]:
    key, colon, value = text.partition(":")
    if not colon or not key:
        raise HTTPException(400, f"tag={text!r} can't be used; expected key:value")
    return key, value


def _read_position(cursor: str) -> Position:
    try:
        return read_cursor(cursor)
    except ValueError as error:
        message = f"cursor={cursor!r} can't be used; expected one from a Link header"
        raise HTTPException(400, message) from error


def _aware(time: datetime | None) -> datetime | None:
    """A time without a zone is taken as UTC."""
    return time if time is None or time.tzinfo is not None else time.replace(tzinfo=UTC)


def _not_found(task_id: str) -> NoReturn:
    raise HTTPException(404, f"no task with id {task_id!r}")
