"""What can go wrong, one class a cause: each takes facts and makes the sentence."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from typing import Self


class TaskflowError(Exception):
    """The base of every error that this library raises."""


class ConfigurationError(TaskflowError, ValueError):
    """A parameter was given a value that it can't have.

    Args:
        parameter: The parameter's name, as the caller wrote it.
        value: What was given.
        expected: The right values: a sentence, or the values themselves.
    """

    def __init__(self, parameter: str, value: object, expected: str | Iterable[object]) -> None:
        if not isinstance(expected, str):
            expected = "one of " + ", ".join(repr(choice) for choice in expected)
        super().__init__(f"{parameter}={value!r} can't be used; expected {expected}")
        self.parameter = parameter
        self.value = value
        self.expected = expected

    def renamed(self, parameter: str) -> Self:
        """The same error, of the parameter's name in another signature."""
        return type(self)(parameter, self.value, self.expected)


class ConfigurationTypeError(ConfigurationError, TypeError):
    """A parameter was given a value of a type that it can't have."""


class LogFileError(TaskflowError, OSError):
    """A log file can't be opened for writing.

    Args:
        path: The file's absolute path.
        reason: What the operating system, or Python, said.
    """

    def __init__(self, path: str, reason: OSError | ValueError) -> None:
        super().__init__(
            f"path={path!r} can't be written: {getattr(reason, 'strerror', None) or reason}; "
            "expected a file in a directory that exists or can be created, and is writable"
        )
        self.path = path
        self.errno = getattr(reason, "errno", None)


class StoreError(TaskflowError, OSError):
    """The snapshot database can't be used.

    Args:
        url: Where it was looked for, without a password.
        reason: What went wrong, and what to do.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"the snapshot database {url!r} can't be used: {reason}")
        self.url = url


class StoreUnavailableError(TaskflowError, RuntimeError):
    """The database did not take a task within ``store_timeout``; the task will not run.

    Args:
        func_name: The task's function.
        timeout: The limit, in seconds.
    """

    def __init__(self, func_name: str, timeout: float) -> None:
        super().__init__(
            f"can't enqueue {func_name}: the database has not committed it in {timeout:g} s; "
            "add_task() enqueues without waiting for the database"
        )


class TaskArgumentError(TaskflowError, TypeError):
    """What was to be enqueued can't be called as asked.

    Args:
        name: The function, or what was given in its place.
        reason: What is wrong with the call.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"can't enqueue {name}: {reason}")


class TaskTimeoutError(TaskflowError, TimeoutError):
    """One attempt of a task took longer than the task's ``timeout``.

    Args:
        func_name: The task's function.
        timeout: The limit, in seconds.
    """

    def __init__(self, func_name: str, timeout: float) -> None:
        super().__init__(f"{func_name} exceeded its timeout of {timeout:g} s")


class TaskNotFoundError(TaskflowError, LookupError):
    """No task has this id, or it was forgotten since.

    Args:
        task_id: The id that was asked for.
    """

    def __init__(self, task_id: str) -> None:
        super().__init__(f"no task with id {task_id!r}")
        self.task_id = task_id


class TaskEndedError(TaskflowError, RuntimeError):
    """A task can't be cancelled, as it has ended.

    Args:
        task_id: The task.
        status: How it has ended.
    """

    def __init__(self, task_id: str, status: str) -> None:
        super().__init__(f"the task {task_id} can't be cancelled: it has ended as {status}")
        self.task_id = task_id
        self.status = status


class NotRetriableError(TaskflowError, RuntimeError):
    """A task can't be run again.

    Args:
        task_id: The task.
        reason: Why not.
    """

    def __init__(self, task_id: str, reason: str) -> None:
        super().__init__(f"the task {task_id} can't be retried: {reason}")
        self.task_id = task_id
        self.reason = reason


class ShuttingDownError(TaskflowError, RuntimeError):
    """The manager has begun to shut down and accepts no more tasks.

    Args:
        func_name: The function that was to be enqueued.
    """

    def __init__(self, func_name: str) -> None:
        super().__init__(
            f"can't enqueue {func_name}: the task manager is shutting down; "
            "it accepts tasks again once it has shut down"
        )


class WatchOverflowError(TaskflowError, RuntimeError):
    """Events came faster than a watcher took them, and some found no room.

    Args:
        missed: How many it has missed.
        size: How many may wait.
    """

    def __init__(self, missed: int, size: int) -> None:
        super().__init__(
            f"the watcher was too slow: {missed} event{'s' * (missed != 1)} found no room beside "
            f"the {size} that waited; take them faster, and call watch() again to go on"
        )
        self.missed = missed


class RunningLoopError(TaskflowError, RuntimeError):
    """``run()`` was called from a thread whose event loop is running."""

    def __init__(self) -> None:
        super().__init__(
            "run() can't block a running event loop; use `await task_manager.execute(...)` here"
        )


class UnstorableArgumentError(TaskArgumentError):
    """An argument can't be stored, so its task could not run again after a crash.

    Args:
        name: The function.
        argument: Which argument: a parameter's name, or a place such as ``args[2]``.
        kind: The name of the argument's type. (Its value may be a secret.)
        reason: What can't be stored, and what to do.
    """

    def __init__(self, name: str, argument: str, kind: str, reason: str) -> None:
        super().__init__(name, f"argument {argument!r} ({kind}) can't be stored: {reason}")
        self.argument = argument


class StoredArgumentsError(TaskflowError, ValueError):
    """A stored call doesn't fit the function as it is now.

    Args:
        name: The function.
        reason: Which parameters or arguments don't fit, and why.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"can't run {name} with its stored arguments: {reason}")


class DecryptionError(TaskflowError, ValueError):
    """Stored arguments are encrypted, and no key of this manager opens them.

    Args:
        keys: How many keys were tried.
    """

    def __init__(self, keys: int) -> None:
        tried = "there is no encrypt_args_key"
        if keys:
            tried = "none of the encrypt_args_key fits, or the text was changed"
        super().__init__(
            f"stored arguments can't be decrypted: {tried}; "
            "give the key that they were encrypted with too, after the one for new ones"
        )


class WorkerLostError(TaskflowError, RuntimeError):
    """A worker process ended in the middle of a task: it was killed, or crashed.

    Args:
        func_name: The task's function.
        exit_code: The process's exit code; the number of the signal that ended it, negative.
    """

    def __init__(self, func_name: str, exit_code: int) -> None:
        super().__init__(f"the worker process of {func_name} {exit_text(exit_code)}")
        self.exit_code = exit_code


class WorkerStartError(TaskflowError, RuntimeError):
    """A worker process can't be started, or ends before the task begins.

    Args:
        func_name: The task's function.
        reason: What went wrong.
    """

    def __init__(self, func_name: str, reason: str) -> None:
        super().__init__(f"{func_name} has no worker process: {reason}")


class WorkerLoadError(TaskflowError, RuntimeError):
    """A worker process can't load a task's function or arguments.

    Args:
        func_name: The task's function.
        reason: What went wrong.
    """

    def __init__(self, func_name: str, reason: str) -> None:
        super().__init__(
            f"a worker process can't load {func_name} and its arguments: {reason}; "
            "it imports their modules by name, as they are found in sys.path"
        )


class TaskResultError(TaskflowError, TypeError):
    """What a task returned in a worker process can't be sent back.

    Args:
        func_name: The task's function.
        reason: What went wrong.
    """

    def __init__(self, func_name: str, reason: str) -> None:
        super().__init__(
            f"what {func_name} returned can't be sent back from its worker process: {reason}"
        )


class RemoteError(TaskflowError):
    """Stands in for an error of a worker process whose class can't be brought back.

    It is raised as a subclass that has the original class's name, with its text.
    """


def exit_text(exit_code: int) -> str:
    """How a process ended."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return f"was killed by {name}"
