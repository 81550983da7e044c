"""Which task is running here: one context variable, read wherever a record is born."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TaskContext:
    """The task that the calling code belongs to.

    Attributes:
        task_id: The task's UUID.
        func_name: The task's function.
        attempt: Zero-based index of the attempt.
        tags: The tags given when the task was enqueued.
    """

    task_id: str
    func_name: str
    attempt: int
    tags: dict[str, str] = field(default_factory=dict)


class ContextCarrier(Protocol):
    """What the context variable holds: something that knows its task's context."""

    @property
    def context(self) -> TaskContext:
        """The context of the attempt that is running."""


active_task: ContextVar[ContextCarrier | None] = ContextVar("fastapi_taskflow_task", default=None)


def get_task_context() -> TaskContext | None:
    """The context of the task that calls this, or None outside a task.

    Right in async bodies and what they await or gather, in sync bodies, and in
    ``asyncio.to_thread``; a thread or executor of one's own starts without it.
    """
    carrier = active_task.get()
    return None if carrier is None else carrier.context
