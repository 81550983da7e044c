"""The OpenTelemetry span that is current, where the application uses OpenTelemetry at all."""

from __future__ import annotations

import sys

from fastapi_taskflow.records import TRACE


def current_ids() -> dict[str, str]:
    """The trace id (32 hexadecimal digits) and span id (16) of the current span, if there is one.

    The form is that of the W3C Trace Context, the keys are the names of a record's attributes.
    OpenTelemetry is never imported for it: where nobody else has done so, no span can be
    current.
    """
    trace = sys.modules.get("opentelemetry.trace")
    get_current_span = getattr(trace, "get_current_span", None)  # none while it is imported
    if get_current_span is None:
        return {}
    try:
        span = get_current_span().get_span_context()
        ids = (f"{span.trace_id:032x}", f"{span.span_id:016x}") if span.is_valid else ()
    except Exception:  # noqa: BLE001  # somebody's span: no line is lost to it
        ids = ()
    return dict(zip(TRACE, ids, strict=False))
