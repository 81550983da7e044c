"""A budget of entries for each place in the code, so that one loop can't drown a task's log."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from fastapi_taskflow.loggers.places import Place


@dataclass(frozen=True, slots=True)
class Suppressed:
    """What a place logged beyond its budget.

    Attributes:
        place: The place.
        count: How many entries were suppressed.
        levelno: The highest level among them.
    """

    place: Place
    count: int
    levelno: int

    @property
    def message(self) -> str:
        """What is said of it in the task's log."""
        _, lineno, _, filename, _ = self.place
        return f"{self.count} more suppressed from {filename}:{lineno}"


@dataclass(slots=True)
class _Account:
    admitted: int = 0
    suppressed: int = 0
    levelno: int = logging.NOTSET


class Budget:
    """One task's budget. The caller sees to it that one thread at a time uses it.

    Args:
        limit: How many entries below WARNING each place may log.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._accounts: dict[Place, _Account] = {}

    def admit(self, place: Place, levelno: int) -> bool:
        """Whether the entry is within the budget; if not, it is counted. Warnings always are."""
        if levelno >= logging.WARNING:
            return True
        account = self._accounts.setdefault(place, _Account())
        if account.admitted < self._limit:
            account.admitted += 1
            return True
        account.suppressed += 1
        account.levelno = max(account.levelno, levelno)
        return False

    def settle(self) -> list[Suppressed]:
        """What was suppressed, by place; all budgets are as at the beginning afterwards."""
        accounts, self._accounts = self._accounts, {}
        return [
            Suppressed(place, account.suppressed, account.levelno)
            for place, account in accounts.items()
            if account.suppressed
        ]
