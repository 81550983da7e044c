"""What can be called as a task: its name, its kind, and which calls fit it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, CO_VARARGS, CO_VARKEYWORDS
from types import FunctionType
from typing import Any, TypeGuard

_GENERATOR = CO_GENERATOR | CO_ASYNC_GENERATOR
_VARIADIC = CO_VARARGS | CO_VARKEYWORDS


def name_of(call: Callable[..., Any]) -> str:
    """The name of a function, or of the class of another callable."""
    while isinstance(call, partial):
        call = call.func
    name = getattr(call, "__name__", None)
    return name if isinstance(name, str) else type(call).__name__


def is_async(call: Callable[..., Any]) -> bool:
    """Whether a call makes a coroutine."""
    if _is_bare(call):
        return bool(call.__code__.co_flags & CO_COROUTINE)
    while isinstance(call, partial):
        call = call.func
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(
        getattr(type(call), "__call__", None)  # noqa: B004  # an object with async __call__
    )


def is_generator(call: Callable[..., Any]) -> bool:
    """Whether it is a generator function, of either kind: a call of one runs nothing."""
    if _is_bare(call):
        return bool(call.__code__.co_flags & _GENERATOR)
    return inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call)


def surely_fits(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call can be seen to fit without a signature, as nearly every one can.

    To make a function's signature takes longer than to write a line, and it can't be kept for
    a function that is not registered: nobody would know when to forget it.

    Returns:
        True where the call fits; False where only the signature can tell.
    """
    if not _is_bare(call):
        return False
    code = call.__code__
    if code.co_flags & _VARIADIC or code.co_kwonlyargcount:
        return False
    given, most = len(args), code.co_argcount
    least = most - len(call.__defaults__ or ())
    if not kwargs:
        return least <= given <= most
    names = code.co_varnames[:most]
    by_name = names[max(given, code.co_posonlyargcount) :]
    return (
        given <= most
        and all(name in by_name for name in kwargs)
        and all(name in kwargs for name in names[given:least])
    )


def _is_bare(call: object) -> TypeGuard[FunctionType]:
    """Whether a function is what its code says: nobody has wrapped or marked it."""
    return type(call) is FunctionType and not call.__dict__
