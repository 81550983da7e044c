"""The OpenTelemetry span that is current, where the application uses OpenTelemetry at all."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fastapi_taskflow.records import TRACE

TRACING = "opentelemetry.trace"
"""The module without which no span can be current."""

_CONTEXT = "opentelemetry.context"

_NONE: Mapping[str, str] = MappingProxyType({})
_module = sys.modules.get


def is_used_here() -> bool:
    """Whether anything of OpenTelemetry's is current, a span perhaps.

    As a rule nothing is: FastAPI brings OpenTelemetry's interface along, and nobody uses it. It
    raises what a context of somebody's own raises.
    """
    get_current: Any = getattr(_module(_CONTEXT), "get_current", None)  # None as it is imported
    return get_current is not None and len(get_current()) > 0


def current_ids() -> Mapping[str, str]:
    """The trace id (32 hexadecimal digits) and span id (16) of the current span, if there is one.

    The form is that of the W3C Trace Context, the keys are the names of a record's attributes.
    OpenTelemetry is never imported for it: where nobody else has done so, no span can be
    current.
    """
    context: Any = _module(_CONTEXT)
    try:
        if context is None or not context.get_current():  # as is_used_here() says
            return _NONE
        trace: Any = _module(TRACING)
        span = trace.get_current_span().get_span_context()
        ids = (f"{span.trace_id:032x}", f"{span.span_id:016x}") if span.is_valid else ()
    except Exception:  # noqa: BLE001  # somebody's span, or it is just being imported
        ids = ()
    return dict(zip(TRACE, ids, strict=False))
