"""What goes to a worker process and comes back, as bytes; and what becomes of the rest."""

from __future__ import annotations

import os
import pickle
import pickletools
import sys
from collections.abc import Callable, Iterator
from multiprocessing import spawn  # which also makes __main__ known by its name in workers
from types import ModuleType
from typing import Any, NamedTuple

from fastapi_taskflow.errors import TaskArgumentError, WorkerLoadError
from fastapi_taskflow.execution.options import TaskFunction
from fastapi_taskflow.loggers.birth import text_of

MAIN = "__main__"

_PLAIN = (str, int, float, bool, bytes, type(None))


MAX_DEPTH = 8
"""Levels of nesting of a value that are searched for what can't be pickled."""


class Payload(NamedTuple):
    """A call on its way to a worker.

    Attributes:
        data: Function, positional and keyword arguments, pickled.
        main: How the worker finds this program's ``__main__``, as ``multiprocessing`` has it;
            empty where nothing in the call is defined there.
    """

    data: bytes
    main: dict[str, str]


class Blob(NamedTuple):
    """A value that is not plain, pickled by itself, so that it can't spoil the others."""

    data: bytes


def dumps(value: object) -> bytes:
    """Pickle a value; with cloudpickle, where that is installed, what pickle can't.

    Raises:
        Exception: Whatever the value's own code, or a pickler, raises.
    """
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001  # the value's own code
        return _by_value(value, error)


def _by_value(value: object, error: Exception) -> bytes:
    """Pickle a value with cloudpickle; where there is none, raise what pickle raised."""
    cloudpickle = _cloudpickle()
    if cloudpickle is None:
        raise error
    data: bytes = cloudpickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return data


def try_dumps(value: object) -> bytes | None:
    """Pickle a value as ``dumps`` does; None where that can't be."""
    try:
        return dumps(value)
    except Exception:  # noqa: BLE001  # the value's own code
        return None


def loads(data: bytes) -> Any:
    """Bring a pickled value back."""
    return pickle.loads(data)


def _cloudpickle() -> ModuleType | None:
    try:
        import cloudpickle  # noqa: PLC0415  # optional
    except ImportError:
        return None
    module: ModuleType = cloudpickle
    return module


def pack_call(function: TaskFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Payload:
    """Make a call ready for a worker.

    Raises:
        TaskArgumentError: The function or an argument can't be pickled; the message names it.
    """
    if _loading.main:
        raise TaskArgumentError(function.name, UNGUARDED)
    try:
        return _pack((function.call, args, kwargs))
    except Exception as error:
        raise TaskArgumentError(function.name, _fault(function, args, kwargs, error)) from error


def _pack(value: object) -> Payload:
    try:
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        return Payload(data, find_main() if _names_main(data) else {})
    except Exception as error:  # noqa: BLE001  # the value's own code
        return Payload(_by_value(value, error), {})


def _names_main(data: bytes) -> bool:
    """Whether something pickled is defined in ``__main__``."""
    return MAIN.encode() in data and any(arg == MAIN for _, arg, _ in pickletools.genops(data))


def find_main() -> dict[str, str]:
    """How another process finds this program's ``__main__``, as ``multiprocessing`` is told it.

    Raises:
        PicklingError: It can't, in an interactive session, say.
    """
    main = sys.modules[MAIN]
    name = getattr(getattr(main, "__spec__", None), "name", MAIN)
    if name != MAIN and not name.endswith(f".{MAIN}"):
        return {"init_main_from_name": name}
    path = getattr(main, "__file__", None)
    if path is None or name != MAIN:  # multiprocessing doesn't import a package's __main__
        raise pickle.PicklingError(f"{MAIN} is no module or script that can be imported")
    return {"init_main_from_path": os.path.abspath(path)}


class _Loading:
    """Whether this process is a worker that is importing the program's ``__main__``."""

    main = False


_loading = _Loading()

UNGUARDED = (
    "the program's main module runs it when a worker process imports it; "
    "put what the program does under `if __name__ == '__main__':`"
)


def load_main(main: dict[str, str]) -> None:
    """Import the program's main module, in a worker, unless that is done or nothing needs it."""
    if not main:
        return
    _loading.main = True
    try:
        spawn.prepare(dict(main))
    finally:
        _loading.main = False


def _fault(
    function: TaskFunction, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception
) -> str:
    """What in the call can't be pickled, and why."""
    if (reason := _reason_against(function.call)) is not None:
        return (
            f"a worker process can't find the function: {reason}; define it at the top of a "
            "module, or install cloudpickle (the extra 'process')"
        )
    for name, value in _named(function, args, kwargs):
        if (reason := _reason_against(value)) is not None:
            kind = type(value).__name__
            return f"argument {name!r} ({kind}) can't be sent to a worker process: {reason}"
    return f"the call can't be sent to a worker process: {_describe(error)}"


def _reason_against(value: object) -> str | None:
    try:
        dumps(value)
    except Exception as error:  # noqa: BLE001  # the value's own code
        return _describe(error)
    return None


def _named(
    function: TaskFunction, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[str, object]]:
    """The arguments, each with its parameter's name."""
    if function.signature is not None:
        yield from function.signature.bind(*args, **kwargs).arguments.items()
    else:
        yield from ((f"args[{index}]", value) for index, value in enumerate(args))
        yield from kwargs.items()


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {text_of(error)}"


def unpack_call(
    name: str, payload: Payload
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Bring a call back, in the worker.

    Raises:
        WorkerLoadError: It can't be brought back: a module can't be imported, say.
    """
    try:
        load_main(payload.main)
        call, args, kwargs = loads(payload.data)
    except (Exception, SystemExit) as error:  # the modules' own code
        raise WorkerLoadError(name, _describe(error)) from error
    return call, args, kwargs


def pack_value(value: Any) -> Any:
    """A value that surely gets across; what can't be pickled in it becomes text."""
    if type(value) in _PLAIN:
        return value
    data = try_dumps(value)
    if data is None:
        data = try_dumps(_degraded(value, MAX_DEPTH))
    return text_of(value) if data is None else Blob(data)


def _degraded(value: Any, depth: int) -> Any:
    """A value with text in place of all that can't be pickled."""
    if depth == 0:
        return text_of(value)
    if type(value) is dict:
        items = value.items()
        return {_degraded(key, depth - 1): _degraded(item, depth - 1) for key, item in items}
    if type(value) in (list, tuple, set):
        return type(value)(_degraded(item, depth - 1) for item in value)
    return text_of(value) if try_dumps(value) is None else value


def unpack_value(value: Any) -> Any:
    """What ``pack_value`` packed, or a text where that can't be brought back here."""
    if type(value) is not Blob:
        return value
    try:
        return loads(value.data)
    except Exception as error:  # noqa: BLE001  # the value's own code
        return f"<unreadable: {_describe(error)}>"


def pack_values(values: dict[str, Any]) -> dict[str, Any]:
    """Pack each value."""
    return {name: pack_value(value) for name, value in values.items()}


def unpack_values(values: dict[str, Any]) -> dict[str, Any]:
    """Bring each value back."""
    return {name: unpack_value(value) for name, value in values.items()}
