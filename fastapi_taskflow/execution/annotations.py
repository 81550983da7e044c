"""What a function's parameters are annotated with, looked up where it is written as text."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import partial
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any, Unpack, get_args, get_origin, get_type_hints

_LOOKUP_ERRORS = (NameError, AttributeError, TypeError, SyntaxError, LookupError)


def annotated_part(call: Callable[..., Any]) -> Callable[..., Any]:
    """The function, or class, in which a callable's parameters are annotated.

    Bound methods and partials are made anew at each use; this lives as long as the code.
    """
    while True:
        if isinstance(call, partial):
            call = call.func
        elif isinstance(call, MethodType):
            call = call.__func__
        elif hasattr(call, "__wrapped__") and not hasattr(call, "__signature__"):
            call = inspect.unwrap(call, stop=lambda wrapper: hasattr(wrapper, "__signature__"))
        elif isinstance(call, (FunctionType, type)) or inspect.isbuiltin(call):
            return call
        else:
            called = getattr(type(call), "__call__", None)  # noqa: B004  # what a call runs
            if not isinstance(called, FunctionType):
                return call
            call = called


def annotations_of(part: Callable[..., Any]) -> dict[str, Any]:
    """The annotations by parameter; one that can't be looked up is left as the text it is.

    ``**options: Unpack[Options]`` makes one for each key, as "options.key".
    """
    try:
        parameters = inspect.signature(part).parameters.values()
    except (TypeError, ValueError):  # a built-in function may have none
        return {}
    names, types = _names_seen_by(inspect.unwrap(part))
    found: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.annotation is not inspect.Parameter.empty:
            annotation = _looked_up(parameter.annotation, names, types)
            found[parameter.name] = annotation
            if parameter.kind is parameter.VAR_KEYWORD and get_origin(annotation) is Unpack:
                found |= _unpacked(parameter.name, get_args(annotation)[0])
    return found


def _unpacked(name: str, keys: Any) -> dict[str, Any]:
    try:
        return {f"{name}.{key}": kind for key, kind in get_type_hints(keys).items()}
    except _LOOKUP_ERRORS:
        return {}


def _names_seen_by(part: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The names of its module, and its own type parameters (``def f[T](...)``)."""
    names = getattr(part, "__globals__", None)
    if names is None:
        names = vars(sys.modules.get(part.__module__ or "", SimpleNamespace()))
    types = getattr(part, "__type_params__", ())
    return names, {parameter.__name__: parameter for parameter in types}


def _looked_up(annotation: Any, names: dict[str, Any], types: dict[str, Any]) -> Any:
    holder = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return get_type_hints(holder, names, types, include_extras=True)["it"]
    except _LOOKUP_ERRORS:
        return annotation
