"""What the JSON routes answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from fastapi_taskflow.events import LogEvent, TaskStatus
from fastapi_taskflow.execution.results import shown
from fastapi_taskflow.loggers.ledger import ObserverStats
from fastapi_taskflow.sanitise import sanitise
from fastapi_taskflow.store import LogEntry, TaskRecord, Totals

PlainText = Annotated[str, PlainSerializer(sanitise, return_type=str)]
"""Text from a task: half a surrogate pair in it must not break the answer."""


MAX_ERROR = 1000
"""Characters of an error that are shown in a list: some have a whole file in them."""


def _shortened(text: str) -> Any:
    is_long = len(text) > MAX_ERROR
    return sanitise(f"{text[:MAX_ERROR]}... ({len(text):,} characters)" if is_long else text)


ShortText = Annotated[str, PlainSerializer(_shortened, return_type=str)]


class Progress(BaseModel):
    """How far a task has come."""

    model_config = ConfigDict(from_attributes=True)

    done: int | float
    total: int | float | None
    message: PlainText | None
    percent: Annotated[float | None, Field(description="0 to 100; null without a total.")]


class TaskSummary(BaseModel):
    """A task in a list. Its arguments are not shown."""

    model_config = ConfigDict(from_attributes=True)

    task_id: str
    func_name: PlainText
    status: TaskStatus
    tags: dict[PlainText, PlainText]
    created_at: datetime
    start_time: datetime | None
    end_time: datetime | None
    duration: Annotated[float | None, Field(description="Seconds, retries included.")]
    attempt: Annotated[int, Field(description="Zero-based index of the last attempt.")]
    retries_used: int
    error: Annotated[
        ShortText | None,
        Field(description=f"Of a long one the first {MAX_ERROR} characters; a task by id has all."),
    ]
    progress: Annotated[Progress | None, Field(description="What the last attempt has said.")]


class TaskDetail(TaskSummary):
    """One task."""

    error: PlainText | None
    stacktrace: PlainText | None
    logs: Annotated[list[PlainText], Field(description="The log, a line an entry, oldest first.")]
    logs_dropped: Annotated[int, Field(description="Older entries that were dropped.")]
    result: Annotated[Any, Field(description="What it returned, as JSON.")]
    result_dropped: Annotated[
        str | None,
        Field(description="Why that is not here: too large, not JSON, not stored, encrypted."),
    ]

    @classmethod
    def of(cls, record: TaskRecord) -> Self:
        """The answer for a record."""
        result, dropped = shown(record)
        return cls.model_validate(replace(record, result=result, result_dropped=dropped))


class Entry(BaseModel):
    """One log entry of a task."""

    seq: Annotated[int | None, Field(description="None for the separator before a retry.")]
    timestamp: datetime
    level: str
    message: PlainText
    attempt: int
    extra: dict[str, Any]

    @classmethod
    def of(cls, entry: LogEntry) -> Self:
        """The answer for an entry; what JSON has no form for becomes text."""
        return cls(
            seq=entry.seq,
            timestamp=entry.timestamp,
            level=entry.level,
            message=entry.message,
            attempt=entry.attempt,
            extra=sanitise(entry.extra),
        )


class LogNews(Entry):
    """One log entry, as it happens."""

    task_id: str
    func_name: PlainText
    tags: dict[PlainText, PlainText]

    @classmethod
    def of_event(cls, event: LogEvent) -> Self:
        """The data of an event; what JSON has no form for becomes text."""
        return cls(
            seq=event.seq,
            timestamp=event.timestamp,
            level=event.level,
            message=event.message,
            attempt=event.attempt,
            extra=sanitise(event.extra),
            task_id=event.task_id,
            func_name=event.func_name,
            tags=event.tags,
        )


class LifecycleNews(BaseModel):
    """One status change, as it happens."""

    model_config = ConfigDict(from_attributes=True)

    seq: int
    timestamp: datetime
    status: TaskStatus
    attempt: int
    retries_used: int
    duration: Annotated[float | None, Field(description="Seconds, retries included.")]
    error: PlainText | None
    stacktrace: PlainText | None
    task_id: str
    func_name: PlainText
    tags: dict[PlainText, PlainText]


class ProgressNews(BaseModel):
    """How far a task has come, as it goes on."""

    model_config = ConfigDict(from_attributes=True)

    timestamp: datetime
    progress: Progress
    attempt: int
    task_id: str
    func_name: PlainText
    tags: dict[PlainText, PlainText]


class ObserverFigures(BaseModel):
    """What became of the events that went to one observer."""

    model_config = ConfigDict(from_attributes=True)

    delivered: int
    filtered: int
    dropped: dict[str, int]
    dropped_by_level: dict[str, int]
    errors: int
    queued: int
    high_water: int
    last_error: PlainText | None


class Metrics(BaseModel):
    """Figures over all tasks."""

    total: int
    pending: int
    running: int
    success: int
    failed: int
    interrupted: int
    cancelled: int
    success_rate: Annotated[
        float | None,
        Field(description="Succeeded out of succeeded and failed, 0 to 1; null before the first."),
    ]
    avg_duration_seconds: Annotated[
        float | None, Field(description="Mean over the tasks that succeeded or failed.")
    ]
    observers: dict[str, ObserverFigures]

    @classmethod
    def of(cls, totals: Totals, stats: dict[str, ObserverStats]) -> Self:
        """The answer for a store's totals and the observers' figures."""
        counts = {status.value: count for status, count in totals.by_status.items()}
        decided = counts["success"] + counts["failed"]
        return cls(
            total=sum(counts.values()),
            **counts,
            success_rate=counts["success"] / decided if decided else None,
            avg_duration_seconds=totals.avg_duration,
            observers={
                name: ObserverFigures(
                    delivered=figures.delivered,
                    filtered=figures.filtered,
                    dropped=dict(figures.dropped),
                    dropped_by_level=dict(figures.dropped_by_level),
                    errors=figures.errors,
                    queued=figures.queued,
                    high_water=figures.high_water,
                    last_error=figures.last_error,
                )
                for name, figures in stats.items()
            },
        )


class RetriedTask(BaseModel):
    """A task that repeats another one."""

    task_id: str
    task: TaskSummary


class TaskIds(BaseModel):
    """Which tasks are meant."""

    task_ids: Annotated[list[str], Field(min_length=1, max_length=1000)]


class RetriedTasks(BaseModel):
    """What became of tasks that were to be retried."""

    model_config = ConfigDict(from_attributes=True)

    retried: Annotated[dict[str, str], Field(description="New ids, by the old ones.")]
    skipped: Annotated[dict[PlainText, PlainText], Field(description="Why not, by id.")]


class Deleted(BaseModel):
    """How many tasks were deleted."""

    deleted: int


class AuditLine(BaseModel):
    """One thing that somebody did."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    at: datetime
    action: str
    task_id: str | None
    detail: Annotated[dict[str, Any], PlainSerializer(sanitise)]


class Problem(BaseModel):
    """Why a request was turned down."""

    detail: str


class Ended(Problem):
    """Why a task can't be changed any more."""

    status: TaskStatus
