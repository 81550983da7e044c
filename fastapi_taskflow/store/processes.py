"""What tells a process from all others, on any machine, and whether it lives."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Process:
    """A process.

    Attributes:
        host: The machine as it was booted, and the namespace in which process ids count.
        pid: The process's id there.
        born: When it was started, in the machine's ticks: ids are used again.
    """

    host: str
    pid: int
    born: int

    def has_ended(self) -> bool:
        """Whether it is known not to live any more. Of another machine nothing is known."""
        if self.born == 0 or self.host != _host():
            return False
        if (found := _state(self.pid)) is None:
            return not _exists(self.pid)
        state, born = found
        return state in "ZX" or born != self.born


def this_process() -> Process:
    """The process that asks."""
    pid = os.getpid()
    found = _state(pid)
    return Process(_host(), pid, 0 if found is None else found[1])


def _host() -> str:
    name = socket.gethostname()
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{name} {file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux: it is like no other, and only its beats tell of it
        return f"{name} {_NOBODY}"


_NOBODY = uuid.uuid4()


def _state(pid: int) -> tuple[str, int] | None:
    """A process's state, and when it was started; None where there is none to be seen."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state, *fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return state, int(fields[18])


def _exists(pid: int) -> bool:
    """Whether there is a process that is not to be seen: with ``hidepid``, another user's."""
    try:
        with contextlib.suppress(PermissionError):  # it is there
            os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
