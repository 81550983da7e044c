"""What the tests of worker processes share: bodies that a worker can import, and patience."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent / "bodies"


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module with the bodies, found by its name here and in worker processes."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("process_bodies")


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Look until it is so; another process has no event to wait for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


def is_there(pid: int) -> bool:
    """Whether a process exists, be it a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def wait_until() -> Callable[..., None]:
    return until


@pytest.fixture
def exists() -> Callable[[int], bool]:
    return is_there
