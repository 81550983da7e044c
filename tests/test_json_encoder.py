"""Which encoder writes the line, and what both make of it."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import importlib.util
import json
import logging
import sys
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from fastapi_taskflow import TaskJsonFormatter, TaskStatus
from fastapi_taskflow.errors import ConfigurationError
from fastapi_taskflow.formatters.simple import is_simple
from fastapi_taskflow.sanitise import MAX_SIZE, sanitise

needs_orjson = pytest.mark.skipif(
    importlib.util.find_spec("orjson") is None, reason="orjson is an extra"
)
ENCODERS = ["json", pytest.param("orjson", marks=needs_orjson)]


def line_of(encoder: str | None, message: str = "hi", **extra: Any) -> str:
    record = logging.LogRecord("shop", logging.INFO, "shop.py", 1, message, (), None)
    record.created = 0.0
    vars(record).update(extra)
    return TaskJsonFormatter(encoder=encoder).format(record)


PARTS = {
    "end of line": "a\r\nb",
    "separators": "a\u2028b\u2029c\x85d\x0be",
    "controls": "\x00\x1b[31m\x7f\x9b",
    "bidi overrides": "a\u202eb\u2066c",
    "other scripts": "Grüße, 世界 🎉",
    "other scripts and escapes": '"é" \\é\n🎉\x7fé\\',
    "half a pair": "a\ud83d",
    "quotes": '"\\" \\u0041',
}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("text", PARTS.values(), ids=PARTS)
def test_a_line_is_ascii_that_can_be_seen(encoder: str, text: str) -> None:
    line = line_of(encoder, text, **{f"key {text}": {text: [text]}})

    readable = text.encode("utf-8", "backslashreplace").decode()
    data = json.loads(line)
    assert line.isascii()
    assert line.isprintable()
    assert data["message"] == readable
    assert data[f"key {readable}"] == {readable: [readable]}


@needs_orjson
@pytest.mark.parametrize("text", PARTS.values(), ids=PARTS)
def test_both_encoders_write_the_same_line(text: str) -> None:
    extra = {"text": text, "big": 2**70, "none": None, "list": [1, 2.5, True]}

    assert line_of("json", text, **extra) == line_of("orjson", text, **extra)


PROGRAM = """
import sys
sys.modules["orjson"] = None  # FastAPI imports it, too
from fastapi_taskflow import TaskJsonFormatter, TaskStatus
del sys.modules["orjson"]
TaskJsonFormatter(encoder="json")
assert "orjson" not in sys.modules
TaskJsonFormatter()
print("orjson" in sys.modules)
"""


def test_orjson_is_imported_where_it_is_used(run_python: Callable[[str], Any]) -> None:
    done = run_python(PROGRAM)

    installed = importlib.util.find_spec("orjson") is not None
    assert (done.stderr, done.stdout.strip()) == ("", str(installed))


def test_without_orjson_the_standard_library_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "orjson", None)

    assert json.loads(line_of(None))["message"] == "hi"


def test_orjson_that_is_not_installed_can_not_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "orjson", None)

    with pytest.raises(ConfigurationError, match=r"fastapi-taskflow\[orjson\]"):
        TaskJsonFormatter(encoder="orjson")


@pytest.mark.parametrize("encoder", ["", "ujson", 1, []])
def test_an_unknown_encoder_is_an_error_that_lists_the_right_ones(encoder: Any) -> None:
    with pytest.raises(ConfigurationError, match="'orjson', 'json'"):
        TaskJsonFormatter(encoder=encoder)


def lists(levels: int) -> Any:
    value: Any = "leaf"
    for _ in range(levels):
        value = [value, value]
    return value


def mappings(levels: int) -> Any:
    value: Any = "leaf"
    for _ in range(levels):
        value = {"a": value, "b": value}
    return value


def enumerated(levels: int) -> Any:
    value: Any = "leaf"
    for _ in range(levels):
        value = (value, frozenset([value]), value)
    return value


SHARED: dict[str, Callable[[], Any]] = {
    "lists": lambda: lists(18),
    "mappings": lambda: mappings(18),
    "tuples and sets": lambda: enumerated(12),
    "a long text": lambda: ["x" * 1_000_000] * 50,
    "a long key": lambda: [{"x" * 1_000_000: 1}] * 50,
    "unknown objects": lambda: [ValueError("x" * 1_000_000)] * 50,
    "bytes": lambda: [b"x" * 1_000_000] * 50,
    "wide": lambda: list(range(1_000_000)),
    "wide mapping": lambda: dict.fromkeys(range(1_000_000)),
}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("make", SHARED.values(), ids=SHARED)
def test_a_value_can_not_grow_the_line_without_bound(encoder: str, make: Callable[[], Any]) -> None:
    line = line_of(encoder, value=make(), after="kept")

    data = json.loads(line)
    assert len(line) < 2_500_000
    assert "<too large>" in line
    assert (data["message"], data["after"]) == ("hi", "kept")


@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_is_shared_a_few_times_is_written_each_time(encoder: str) -> None:
    part = {"a": [1]}

    data = json.loads(line_of(encoder, value=[part, part, {"b": part}]))

    assert data["value"] == [part, part, {"b": part}]


def test_a_value_up_to_the_limit_is_whole() -> None:
    items = list(range(MAX_SIZE - 1))

    assert sanitise(items) == items
    assert sanitise([*items, 1, 2]) == [*items, "<too large>"]


def test_one_long_text_is_whole() -> None:
    text = "x" * 5_000_000

    assert sanitise({"a": text}) == {"a": text}


class Number(int):
    def __int__(self) -> int:
        raise RuntimeError("no number")


class Fraction(float):
    def __float__(self) -> float:
        raise RuntimeError("no number")


@pytest.mark.parametrize(("value", "plain"), [(Number(3), 3), (Fraction(1.5), 1.5)])
def test_a_number_of_another_class_is_a_number(value: object, plain: float) -> None:
    assert sanitise(value) == plain
    assert type(sanitise(value)) is type(plain)


class Long(collections.UserDict[int, int]):
    def items(self) -> Any:
        for number in range(10 * MAX_SIZE):
            self.last = number
            yield number, number


def test_a_mapping_is_read_no_further_than_it_is_written() -> None:
    mapping = Long()

    copied = sanitise(mapping)

    assert copied["<too large>"] is None
    assert mapping.last == MAX_SIZE - 1


class Broken(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items")


def test_a_broken_container_is_no_cycle_the_next_time() -> None:
    broken = Broken()

    assert sanitise([broken] * 40) == ["<unreadable Broken>"] * 40


@dataclasses.dataclass
class Point:
    x: int = 1


def full(levels: int) -> Any:
    """As much as a simple value may have."""
    value: Any = "x" * 299
    for _ in range(levels):
        value = {f"{key:0299}": value for key in range(40)}
    return value


NOT_SIMPLE: dict[str, Any] = {
    "nan": float("nan"),
    "infinity in a list": [1.0, float("inf")],
    "nan in a tuple": {"a": (float("nan"),)},
    "a large number": 2**63,
    "a number of another class": Number(3),
    "a large number in a mapping": {"a": -(2**63) - 1},
    "a key that is a number": {1: 2},
    "a text in a list that is long": ["x" * 300],
    "a long text in a mapping": {"a": "x" * 300},
    "a long key": {"x" * 300: 1},
    "many items": list(range(41)),
    "many keys": {str(key): key for key in range(41)},
    "three levels": [{"a": [1]}],
    "a set": {1},
    "a dataclass": [Point()],
    "an id": uuid.UUID(int=0),
    "a time": {"at": datetime.date.min},
    "a mapping of another class": collections.OrderedDict(a=1),
    "a status": TaskStatus.FAILED,
}


@pytest.mark.parametrize("value", NOT_SIMPLE.values(), ids=NOT_SIMPLE)
def test_what_an_encoder_might_write_otherwise_is_copied(value: Any) -> None:
    assert not is_simple(value)


SIMPLE: dict[str, Any] = {
    "scalars": [None, True, 1, 1.5, "é", -(2**63), 2**63 - 1],
    "two levels": {"a": [1, "b"], "c": {"d": None}, "e": (1,)},
    "empty": [{}, [], ()],
    "full": full(2),
}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("value", SIMPLE.values(), ids=SIMPLE)
def test_what_is_not_copied_is_written_as_its_copy_would_be(encoder: str, value: Any) -> None:
    assert is_simple(value)
    assert json.loads(line_of(encoder, value=value))["value"] == sanitise(value)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_half_a_pair_in_a_line_changes_nothing_else_in_it(encoder: str) -> None:
    values = {"list": [1, "é"], "big": 2**70, "nan": float("nan"), "\ud83d": "key"}

    data = json.loads(line_of(encoder, "half \ud83d", **values))

    assert data["message"] == "half \\ud83d"
    assert data.items() >= {"list": [1, "é"], "big": 2**70, "nan": "nan"}.items()
    assert data["\\ud83d"] == "key"
