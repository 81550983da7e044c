"""The stream: events as they happen, sent to browsers and tools as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing, suppress
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Query, Response
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import BaseModel
from starlette.types import Message, Send

from fastapi_taskflow.admin.problems import UNAVAILABLE, UNKNOWN, Responses, problems
from fastapi_taskflow.admin.schemas import LifecycleNews, LogNews, ProgressNews
from fastapi_taskflow.errors import WatchOverflowError
from fastapi_taskflow.events import LogEvent, News, ProgressEvent
from fastapi_taskflow.loggers.watch import Published, Watch
from fastapi_taskflow.loggers.watchers import Watchers
from fastapi_taskflow.manager import TaskManager

GATHER_SECONDS = 0.05
"""How long events gather after some were sent: a burst is a few writes to each reader."""

KEEP_ALIVE_SECONDS = 15.0
"""After so many quiet seconds a comment shows both sides that the connection is there."""

RETRY_MILLISECONDS = 1000
"""When a browser connects again."""

SEND_SECONDS = 10.0
"""How long a reader may take to accept one chunk."""

CHUNK = 32 * 1024
"""Bytes after which a chunk is full."""

_RESPONSES: Responses = {
    200: {
        "description": "Events `log`, `lifecycle`, `progress` and `reset`, with JSON `data`",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    204: {"description": "The task has ended: there is nothing to come back for"},
    **UNKNOWN,
    **UNAVAILABLE,
}


def stream_route(manager: TaskManager) -> APIRouter:
    """The route that streams one manager's events, to be included under a prefix."""
    router = APIRouter(tags=["tasks"])

    @router.get(
        "/stream",
        response_class=Response,  # EventSourceResponse would mean that this is a generator
        responses=_RESPONSES,
        summary="Events as they happen",
    )
    def stream(
        task_id: Annotated[str | None, Query(description="Of this task, until it ends.")] = None,
        last_event_id: Annotated[
            str | None, Query(description="Go on after this event; the header goes first.")
        ] = None,
        last_event_id_header: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
    ) -> Response:
        watch = manager.watchers.read(task_id, last_event_id_header or last_event_id or None)
        with watch.closed_by_errors():
            has_ended = task_id is not None and _has_ended(manager, task_id)
            manager.store.follow(None if has_ended else task_id)
            if has_ended:
                watch.end()
                if watch.is_over and not watch.is_reset:
                    return Response(status_code=204)
            return EventStream(manager.watchers, watch)

    return router


def _has_ended(manager: TaskManager, task_id: str) -> bool:
    with problems():
        record = manager.store.get(task_id)
    if record is None:
        raise HTTPException(404, f"no task with id {task_id!r}")
    return record.status.is_final


class EventStream(EventSourceResponse):
    """What a watch tells, until it ends, the reader leaves, or the reader is too slow.

    One that is too slow is cut off in the midst, without the end of the body, so that the
    server closes the connection and a browser comes back.

    Args:
        watchers: Who gives the ids.
        watch: The watch; it is closed with the response.
    """

    def __init__(self, watchers: Watchers, watch: Watch[News]) -> None:
        self._watch = watch
        self._chunks = _chunks(watchers, watch)
        # The second keeps nginx from buffering.
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(self._chunks, headers=headers)

    async def stream_response(self, send: Send) -> None:
        """Send what there is until there is no more, or no reader who keeps up."""

        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await send(message)
            except TimeoutError as error:
                raise _TooSlowError from error

        with closing(self._watch), suppress(_TooSlowError, WatchOverflowError):
            async with aclosing(self._chunks):
                await super().stream_response(send_in_time)


class _TooSlowError(Exception):
    """A reader doesn't read."""


async def _chunks(watchers: Watchers, watch: Watch[News]) -> AsyncGenerator[bytes, None]:
    yield _opening(watchers, watch)
    while True:
        try:
            async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                await watch.wait()
        except TimeoutError:
            yield format_sse_event(comment="ping", id=watchers.id_for(watch))
            continue
        while chunk := _next_chunk(watchers, watch):
            yield chunk
            await asyncio.sleep(0)  # sending need not wait: others on the loop get their turn
        if watch.is_over:
            return
        await asyncio.sleep(GATHER_SECONDS)


def _opening(watchers: Watchers, watch: Watch[News]) -> bytes:
    """What comes first: a place to come back to even if nothing happens."""
    number = watchers.id_of(watch.since)
    if not watch.is_reset:
        return format_sse_event(id=number, retry=RETRY_MILLISECONDS)
    reason = "events are missing; load the tasks again"
    data = json.dumps({"reason": reason})
    return format_sse_event(event="reset", data_str=data, id=number, retry=RETRY_MILLISECONDS)


def _next_chunk(watchers: Watchers, watch: Watch[News]) -> bytes:
    frames: list[bytes] = []
    size = 0
    while size < CHUNK and (item := watch.take()) is not None:
        frames.append(_frame(watchers, item))
        size += len(frames[-1])
    return b"".join(frames)


def _frame(watchers: Watchers, item: Published) -> bytes:
    """An event as bytes, made by the first reader for all."""
    if item.rendered is None:
        kind, news = _told(item.event)
        number = watchers.id_of(item.number) if item.number else None
        item.rendered = format_sse_event(event=kind, data_str=news.model_dump_json(), id=number)
    return item.rendered


def _told(event: News) -> tuple[str, BaseModel]:
    """An event's type and data."""
    if isinstance(event, LogEvent):
        return "log", LogNews.of_event(event)
    if isinstance(event, ProgressEvent):
        return "progress", ProgressNews.model_validate(event)
    return "lifecycle", LifecycleNews.model_validate(event)
