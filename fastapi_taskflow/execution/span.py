"""A task's OpenTelemetry span, where the application uses OpenTelemetry."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from fastapi_taskflow.context import TaskContext, active_task
from fastapi_taskflow.execution.failure import Failure
from fastapi_taskflow.loggers.birth import report
from fastapi_taskflow.tracing import TRACING, is_used_here

FASTAPI_SPAN = "fastapi.background_task"
"""What FastAPI, from 0.142 on, calls the span in which it runs each background task."""

_BROKEN = "OpenTelemetry failed on a task's span; the task is not affected"


class TaskSpan:
    """The span that a task runs in: one made for it, FastAPI's, or none.

    Args:
        span: An OpenTelemetry span, or None.
    """

    def __init__(self, span: Any) -> None:  # Any: OpenTelemetry is optional
        self._span = span

    def fail(self, failure: Failure) -> None:
        """Say that the task has failed, and with what."""
        if self._span is None:
            return
        try:
            self._fail(failure)
        except Exception as error:  # noqa: BLE001  # somebody's exporter is no task's business
            report(_BROKEN, error)

    def _fail(self, failure: Failure) -> None:
        trace = sys.modules[TRACING]
        error_type = type(failure.exception)
        # The names are those of OpenTelemetry's semantic conventions for exceptions.
        self._span.add_event(
            "exception",
            {
                "exception.type": f"{error_type.__module__}.{error_type.__qualname__}",
                "exception.message": failure.error,
                "exception.stacktrace": failure.stacktrace,
            },
        )
        self._span.set_status(trace.StatusCode.ERROR, failure.error)


_NO_SPAN = nullcontext(TaskSpan(None))


def current_span_context() -> Any:
    """What identifies the span that is current here, or None."""
    get_current_span = getattr(sys.modules.get(TRACING), "get_current_span", None)
    if get_current_span is None:  # not imported, or not yet as a whole
        return None
    try:
        if not is_used_here():
            return None
        context = get_current_span().get_span_context()
    except Exception as error:  # noqa: BLE001  # somebody's span is no task's business
        report(_BROKEN, error)
        return None
    return context if context.is_valid else None


def current_span_ids() -> tuple[int, int, int] | None:
    """Trace id, span id and flags of the span that is current here, or None."""
    context = current_span_context()
    return None if context is None else (context.trace_id, context.span_id, context.trace_flags)


@contextmanager
def within_remote_span(ids: tuple[int, int, int] | None) -> Iterator[None]:
    """Have the spans that are made in this block be children of another process's span.

    Args:
        ids: What ``current_span_ids()`` gave there.
    """
    trace: Any = sys.modules.get(TRACING)
    if ids is None or trace is None:
        yield
        return
    stack = ExitStack()
    try:
        trace_id, span_id, flags = ids
        context = trace.SpanContext(
            trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags)
        )
        stack.enter_context(trace.use_span(trace.NonRecordingSpan(context)))
    except Exception as error:  # noqa: BLE001  # as in task_span
        report(_BROKEN, error)
    with stack:
        yield


def task_span(context: TaskContext, origin: Any) -> AbstractContextManager[TaskSpan]:
    """Run a task in a span that links to the one in which the task was enqueued.

    In FastAPI's own span for it there is no second one: that one gets the link. The span is
    made by the global tracer provider; without one, or without OpenTelemetry, there is none.

    Args:
        context: The task.
        origin: What identifies the span it was enqueued in, or None.
    """
    return _NO_SPAN if _nobody_traces() else _guarded_span(context, origin)


def _nobody_traces() -> bool:
    """Whether there is surely no span to be made or linked.

    That is so in most processes, and is to cost nothing there: FastAPI itself brings
    OpenTelemetry's interface along.
    """
    trace: Any = sys.modules.get(TRACING)
    if trace is None or not hasattr(trace, "get_tracer_provider"):  # or it is being imported
        return True
    try:
        return not is_used_here() and _has_no_provider(trace)
    except Exception:  # noqa: BLE001  # what asks next meets it again, and reports it
        return False


def _has_no_provider(trace: Any) -> bool:
    return isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@contextmanager
def _guarded_span(context: TaskContext, origin: Any) -> Iterator[TaskSpan]:
    stack = ExitStack()
    try:
        span = stack.enter_context(_span(context, origin))
    except Exception as error:  # noqa: BLE001  # somebody's processor is no task's business
        report(_BROKEN, error)
        span = TaskSpan(None)
    try:
        yield span
    finally:
        try:
            stack.close()
        except Exception as error:  # noqa: BLE001  # as above
            report(_BROKEN, error)


@contextmanager
def _span(context: TaskContext, origin: Any) -> Iterator[TaskSpan]:
    trace: Any = sys.modules[TRACING]
    attributes = {
        "fastapi_taskflow.task_id": context.task_id,
        "fastapi_taskflow.func_name": context.func_name,
    }
    current = trace.get_current_span()
    # A task that another one runs is not what FastAPI's span is about.
    if getattr(current, "name", None) == FASTAPI_SPAN and active_task.get() is None:
        current.set_attributes(attributes)
        if origin is not None:
            current.add_link(origin)
        yield TaskSpan(current)
    elif _has_no_provider(trace):
        yield TaskSpan(None)
    else:
        with trace.get_tracer("fastapi_taskflow").start_as_current_span(
            f"task {context.func_name}",
            attributes=attributes,
            links=[] if origin is None else [trace.Link(origin)],
        ) as span:
            yield TaskSpan(span)
