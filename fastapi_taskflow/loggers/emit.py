"""The voice of tasks: makes their records and sends them down the road."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi_taskflow.context import TaskContext, next_attempt
from fastapi_taskflow.events import TaskProgress, TaskStatus
from fastapi_taskflow.fork import lineage
from fastapi_taskflow.loggers.birth import (
    STATUS_MESSAGES,
    make_laid_out,
    message_of,
    text_of,
)
from fastapi_taskflow.loggers.branch import Branch, BranchLogger
from fastapi_taskflow.loggers.captured import captured_extra, hearers_of, made_like
from fastapi_taskflow.loggers.flood import Budget
from fastapi_taskflow.loggers.ledger import news
from fastapi_taskflow.loggers.order import EventOrder
from fastapi_taskflow.loggers.places import NOWHERE, Place, place_at
from fastapi_taskflow.loggers.plain_record import layout, plain_record
from fastapi_taskflow.loggers.snapshot import snapshot
from fastapi_taskflow.loggers.tree import Levels
from fastapi_taskflow.records import (
    LIFECYCLE_LEVELS,
    EntryLogRecord,
    LibraryLogRecord,
)
from fastapi_taskflow.redact.record import redact_record
from fastapi_taskflow.redact.traceback import ExcInfo

_manager = logging.root.manager


class TaskEmitter:
    """The voice of one attempt: makes the task's records and sends them down the branch.

    Thread-safe. Each sink gets the records of one task in the order of their ``seq``.

    Attributes:
        name: The name of the task's logger, by which its levels are remembered.

    Args:
        branch: The manager's branch of the logger tree.
        context: What the records say of the task.
        order: The order that earlier attempts have begun; None begins one.
        budget: What earlier attempts have left of the task's budget.
    """

    __slots__ = (
        "_budget",
        "_forks",
        "_laid_out",
        "_lifecycle_logger",
        "_order",
        "_task_logger",
        "branch",
        "context",
        "name",
    )

    def __init__(
        self,
        branch: Branch,
        context: TaskContext,
        order: EventOrder | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.branch = branch
        self.context = context
        self._forks = lineage.forks
        self._task_logger, self._lifecycle_logger = branch.loggers(context.func_name)
        self.name = self._task_logger.name
        self._order = order or EventOrder()
        self._budget = branch.new_budget() if order is None else budget
        self._laid_out: dict[str, Any] | None = None

    def progress(self, progress: TaskProgress) -> None:
        """Say how far this attempt has come; a forked child says nothing of its parent's."""
        if self._forks == lineage.forks:
            self.branch.progress.put(self.context, progress)

    def settle_progress(self) -> None:
        """Have those who watch know how far the task has come before they know what follows."""
        self.branch.progress.settle(self.context.task_id)

    def next_attempt(self) -> TaskEmitter:
        """The voice of the attempt after this one. What is late of this one keeps its own."""
        return TaskEmitter(self.branch, next_attempt(self.context), self._order, self._budget)

    def levels(self) -> Levels:
        """The levels that the task's entries must have."""
        return self._task_logger.levels()

    def log(
        self,
        message: object,
        levelno: int,
        extra: dict[str, Any],
        place: Place,
        pipeline_level: int,
    ) -> None:
        """Emit a log entry, which no level at the source turns away.

        Args:
            message: The message.
            levelno: The level's number.
            extra: The structured fields.
            place: Where it is logged.
            pipeline_level: The effective level of the task's logger.
        """
        branch = self.branch
        if self._budget is not None and not self._admits(self._budget, place, levelno):
            return
        text = message if type(message) is str else text_of(message)
        if branch.redactor is not None:
            text, extra = branch.redactor.text(text), branch.redactor.mapping(extra)
        if extra:
            extra = snapshot(extra)
        mine, laid_out = news.mine, self._laid_out
        # As getLogRecordFactory() says, which is one of the calls that are left out here.
        if laid_out is not None and logging._logRecordFactory is logging.LogRecord:  # type: ignore[attr-defined]  # noqa: SLF001
            record: logging.LogRecord = plain_record(
                laid_out, levelno, text, place, extra, EntryLogRecord, mine.thread
            )
        else:
            record = self._entry(levelno, text, extra, place)
        # As goes_on() says.
        goes_on = branch.propagate and levelno >= pipeline_level and levelno > _manager.disable
        to = self._task_logger if goes_on else None
        self._order.send(mine, branch.entries, branch.sinks, to, record, [])

    def relay(
        self,
        levelno: int,
        message: str,
        extra: dict[str, Any],
        place: Place,
        made: Mapping[str, Any],
    ) -> None:
        """Emit an entry of another process, unless a level set on its logger turns it away.

        Args:
            levelno: The level's number.
            message: The message.
            extra: The structured fields.
            place: Where it was logged.
            made: Attributes of the record that say when, and in what process, that was.
        """
        branch = self.branch
        _, source_level, pipeline_level = self.levels()
        if levelno < source_level:
            return
        if self._budget is not None and not self._admits(self._budget, place, levelno):
            return
        if branch.redactor is not None:
            message, extra = branch.redactor.text(message), branch.redactor.mapping(extra)
        record = self._entry(levelno, message, extra, place)
        record.__dict__.update(made)
        self._send(self._task_logger, record, pipeline_level)

    def capture(self, original: logging.LogRecord) -> None:
        """Make another logger's record an entry too. The pipeline has the original."""
        levelno = original.levelno
        if levelno < self.levels()[1]:
            return
        branch = self.branch
        if branch.redactor is not None:  # before its arguments, by name, are in its message
            original = redact_record(branch.redactor, original)
        place = place_at(original.pathname, original.lineno, original.funcName or NOWHERE[2])
        if self._budget is None or self._admits(self._budget, place, levelno):
            tags = branch.redact_tags(self.context.tags)  # the original is without secrets, too
            extra = snapshot(captured_extra(original, self.context, tags))
            record = self._entry(levelno, message_of(original), extra, place)
            record.__dict__.update(made_like(original))
            heard = hearers_of(original)
            self._order.send(news.mine, branch.entries, branch.sinks, None, record, heard)

    def _send(self, logger: BranchLogger, record: logging.LogRecord, pipeline_level: int) -> None:
        branch = self.branch
        to = logger if branch.goes_on(record.levelno, pipeline_level) else None
        keeper = branch.entries if logger is self._task_logger else None
        self._order.send(news.mine, keeper, branch.sinks, to, record, [])

    def _admits(self, budget: Budget, place: Place, levelno: int) -> bool:
        with self._order.lock:
            return budget.admit(place, levelno)

    def _entry(
        self, levelno: int, message: str, extra: dict[str, Any], place: Place
    ) -> logging.LogRecord:
        laid_out = self._laid_out
        if laid_out is None:
            laid_out = self._layout(self._task_logger)
            if self.branch.redactor is None:  # which may have new secrets by the next line
                self._laid_out = laid_out
        return self._without_secrets(make_laid_out(laid_out, levelno, message, place, extra))

    def _layout(self, logger: BranchLogger, **told: Any) -> dict[str, Any]:
        """What the records of a logger have that is the task's. Their number comes last."""
        context = self.context
        return layout(
            logger.name,
            task_id=context.task_id,
            func_name=context.func_name,
            attempt=context.attempt,
            tags=self.branch.redact_tags(context.tags),
            seq=0,
            **told,
        )

    def _without_secrets(self, record: logging.LogRecord) -> logging.LogRecord:
        """The record without what a factory of the user's may have added."""
        if self.branch.redactor is None or isinstance(record, LibraryLogRecord):
            return record
        return redact_record(self.branch.redactor, record)

    def _say_suppressed(self) -> None:
        """Say how many entries were suppressed, and where, before the task's last word."""
        if self._budget is None:
            return
        with self._order.lock:
            suppressed = self._budget.settle()
        for some in suppressed:
            extra = {"suppressed": some.count}
            record = self._entry(some.levelno, some.message, extra, some.place)
            self._send(self._task_logger, record, self.levels()[2])

    def lifecycle(
        self,
        status: TaskStatus,
        *,
        retries_used: int,
        duration: float | None = None,
        error: str | None = None,
        stacktrace: str | None = None,
        exc_info: ExcInfo | None = None,
        exc_text: str | None = None,
    ) -> None:
        """Emit a status change, unless a level set on its logger turns it away."""
        if status.is_final:
            self.settle_progress()
            self._say_suppressed()
        logger = self._lifecycle_logger
        levelno = LIFECYCLE_LEVELS[status]
        _, source_level, pipeline_level = logger.levels()
        if levelno < source_level:
            if status.is_final:  # a level hides the news, not the end
                self.branch.watchers.end_task(self.context.task_id)
            return
        laid_out = self._layout(
            logger,
            status=status.value,
            retries_used=retries_used,
            duration=duration,
            error=error,
            stacktrace=stacktrace,
        )
        message = STATUS_MESSAGES[status]
        record = make_laid_out(laid_out, levelno, message, NOWHERE, exc_info=exc_info)
        record.__dict__["exc_text"] = exc_text and exc_text.rstrip("\n")
        self._send(logger, self._without_secrets(record), pipeline_level)
