"""The OpenTelemetry span that is current, where the application uses OpenTelemetry at all."""

from __future__ import annotations

import sys


def current_ids() -> tuple[str, str] | None:
    """The trace id (32 hexadecimal digits) and span id (16) of the current span, or None.

    The form is that of the W3C Trace Context. OpenTelemetry is never imported for it: where
    nobody else has done so, no span can be current.
    """
    trace = sys.modules.get("opentelemetry.trace")
    get_current_span = getattr(trace, "get_current_span", None)  # none while it is imported
    if get_current_span is None:
        return None
    span = get_current_span().get_span_context()
    return (f"{span.trace_id:032x}", f"{span.span_id:016x}") if span.is_valid else None
