"""Lines for people and for machines: exact, one an event, and never lost."""

from __future__ import annotations

import json
import logging
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from fastapi_taskflow import ConfigurationError, TaskFormatter, TaskJsonFormatter, TaskStatus
from fastapi_taskflow.events import LifecycleEvent, LogEvent
from fastapi_taskflow.loggers.emit import record_of
from fastapi_taskflow.records import utc_time

ID = "abc12345-0000-4000-8000-000000000000"


def _record(message: str = "hi", func_name: str = "send", **extra: Any) -> logging.LogRecord:
    record = logging.LogRecord("shop", logging.INFO, "", 0, "", (), None)
    record.created = 1767268800.25
    return record_of(
        LogEvent(ID, func_name, message, "info", utc_time(record), 0, {"k": "v"}, extra, 7)
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Sending to user@example.com", "Sending to user@example.com"),
        ("a\nb\r\nc", r"a\nb\r\nc"),
        ("\x1b[31mred\x00\x7f\x85", r"\x1b[31mred\x00\x7f\x85"),
        ("tab\tand \\ stay", "tab\tand \\ stay"),
        ("\u2028\u2029\u202e\u2066", r"\u2028\u2029\u202e\u2066"),
        ("é 日本 🎉", "é 日本 🎉"),
        ("", ""),
    ],
    ids=["plain", "newlines", "controls", "tab", "separators and bidi", "unicode", "empty"],
)
def test_a_text_line_is_exact(text: str, line: str) -> None:
    formatted = TaskFormatter().format(_record(text, func_name=text or "f"))

    assert formatted == f"[abc12345] [{line or 'f'}] 2026-01-01T12:00:00 {line}"


def test_a_status_change_is_a_line_without_its_traceback() -> None:
    event = LifecycleEvent(
        ID, "send", TaskStatus.FAILED, utc_time(_record()), 1, 1, 0.5, "boom", "Traceback\n"
    )

    line = TaskFormatter().format(record_of(event))

    assert line == "[abc12345] [send] 2026-01-01T12:00:00 -- FAILED"


@freeze_time("2026-01-01 12:00:00")
def test_another_librarys_record_has_its_loggers_name_and_its_traceback_on_the_line() -> None:
    try:
        raise ValueError("boom")
    except ValueError as error:
        info = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("shop", logging.INFO, "", 0, "%s\n", ("x",), info)
    record.exc_text = "cached by another formatter"

    line = TaskFormatter().format(record)

    assert line.startswith(r"[-] [shop] 2026-01-01T12:00:00 x\n\nTraceback (most recent")
    assert line.endswith(r"\nValueError: boom")
    assert record.exc_text == "cached by another formatter"
    assert "message" not in vars(record)


@given(st.text(), st.text(min_size=1))
def test_any_text_is_one_line(message: str, func_name: str) -> None:
    line = TaskFormatter().format(_record(message, func_name))

    assert line.splitlines() == [line]


def test_json_has_the_fields_and_the_extras_beside_them() -> None:
    line = TaskJsonFormatter().format(_record("hi", user="ada", timestamp=1, level=2, name=3))

    assert json.loads(line) == {
        "timestamp": "2026-01-01T12:00:00.250Z",
        "level": "info",
        "logger": "fastapi_taskflow.task.send",
        "event": "log",
        "message": "hi",
        "task_id": ID,
        "func_name": "send",
        "attempt": 0,
        "tags": {"k": "v"},
        "seq": 7,
        "user": "ada",
        "extra_timestamp": 1,
        "extra_level": 2,
        "extra_name": 3,
    }


def test_json_of_a_status_change_has_its_outcome() -> None:
    event = LifecycleEvent(
        ID, "send", TaskStatus.FAILED, utc_time(_record()), 1, 1, 0.5, "boom", "Trace"
    )

    data = json.loads(TaskJsonFormatter().format(record_of(event)))

    outcome = {"status": "failed", "retries_used": 1, "duration": 0.5, "error": "boom"}
    assert data.items() >= {**outcome, "stacktrace": "Trace", "event": "lifecycle"}.items()


class Colour(Enum):
    RED = "red"


class Hostile:
    def __str__(self) -> str:
        raise SystemError("no text")

    __repr__ = __str__


def _cycle() -> list[Any]:
    cycle: list[Any] = [1]
    cycle.append(cycle)
    return cycle


def _deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (b"\xff\x00ok", "\\xff\x00ok"),
        (Decimal("1.50"), "1.50"),
        (Colour.RED, "red"),
        ("\ud800", "\\ud800"),
        (_cycle(), [1, "<cycle>"]),
        ({("a", 1): 2}, {"('a', 1)": 2}),
        (Hostile(), "<unprintable Hostile: SystemError>"),
        (10**5000, "<unprintable int: ValueError>"),
        ({1}, [1]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_json_makes_text_of_what_it_has_no_form_for(value: object, text: object) -> None:
    line = TaskJsonFormatter().format(_record(value=value))

    assert json.loads(line)["value"] == text


def test_json_survives_any_depth() -> None:
    line = TaskJsonFormatter().format(_record(value=_deep(100_000)))

    assert json.loads(line)["message"] == "hi"


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.dates()
    | st.decimals()
    | st.text(alphabet=st.characters(categories=["Cs"])),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.integers() | st.none() | st.tuples(st.text()), inner)
        | st.tuples(inner)
    ),
    max_leaves=10,
)


@given(st.text(), st.dictionaries(st.text(), VALUES))
def test_any_message_and_extras_give_one_valid_json_line(
    message: str, extra: dict[str, Any]
) -> None:
    line = TaskJsonFormatter().format(_record(message, x=1) if not extra else _with(extra))

    assert line.isascii()
    assert line.splitlines() == [line]
    assert json.loads(line, parse_constant=pytest.fail)["task_id"] == ID
    json.dumps(json.loads(line), ensure_ascii=False).encode()  # no half of a surrogate pair


def _with(extra: dict[str, Any]) -> logging.LogRecord:
    event = LogEvent(ID, "send", "hi", "info", utc_time(_record()), 0, {}, extra)
    return record_of(event)


@pytest.mark.parametrize("formatter", [TaskFormatter, TaskJsonFormatter])
def test_a_form_that_is_fixed_refuses_a_format(formatter: Any) -> None:
    with pytest.raises(ConfigurationError, match="format='%\\(message\\)s'"):
        formatter("%(message)s")
