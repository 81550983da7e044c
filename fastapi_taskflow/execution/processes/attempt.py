"""One attempt in a worker process: what the worker is told, and how its end is awaited."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi_taskflow.execution.call import Limit, result_of
from fastapi_taskflow.execution.options import TaskFunction
from fastapi_taskflow.execution.processes.calls import Call
from fastapi_taskflow.execution.processes.packing import Payload
from fastapi_taskflow.execution.processes.wire import Job
from fastapi_taskflow.execution.span import current_span_ids
from fastapi_taskflow.loggers.capture import Capture
from fastapi_taskflow.loggers.emit import TaskEmitter

LOAD_SECONDS = 60.0
"""How long a worker may take to begin a body that has a timeout: it may have to start first."""

ABANDON_SECONDS = 2.0
"""How long the end of a worker is waited for; its body gets half a second of it."""


def make_job(
    function: TaskFunction,
    payload: Payload,
    emitter: TaskEmitter,
    capture: Capture,
    *,
    log_prints: bool,
) -> Job:
    """What a worker needs to know of an attempt."""
    return Job(
        number=0,
        name=function.name,
        context=emitter.context,
        payload=payload,
        source_level=emitter.levels()[1],
        log_prints=log_prints,
        captured=tuple(capture.names),
        levels=capture.levels(),
        span=current_span_ids(),
    )


async def completed(call: Call, limit: Limit | None) -> Any:
    """Await a call in a worker process. Where that is cancelled the worker ends, with its body.

    Args:
        call: The call.
        limit: The limit on its time, which counts from when the body begins.

    Raises:
        BodyEndedError: It raised an error, or its worker was lost.
    """
    try:
        if limit is not None:
            loop = asyncio.get_running_loop()
            limit.clock.reschedule(loop.time() + max(limit.seconds, LOAD_SECONDS))
            await asyncio.wait({call.began})
            limit.clock.reschedule(loop.time() + limit.seconds)
        await asyncio.wait({call.outcome})
    except asyncio.CancelledError:
        call.abandon()
        await asyncio.wait({call.outcome}, timeout=ABANDON_SECONDS)
        raise
    except BaseException:  # the coroutine is thrown away with its loop
        call.abandon()
        raise
    return result_of(call.outcome.result())
