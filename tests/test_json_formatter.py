"""The line for machines: always valid, one object an event, our keys ours, values faithful."""

from __future__ import annotations

import collections
import enum
import io
import json
import logging
import logging.config
import math
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastapi_taskflow import (
    ConfigurationError,
    StdoutLogger,
    TaskJsonFormatter,
    TaskManager,
    TaskStatus,
    task_log,
)
from fastapi_taskflow.formatters import Preset, google_cloud

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
ID = "abc12345-0000-4000-8000-000000000000"
CONTEXT: dict[str, Any] = {"task_id": ID, "func_name": "send", "attempt": 0, "tags": {}, "seq": 1}
OWN_KEYS = {"timestamp", "level", "logger", "event", "message", *CONTEXT}


def make_record(message: Any = "hi", *args: object, name: str = "shop", **attributes: Any) -> Any:
    """Another library's record; Any, since it gets attributes of all kinds."""
    record = logging.LogRecord(name, logging.INFO, "shop.py", 1, message, args, None)
    record.created = NOON
    vars(record).update(attributes)
    return record


def task_record(message: str = "hi", **attributes: Any) -> Any:
    return make_record(message, name="fastapi_taskflow.task.send", **{**CONTEXT, **attributes})


def strictly(line: str) -> Any:
    """Parse as a strict reader does: no NaN, no key twice, no half of a surrogate pair."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), "a key twice"
        return dict(pairs)

    assert line.splitlines() == [line]
    data = json.loads(line, object_pairs_hook=once, parse_constant=pytest.fail)
    json.dumps(data, ensure_ascii=False).encode()
    return data


def logged(capsys: pytest.CaptureFixture[str], *, message: str = "hi", **extra: Any) -> Any:
    """The line of one entry, all the way from ``task_log()`` to standard output."""
    observer = StdoutLogger(formatter="json")
    record = TaskManager(loggers=[observer]).run(lambda: task_log(message, **extra))
    assert record.status is TaskStatus.SUCCESS
    return strictly(capsys.readouterr().out.removesuffix("\n"))


def test_an_entry_has_our_keys_and_the_extras_beside_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = logged(capsys, user="ada", amount=99.5)

    assert data.keys() == {*OWN_KEYS, "user", "amount"}
    assert (data["level"], data["event"], data["message"]) == ("info", "log", "hi")
    assert (data["user"], data["amount"]) == ("ada", 99.5)


def test_statuses_have_their_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise ValueError("boom")

    TaskManager(loggers=[StdoutLogger(formatter="json", log_lifecycle=True)]).run(broken)

    start, end = (strictly(line) for line in capsys.readouterr().out.splitlines())
    outcome = {"status", "retries_used", "duration", "error", "stacktrace"}
    assert start.keys() == end.keys() == OWN_KEYS | outcome
    assert (start["status"], start["level"], start["event"]) == ("running", "info", "lifecycle")
    assert (end["status"], end["level"], end["seq"]) == ("failed", "error", 1)
    assert "boom" in end["error"]
    assert end["duration"] >= 0


def test_the_time_is_utc_in_milliseconds() -> None:
    line = TaskJsonFormatter().format(task_record(created=NOON + 0.9876))

    assert strictly(line)["timestamp"] == "2026-01-01T12:00:00.987Z"


@pytest.mark.parametrize("key", sorted(OWN_KEYS - {"message", "level"} | {"serialize_error"}))
def test_an_extra_never_replaces_a_key_of_ours(
    key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = logged(capsys, **{key: "mine"})

    assert data.get(key) != "mine"
    assert data[f"extra_{key}"] == "mine"


@pytest.mark.parametrize("key", ["_id", "_", "__dunder__", "with space", "é", "", "\ud800", "\n"])
def test_an_extra_of_any_name_is_in_the_line(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = logged(capsys, **{key: "mine"})

    assert "mine" in data.values()


class Colour(str, enum.Enum):  # noqa: UP042  # like TaskStatus, whose text is not its value
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


FAITHFUL = {
    "none": (None, None),
    "bool": (True, True),
    "big int": (2**70, 2**70),
    "str enum": (Colour.RED, "red"),
    "status": (TaskStatus.FAILED, "failed"),
    "int enum": (Size.BIG, 3),
    "odd keys": ({True: 1, None: 2, 3: 4}, {"true": 1, "null": 2, "3": 4}),
    "tuple": ((1, (2,)), [1, [2]]),
    "set": ({1}, [1]),
    "bytes": (b"ok", "ok"),
    "date": (date(2026, 1, 1), "2026-01-01"),
    "datetime": (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00+00:00"),
    "uuid": (uuid.UUID(int=0), str(uuid.UUID(int=0))),
    "path": (PurePosixPath("a/b"), "a/b"),
    "mapping": (collections.ChainMap({"a": 1}), {"a": 1}),
}


@pytest.mark.parametrize("message", ["plain", "half \ud83d", "whole 🎉"])
@pytest.mark.parametrize(("value", "form"), FAITHFUL.values(), ids=FAITHFUL.keys())
def test_a_value_has_one_form_whatever_else_is_in_the_line(
    value: object, form: object, message: str
) -> None:
    line = TaskJsonFormatter().format(task_record(message, value=value))

    assert strictly(line)["value"] == form


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Liar:
    @property  # type: ignore[misc]  # it lies to isinstance()
    def __class__(self) -> type:
        raise RuntimeError("no class")


def cycle() -> Any:
    inner: dict[str, Any] = {}
    inner["again"] = [inner]
    return inner


def nested(levels: int) -> Any:
    value: Any = 0
    for level in range(levels):
        value = {"a": value} if level % 2 else [value]
    return value


def released() -> Any:
    view = memoryview(b"gone")
    view.release()
    return view


BAD = {
    "nan": lambda: [float("nan"), float("inf"), {float("nan"): 1}],
    "cycle": cycle,
    "set of tuples": lambda: {("a", 1)},
    "invalid bytes": lambda: b"\xff\xfe",
    "40 levels": lambda: nested(40),
    "100000 levels": lambda: nested(100_000),
    "10000 digits": lambda: 10**10_000,
    "surrogates": lambda: {"\ud800": "\udfff"},
    "tuple keys": lambda: {(1, 2): 3},
    "unprintable": Unprintable,
    "unprintable key": lambda: {Unprintable(): 1},
    "liar": Liar,
    "released buffer": released,
    "class": lambda: Unprintable,
    "exception": lambda: ValueError("a\nb"),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD.keys())
def test_no_value_costs_a_line(make: Callable[[], Any], capsys: pytest.CaptureFixture[str]) -> None:
    data = logged(capsys, value=make())

    assert (data["message"], data["level"]) == ("hi", "info")
    assert data["logger"] == "fastapi_taskflow.task.<lambda>"
    assert "value" in data or "serialize_error" in data


def test_a_bad_value_leaves_the_others_alone(capsys: pytest.CaptureFixture[str]) -> None:
    data = logged(capsys, bad=cycle(), worse=Unprintable(), user="ada", count=3)

    assert (data["user"], data["count"]) == ("ada", 3)


ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()))
LEAVES: list[st.SearchStrategy[Any]] = [
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    ANY_TEXT,
    st.binary(),
    st.dates(),
]
LEAVES += [st.decimals(), st.complex_numbers(), st.uuids(), st.builds(Unprintable)]
KEYS = ANY_TEXT | st.integers(10, 99) | st.tuples(st.integers())
VALUES = st.recursive(
    st.one_of(*LEAVES),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner) | st.tuples(inner, inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(ANY_TEXT, st.dictionaries(ANY_TEXT, VALUES, max_size=4))
def test_any_message_and_extras_give_one_valid_line_with_our_keys(
    message: str, extra: dict[str, Any]
) -> None:
    extra = {key: extra[key] for key in extra if key not in vars(task_record())}

    line = TaskJsonFormatter().format(
        task_record(message, **{f"x{k}": v for k, v in extra.items()})
    )

    data = json.loads(line, parse_constant=pytest.fail)
    json.dumps(data, ensure_ascii=False).encode()
    assert line.splitlines() == [line]
    assert data.keys() >= OWN_KEYS
    assert {key: data[key] for key in CONTEXT} == CONTEXT
    assert data["message"] == message.encode("utf-8", "backslashreplace").decode()


def test_another_librarys_record_is_a_line_with_its_traceback() -> None:
    try:
        raise ValueError("boom")
    except ValueError:
        record = make_record("%d items", 3, exc_info=sys.exc_info(), cart="c1")

    data = strictly(TaskJsonFormatter().format(record))

    assert (data["logger"], data["message"], data["cart"]) == ("shop", "3 items", "c1")
    assert "ValueError: boom" in data["stacktrace"]


@pytest.mark.parametrize("name", ["fastapi_taskflow.taskbar", "fastapi_taskflow.task.mine"])
def test_another_record_with_an_attribute_like_ours_is_no_event(name: str) -> None:
    data = strictly(TaskJsonFormatter().format(make_record(name=name, seq=1)))

    assert "event" not in data
    assert data["message"] == "hi"


def test_formatting_changes_nothing_in_the_record() -> None:
    record = task_record("\ud800", value=cycle())
    before = {key: id(value) for key, value in vars(record).items()}

    TaskJsonFormatter().format(record)

    assert {key: id(value) for key, value in vars(record).items()} == before


@pytest.mark.parametrize("key", ["class", "()"])
def test_a_configuration_can_name_it(key: str) -> None:
    stream = io.StringIO()
    handler = {"class": "logging.StreamHandler", "stream": stream, "formatter": "json"}
    config = {
        "version": 1,
        "formatters": {"json": {key: "fastapi_taskflow.formatters.TaskJsonFormatter"}},
        "handlers": {"out": handler},
        "loggers": {"fastapi_taskflow.task": {"level": "INFO", "handlers": ["out"]}},
    }

    logging.config.dictConfig(config)
    record = TaskManager().run(lambda: task_log("hi"))

    assert strictly(stream.getvalue().removesuffix("\n"))["task_id"] == record.task_id


def test_a_preset_that_fails_costs_no_line() -> None:
    preset = Preset(fields=lambda facts: {"user": facts.record.__dict__["user"]})

    line = json.loads(TaskJsonFormatter(preset=preset).format(make_record("hello")))

    assert (line["message"], line["serialize_error"]) == ("hello", "KeyError")


@pytest.mark.parametrize("preset", ["default", "ecs", "otel", "gcp"])
@pytest.mark.parametrize("values", [{"levelno": None}, {"created": math.nan}, {"created": "now"}])
def test_a_record_with_impossible_values_costs_no_line(preset: str, values: dict[str, Any]) -> None:
    record = make_record("hello")
    record.__dict__.update(values)

    assert "hello" in json.dumps(json.loads(TaskJsonFormatter(preset=preset).format(record)))


@pytest.mark.parametrize(
    "options",
    [{"fields": 5}, {"fields": dict, "inside": 5}, {"fields": dict, "reserved": "event"}],
    ids=["fields", "inside", "reserved"],
)
def test_a_preset_that_can_be_none_is_refused(options: Any) -> None:
    with pytest.raises(ConfigurationError):
        Preset(**options)


@pytest.mark.parametrize("project", ["", 5])
def test_what_is_no_projects_id_is_refused(project: Any) -> None:
    with pytest.raises(ConfigurationError, match="project="):
        google_cloud(project)
