"""What the tests of delivery share: a clock for the time between two reports."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from fastapi_taskflow.loggers import ledger

_LATER = itertools.count(1_000_000_000, 1_000_000)
"""Where the clock of each test begins: no report of another test counts in it."""


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
