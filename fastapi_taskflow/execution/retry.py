"""Whether a failed attempt is tried again, and after how long."""

from __future__ import annotations

import random

from fastapi_taskflow.execution.options import TaskOptions


def may_retry(options: TaskOptions, attempt: int, error: BaseException) -> bool:
    """Whether there is an attempt after this one, whose zero-based index is given."""
    return attempt < options.retries and isinstance(error, options.retry_on)


def retry_delay(options: TaskOptions, attempt: int) -> float:
    """Seconds between an attempt, whose zero-based index is given, and the next one.

    ``min(delay * backoff**attempt, max_delay)``, and at random up to ``jitter`` more.
    """
    try:
        delay = options.delay * options.backoff**attempt
    except OverflowError:
        delay = float("inf") if options.delay else 0.0
    if options.max_delay is not None:
        delay = min(delay, options.max_delay)
    return min(delay, MAX_DELAY) + random.uniform(0.0, options.jitter)


MAX_DELAY = 366 * 86_400.0
"""Seconds of the longest wait, a year: event loops take no infinite ones."""
