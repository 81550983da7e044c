"""Whatever is logged: one line, strict JSON, the same object from every encoder."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import enum
import importlib.util
import io
import json
import logging
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastapi_taskflow import StdoutLogger, TaskJsonFormatter, TaskManager, TaskStatus, task_log

ENCODERS = ["json", "orjson"] if importlib.util.find_spec("orjson") else ["json"]
PRESETS = ["default", "ecs", "otel", "gcp"]
MESSAGE_KEYS = {"default": "message", "ecs": "message", "otel": "Body", "gcp": "message"}
FORMATTERS = {
    preset: [TaskJsonFormatter(preset=preset, encoder=encoder) for encoder in ENCODERS]
    for preset in PRESETS
}
CONTEXT = {"task_id": "abc12345", "func_name": "send", "attempt": 0, "tags": {}, "seq": 0}
NAMES = ["fastapi_taskflow.task.send", "shop", "é\n\ud800"]


def strictly(line: str) -> Any:
    """Parse as a strict reader does: nothing but ASCII that can be seen, no NaN, no key twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), "a key twice"
        return dict(pairs)

    assert line.isascii()
    assert line.isprintable()
    data = json.loads(line, object_pairs_hook=once, parse_constant=pytest.fail)
    json.dumps(data, ensure_ascii=False).encode()  # no half of a surrogate pair
    return data


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "not the text"


class Number(int):
    def __int__(self) -> int:
        raise RuntimeError("no number")

    __repr__ = __str__ = object.__repr__


class Fraction(float):
    def __float__(self) -> float:
        raise RuntimeError("no number")

    __repr__ = __str__ = object.__repr__


class Fields(dict[Any, Any]):
    def __repr__(self) -> str:
        raise RuntimeError("no text")


class Items(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("no items")


class Endless(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        while True:
            yield self


class Lazy(Mapping[Any, Any]):
    def __getitem__(self, key: Any) -> Any:
        raise KeyError(key)

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("no keys")

    def __len__(self) -> int:
        return 1


class Colour(str, enum.Enum):  # noqa: UP042  # like TaskStatus, whose text is not its value
    RED = "red"


class Odd(enum.Enum):
    NESTED = ({"a": [float("nan")]},)


@dataclasses.dataclass
class Point:
    x: float
    inside: Any = None


class Raises:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __str__(self) -> str:
        raise self.error

    __repr__ = __str__


class Liar:
    @property  # type: ignore[misc]  # it lies to isinstance()
    def __class__(self) -> type:
        raise RuntimeError("no class")


def cycle() -> Any:
    inner: dict[str, Any] = {}
    inner["again"] = [inner, types.MappingProxyType(inner)]
    return inner


def nested(levels: int) -> Any:
    value: Any = 0
    for level in range(levels):
        value = {"a": value} if level % 2 else [value]
    return value


def shared(levels: int) -> Any:
    value: Any = "leaf"
    for level in range(levels):
        value = {"a": value, "b": value} if level % 2 else (value, value)
    return value


def released() -> Any:
    view = memoryview(b"gone")
    view.release()
    return view


NASTY: dict[str, Callable[[], Any]] = {
    "numbers": lambda: [2**63, 2**70, -(2**63) - 1, 10**5000, -0.0, 5e-324, True],
    "not finite": lambda: [float("nan"), float("inf"), -float("inf")],
    "subclasses": lambda: [Text("é"), Number(3), Fraction("nan"), Fraction(1), Fields(a=1)],
    "raising": lambda: [Raises(ValueError("é\n")), Raises(RecursionError()), Items([1]), Lazy()],
    "exits": lambda: [Raises(asyncio.CancelledError()), Raises(SystemExit(1))],
    "liar": Liar,
    "endless": lambda: Endless([1]),
    "enums": lambda: [Colour.RED, Odd.NESTED, Colour, {Colour.RED: Odd.NESTED}],
    "dataclass": lambda: [Point(1.5), Point(float("nan"), Colour.RED), Point],
    "cycle": cycle,
    "40 levels": lambda: nested(40),
    "10000 levels": lambda: nested(10_000),
    "shared": lambda: shared(40),
    "released buffer": released,
    "other containers": lambda: [collections.UserDict(a=1), collections.deque([1]), range(3)],
    "keys": lambda: {b"\xff": 1, (1,): 2, 1: 3, "1": 4, None: 5, 1.5: 6, float("nan"): 7},
    "bad keys": lambda: {Raises(KeyError("k")): 1, Text("k"): 2, "\ud800": 3, "\\ud800": 4},
}


@dataclasses.dataclass(frozen=True)
class Nasty:
    """Stands for a value that hypothesis had better not print."""

    name: str


def made(value: Any) -> Any:
    if isinstance(value, Nasty):
        return NASTY[value.name]()
    if isinstance(value, list):
        return [made(item) for item in value]
    return {key: made(item) for key, item in value.items()} if isinstance(value, dict) else value


ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=())) | st.sampled_from(
    ["\u2028", "\u2029", "\x7f", "\x85", "\u202e", "\ud83d\ude00", "😀", "\x00", '"\\']
)
LEAVES = st.one_of(
    st.sampled_from(sorted(NASTY)).map(Nasty),
    st.none() | st.booleans() | st.integers() | st.floats(),
    ANY_TEXT | st.binary(max_size=8),
    st.dates() | st.datetimes() | st.times() | st.timedeltas() | st.uuids() | st.decimals(),
)
KEYS = ANY_TEXT | st.integers() | st.binary(max_size=4) | st.floats() | st.tuples(st.integers())
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("é" * 400)
FLAT = st.lists(SCALARS, max_size=4) | st.dictionaries(st.text(), SCALARS, max_size=4)
SMALL = st.lists(SCALARS | FLAT, max_size=45) | st.dictionaries(st.text(), SCALARS | FLAT)
OURS = ["message", "event", "task_id", "Body", "Attributes", "severity", "time", "log.level"]
EXTRAS = st.dictionaries(ANY_TEXT | st.sampled_from(OURS), VALUES, max_size=4)


