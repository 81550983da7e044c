"""An error on its way back from a worker process, whatever its class makes of that."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastapi_taskflow.errors import RemoteError
from fastapi_taskflow.execution.failure import Failure, RemoteTraceback
from fastapi_taskflow.execution.processes.packing import (
    loads,
    pack_value,
    pack_values,
    try_dumps,
    unpack_value,
    unpack_values,
)
from fastapi_taskflow.loggers.birth import text_of


class PackedError(NamedTuple):
    """An error on its way back.

    Attributes:
        name: The name of its class.
        text: Its message.
        whole: The error, pickled, where that can be.
        kind: Its class, pickled, where that can be.
        args: Its ``args``, packed.
        state: Its other attributes, packed.
        trace: Its traceback, and those of its causes.
    """

    name: str
    text: str
    whole: bytes | None
    kind: bytes | None
    args: tuple[Any, ...]
    state: dict[str, Any]
    trace: RemoteTraceback


def pack_error(error: BaseException) -> PackedError:
    """Make an error ready for its way back, with its traceback as text."""
    return PackedError(
        type(error).__name__,
        text_of(error),
        try_dumps(error),
        try_dumps(type(error)),
        tuple(pack_value(value) for value in error.args),
        pack_values(vars(error)),
        RemoteTraceback.of(Failure(error).exc_info),
    )


def unpack_error(packed: PackedError) -> BaseException:
    """The error as it was, or one that looks like it.

    Many classes can't be pickled since their ``__init__`` takes other arguments than ``args``
    has; those are made without it.
    """
    for make in (_loaded, _remade):
        try:
            error = make(packed)
        except Exception:  # noqa: BLE001, S112  # the error's own code: the next way is tried
            continue
        if isinstance(error, BaseException) and text_of(error) == packed.text:
            return error
    kind = type(packed.name, (RemoteError,), {})
    stand_in: BaseException = kind(packed.text)
    return stand_in


def _loaded(packed: PackedError) -> object:
    return None if packed.whole is None else loads(packed.whole)


def _remade(packed: PackedError) -> object:
    if packed.kind is None:
        return None
    kind = loads(packed.kind)
    error = kind.__new__(kind, *(unpack_value(value) for value in packed.args))
    vars(error).update(unpack_values(packed.state))
    return error
