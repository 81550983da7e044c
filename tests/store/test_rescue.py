"""What is made of a task that its process has left, and of a process that may be dead."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from fastapi_taskflow import TaskRecord, TaskStatus
from fastapi_taskflow.execution.options import TaskOptions
from fastapi_taskflow.registry import TaskRegistry
from fastapi_taskflow.rescue import Rescue
from fastapi_taskflow.store import processes
from fastapi_taskflow.store.base import Fate
from fastapi_taskflow.store.processes import this_process

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_task_whose_second_process_dies_before_it_begins_again_may_still_run() -> None:
    unused: Any = None
    rescue = Rescue(
        TaskRegistry(), unused, unused, unused, requeue_pending=False, can_run=bool, run=unused
    )
    waiting = TaskRecord(
        "id", "elsewhere", TaskStatus.PENDING, NOON, packed="{}", requeue_on_interrupt=True
    )

    assert rescue.decide(waiting) is Fate.INTERRUPT
    assert rescue.decide(replace(waiting, start_time=NOON)) is Fate.LEAVE


@pytest.mark.parametrize("persist", [False, True])
def test_a_task_that_was_given_up_before_it_began_never_runs(persist: bool) -> None:
    """Else it would, when the process stops that has seen to it."""
    unused: Any = None
    registry = TaskRegistry()
    rescue = Rescue(
        registry, unused, unused, unused, requeue_pending=True, can_run=lambda: True, run=unused
    )
    name = registry.register(print, TaskOptions(requeue_on_interrupt=True, persist=persist)).name
    given_up = TaskRecord(name, name, TaskStatus.INTERRUPTED, NOON, packed="{}")

    assert rescue.decide(replace(given_up, start_time=NOON)) is Fate.AGAIN
    assert rescue.decide(given_up) is Fate.LEAVE


BORN = """
from fastapi_taskflow.store.processes import this_process
print(this_process().born, flush=True)
input()
"""


def test_a_process_that_has_ended_is_told_from_one_that_lives() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", BORN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    born = int(child.stdout.readline())
    other = replace(this_process(), pid=child.pid, born=born)
    assert not other.has_ended()
    assert replace(other, born=born - 1).has_ended()  # its id is used again

    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert other.has_ended()  # nobody has waited for it yet
    child.communicate()
    assert other.has_ended()


def test_another_users_process_that_is_hidden_has_not_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With /proc mounted ``hidepid=2``, other users' processes are not there."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here = this_process()
    monkeypatch.setattr(processes, "_state", lambda _: None)

    assert not here.has_ended()
    assert not replace(here, pid=1).has_ended()
    assert replace(here, pid=gone.pid).has_ended()


def test_a_process_whose_birth_is_not_known_has_not_ended() -> None:
    """Where there is no /proc, forked processes would be dead to each other."""
    unknown = replace(this_process(), born=0)

    assert unknown.pid == os.getpid()
    assert not unknown.has_ended()