def readable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def bare(name: str, message: str) -> Any:
    return logging.LogRecord(name, logging.INFO, "shop.py", 1, message, (), None)


@pytest.mark.parametrize("preset", PRESETS)
@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(NAMES), message=ANY_TEXT, extra=EXTRAS)
def test_any_record_is_one_line_and_the_same_object_from_every_encoder(
    preset: str, name: str, message: str, extra: dict[Any, Any]
) -> None:
    record = bare(name, message)
    taken = vars(record).keys() | (CONTEXT.keys() if name == NAMES[0] else set())
    vars(record).update({key: made(extra[key]) for key in extra if key not in taken})
    if name == NAMES[0]:
        vars(record).update(CONTEXT)

    lines = [formatter.format(record) for formatter in FORMATTERS[preset]]

    objects = [strictly(line) for line in lines]
    assert all(data == objects[0] for data in objects)
    assert objects[0][MESSAGE_KEYS[preset]] == readable(message)
    assert "serialize_error" not in objects[0]
    fields = objects[0]["Attributes"] if preset == "otel" else objects[0]
    assert len(fields) >= len(extra.keys() - taken - {"message"})


@settings(deadline=None, max_examples=300)
@given(value=VALUES | SMALL)
def test_a_value_is_the_same_whether_it_was_copied_or_not(value: Any) -> None:
    """Half of a pair in the message is what has every value copied."""
    value = made(value)
    for formatter in FORMATTERS["default"]:
        as_it_is, copied = bare("shop", "whole"), bare("shop", "half \ud800")
        as_it_is.value = copied.value = value

        lines = [strictly(formatter.format(record)) for record in (as_it_is, copied)]

        assert lines[0]["value"] == lines[1]["value"]


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("preset", PRESETS)
@settings(deadline=None, max_examples=15)
@given(message=ANY_TEXT, extra=EXTRAS)
def test_whatever_a_task_logs_is_one_line_and_the_task_succeeds(
    preset: str, encoder: str, message: str, extra: dict[str, Any]
) -> None:
    extra = {key: made(extra[key]) for key in extra if key != "level"}
    observer = StdoutLogger(formatter=TaskJsonFormatter(preset=preset, encoder=encoder))
    stream = io.StringIO()

    with contextlib.redirect_stdout(stream):
        record = TaskManager(loggers=[observer]).run(lambda: task_log(message, **extra))

    data = strictly(stream.getvalue().removesuffix("\n"))
    assert record.status is TaskStatus.SUCCESS
    assert data[MESSAGE_KEYS[preset]] == readable(message)
    fields = data["Attributes"] if preset == "otel" else data
    assert record.task_id in (fields.get("task_id"), fields.get("taskflow.task_id"))


@pytest.mark.parametrize("preset", PRESETS)
@settings(deadline=None, max_examples=30)
@given(
    tags=st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=3),
    error=ANY_TEXT,
    func_name=ANY_TEXT,
)
def test_any_tags_error_and_name_of_a_task_are_one_line(
    preset: str, tags: dict[str, str], error: str, func_name: str
) -> None:
    outcome = {"status": "failed", "retries_used": 0, "duration": 0.5, "stacktrace": error}
    record = bare("fastapi_taskflow.lifecycle.send", "FAILED")
    vars(record).update(CONTEXT, **outcome, error=error, tags=tags, func_name=func_name)

    objects = [strictly(formatter.format(record)) for formatter in FORMATTERS[preset]]

    assert all(data == objects[0] for data in objects)
    assert "serialize_error" not in objects[0]
