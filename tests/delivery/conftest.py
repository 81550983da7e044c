"""What the tests of delivery share: the reports, and a clock for the time between two of them."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from fastapi_taskflow.loggers import ledger

_LATER = itertools.count(1_000_000_000, 1_000_000)
"""Where the clock of each test begins: no report of another test counts in it."""


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def reports() -> Iterator[list[logging.LogRecord]]:
    """What is reported about observers while the test runs."""
    collector = _Collector()
    logger = logging.getLogger("fastapi_taskflow.observers")
    logger.addHandler(collector)

    yield collector.records

    logger.removeHandler(collector)


class ReportClock:
    """The clock by which reports are rare; it stands still until it is moved."""

    def __init__(self) -> None:
        self.now = float(next(_LATER))

    def move(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def report_clock(monkeypatch: pytest.MonkeyPatch) -> ReportClock:
    """Time, as reports about observers see it, is what the test says."""
    clock = ReportClock()
    monkeypatch.setattr(ledger, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock
