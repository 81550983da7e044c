"""The functions that a manager knows, with their names and options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi_taskflow.execution.options import TaskFunction, TaskOptions, make_function

_DEFAULTS = TaskOptions()


class TaskRegistry:
    """Functions registered with options; the others get the defaults when they are enqueued."""

    def __init__(self) -> None:
        self._functions: dict[Callable[..., Any], TaskFunction] = {}
        self._named: dict[str, TaskFunction] = {}

    def register(
        self, call: Callable[..., Any], options: TaskOptions, name: str | None = None
    ) -> TaskFunction:
        """Give a function options; a second time replaces the first.

        Raises:
            TaskArgumentError: It is not callable.
            ConfigurationError: The name or the executor doesn't suit it.
        """
        function = make_function(call, options, name)
        self._functions[call] = function
        self._named[function.name] = function
        return function

    def named(self, name: str) -> TaskFunction | None:
        """The function that was registered last under a name, if one was."""
        return self._named.get(name)

    def find(self, call: object) -> TaskFunction:
        """The function as it was registered, or with default options; or as it was found before.

        Raises:
            TaskArgumentError: It is not callable.
        """
        if isinstance(call, TaskFunction):
            return call
        try:
            known = self._functions.get(call)  # type: ignore[call-overload]  # any object may ask
        except TypeError:  # a callable object without a hash
            known = None
        return known or make_function(call, _DEFAULTS)
