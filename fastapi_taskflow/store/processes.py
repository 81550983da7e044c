"""What tells a process from all others, on any machine, and whether it lives."""

from __future__ import annotations

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
        is_known = self.born != 0 and self.host == _host()
        return is_known and _birth(self.pid) != self.born


def this_process() -> Process:
    """The process that asks."""
    pid = os.getpid()
    return Process(_host(), pid, _birth(pid) or 0)


def _host() -> str:
    name = socket.gethostname()
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{name} {file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux: it is like no other, and only its beats tell of it
        return f"{name} {_NOBODY}"


_NOBODY = uuid.uuid4()


def _birth(pid: int) -> int | None:
    """When a process was started; None where there is none, or one that has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state, *fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else int(fields[18])
