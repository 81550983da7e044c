"""The OpenTelemetry span that is current, where the application uses OpenTelemetry at all."""

from __future__ import annotations

import sys
from typing import Any

from fastapi_taskflow.records import TRACE

TRACING = "opentelemetry.trace"
"""The module without which no span can be current."""

_CONTEXT = "opentelemetry.context"


def current_ids() -> dict[str, str]:
    """The trace id (32 hexadecimal digits) and span id (16) of the current span, if there is one.

    The form is that of the W3C Trace Context, the keys are the names of a record's attributes.
    OpenTelemetry is never imported for it: where nobody else has done so, no span can be
    current.
    """
    trace: Any = sys.modules.get(TRACING)
    context: Any = sys.modules.get(_CONTEXT)
    if trace is None or context is None:
        return {}
    try:
        if not context.get_current():  # as a rule: it is there, FastAPI sees to that, and unused
            return {}
        span = trace.get_current_span().get_span_context()
        ids = (f"{span.trace_id:032x}", f"{span.span_id:016x}") if span.is_valid else ()
    except Exception:  # noqa: BLE001  # somebody's span, or it is just being imported
        ids = ()
    return dict(zip(TRACE, ids, strict=False))
