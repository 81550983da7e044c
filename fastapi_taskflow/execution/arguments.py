"""A task's arguments as text, from which another process can make the same call."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import Any

from fastapi_taskflow.errors import StoredArgumentsError, UnstorableArgumentError
from fastapi_taskflow.execution.alike import type_name
from fastapi_taskflow.execution.codecs import PLAIN, Codec, codecs_of
from fastapi_taskflow.execution.options import TaskFunction
from fastapi_taskflow.execution.plain import CodecError

_ANY_CALL = Signature(
    [Parameter("args", Parameter.VAR_POSITIONAL), Parameter("kwargs", Parameter.VAR_KEYWORD)]
)
"""What a built-in function takes that doesn't tell."""


def pack_arguments(
    function: TaskFunction,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    reveal_secrets: bool = False,
) -> str:
    """The call as JSON: arguments by their parameters' names, default values left out.

    Each is read back at once, so what is packed comes back: equal, and of the same type.

    Args:
        function: What is called; the call is one that ``check_call()`` lets through.
        args: The positional arguments.
        kwargs: The keyword arguments.
        reveal_secrets: Whether pydantic's secrets are written in clear, as the text will be
            encrypted. They are refused otherwise.

    Raises:
        UnstorableArgumentError: One of them would not come back; the message names it, its
            type and what to do, never its value.
    """
    takes = _parameters_of(function)

    def packed(argument: str, codec: Codec, value: Any) -> str:
        try:
            return codec.dump(value, reveal_secrets=reveal_secrets)
        except CodecError as error:
            reason = error.reason
        raise UnstorableArgumentError(function.name, argument, type_name(type(value)), reason)

    positional = [
        f"{json.dumps(name)}:{packed(name, takes.codec(name), value)}"
        for name, value in zip(takes.positional, args, strict=False)
    ]
    rest = [
        packed(f"{takes.rest}[{place}]", takes.codec(takes.rest), value)
        for place, value in enumerate(args[len(positional) :])
    ]
    keyword = [
        f"{json.dumps(name)}:{packed(name, takes.codec_of_keyword(name), value)}"
        for name, value in kwargs.items()
    ]
    return (
        f'{{"positional":{{{",".join(positional)}}},'
        f'"rest":[{",".join(rest)}],"keyword":{{{",".join(keyword)}}}}}'
    )


def unpack_arguments(function: TaskFunction, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The call that was packed, for the function as it is now.

    Arguments go by their parameters' names: parameters may have moved, and new ones have come
    with default values. If the signature is the same, so is the call.

    Raises:
        StoredArgumentsError: Parameters are gone, new ones have no default value, or an
            argument doesn't fit its annotation; the message names them.
    """
    takes = _parameters_of(function)
    stored = _parse(function.name, text)
    named, others = _matched(function.name, takes, stored)

    def unpacked(argument: str, codec: Codec, value: Any) -> Any:
        try:
            return codec.load(value)
        except CodecError as error:
            reason = error.reason
        raise StoredArgumentsError(function.name, f"argument {argument!r}: {reason}")

    values = {name: unpacked(name, takes.codec(name), value) for name, value in named.items()}
    args = [
        values.pop(name) if name in values else takes.named[name].default
        for name in _by_position(takes, stored, named)
    ]
    args += [
        unpacked(f"{takes.rest}[{place}]", takes.codec(takes.rest), value)
        for place, value in enumerate(stored.rest)
    ]
    for name, value in others.items():
        values[name] = unpacked(name, takes.codec_of_other(name), value)
    return tuple(args), values


class _Parameters:
    """What a function takes, and how it is stored."""

    def __init__(self, function: TaskFunction) -> None:
        self.named: dict[str, Parameter] = {}
        self.positional: list[str] = []
        self.rest: str | None = None
        self.others: str | None = None
        for name, parameter in (function.signature or _ANY_CALL).parameters.items():
            self._add(name, parameter)
        self._codecs = codecs_of(function.call) if function.signature else {}

    def _add(self, name: str, parameter: Parameter) -> None:
        if parameter.kind is Parameter.VAR_POSITIONAL:
            self.rest = name
        elif parameter.kind is Parameter.VAR_KEYWORD:
            self.others = name
        else:
            self.named[name] = parameter
            if parameter.kind is not Parameter.KEYWORD_ONLY:
                self.positional.append(name)

    def takes_keyword(self, name: str) -> bool:
        """Whether a keyword argument goes to a parameter of its own."""
        parameter = self.named.get(name)
        if parameter is None:
            return False
        return parameter.kind is not Parameter.POSITIONAL_ONLY or self.others is None

    def codec(self, name: str | None) -> Codec:
        """How a parameter's argument is stored."""
        return self._codecs.get(name or "", PLAIN)

    def codec_of_other(self, name: str) -> Codec:
        """How a keyword argument is stored that has no parameter of its own."""
        return self._codecs.get(f"{self.others}.{name}") or self.codec(self.others)

    def codec_of_keyword(self, name: str) -> Codec:
        """How a keyword argument is stored."""
        return self.codec(name) if self.takes_keyword(name) else self.codec_of_other(name)


_known: weakref.WeakKeyDictionary[Callable[..., Any], _Parameters] = weakref.WeakKeyDictionary()


def _parameters_of(function: TaskFunction) -> _Parameters:
    """What a function takes, found once for each, as its codecs are: it takes time."""
    try:
        known = _known.get(function.call)
        if known is None:
            known = _known[function.call] = _Parameters(function)
    except TypeError:  # a callable that can't be referenced weakly, or has no hash
        return _Parameters(function)
    return known


@dataclass(frozen=True, slots=True)
class _Call:
    """A call as it is stored."""

    positional: dict[str, Any]
    rest: list[Any]
    keyword: dict[str, Any]

    @property
    def is_sound(self) -> bool:
        """Whether each part is what it should be."""
        kinds = (type(self.positional), type(self.rest), type(self.keyword))
        return kinds == (dict, list, dict)


def _parse(func_name: str, text: str) -> _Call:
    try:
        call = _Call(**json.loads(text))
    except (ValueError, TypeError, RecursionError):
        call = None
    if call is None or not call.is_sound:  # raised out here: no context has the text
        raise StoredArgumentsError(func_name, "they are not what pack_arguments() has written")
    return call


def _matched(
    func_name: str, takes: _Parameters, stored: _Call
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The stored arguments of named parameters, and the other keyword arguments."""
    named = dict(stored.positional)
    others: dict[str, Any] = {}
    for name, value in stored.keyword.items():
        (named if takes.takes_keyword(name) else others)[name] = value
    gone = [name for name in stored.positional if name not in takes.named]
    if takes.others is None:
        gone += others
    if stored.rest and takes.rest is None:
        gone.append("*args")
    new = [
        name
        for name, parameter in takes.named.items()
        if name not in named and parameter.default is Parameter.empty
    ]
    reasons = [f"it has no parameter {name!r} any more" for name in gone]
    reasons += [f"its parameter {name!r} has no stored argument, nor a default" for name in new]
    if reasons:
        raise StoredArgumentsError(func_name, "; ".join(reasons))
    return named, others


def _by_position(takes: _Parameters, stored: _Call, named: dict[str, Any]) -> list[str]:
    """The parameters that get their arguments by position, up to the last that must."""
    if stored.rest:
        return takes.positional
    last = 0
    for place, name in enumerate(takes.positional, 1):
        only = takes.named[name].kind is Parameter.POSITIONAL_ONLY
        if name in stored.positional or (only and name in named):
            last = place
    return takes.positional[:last]
