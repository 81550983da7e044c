"""The names that each preset gives to a record's facts, and who may not take them."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import sys
from typing import Any

import pytest
import uvicorn

from fastapi_taskflow import (
    StdoutLogger,
    TaskContextFilter,
    TaskJsonFormatter,
    TaskManager,
    TaskStatus,
    task_log,
)
from fastapi_taskflow.errors import ConfigurationError
from fastapi_taskflow.formatters import Facts, Preset, google_cloud
from fastapi_taskflow.records import OWN_ATTRIBUTES

PRESETS = ["default", "ecs", "otel", "gcp"]
ID = "abc12345-0000-4000-8000-000000000000"
TRACE = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"}
CONTEXT = {
    "task_id": ID,
    "func_name": "send",
    "attempt": 1,
    "tags": {"kind": "welcome"},
    "seq": 7,
}
TIME = 1767268800.0019999  # what 12:00:00.002 is as a float, minus the smallest step
PLACE = {"pathname": "/srv/shop.py", "lineno": 12, "funcName": "send"}


def record_of(name: str, message: str, level: int = logging.INFO, /, **attributes: Any) -> Any:
    """A record; Any, since it gets attributes of all kinds."""
    record = logging.LogRecord(name, level, "", 0, message, (), None)
    vars(record).update({"created": TIME, **PLACE, **attributes})
    return record


def entry(**attributes: Any) -> Any:
    return record_of("fastapi_taskflow.task.send", "hi", **{**CONTEXT, **TRACE, **attributes})


def failed(**attributes: Any) -> Any:
    outcome = {
        "status": "failed",
        "retries_used": 1,
        "duration": 1.5,
        "error": "boom",
        "stacktrace": "Traceback\nLookupError: boom",
        "exc_info": (json.JSONDecodeError, json.JSONDecodeError("boom", "", 0), None),
        "pathname": "(unknown file)",
        "lineno": 0,
    }
    name = "fastapi_taskflow.lifecycle.send"
    given = {**CONTEXT, **TRACE, **outcome, **attributes}
    return record_of(name, "FAILED", logging.ERROR, **given)


def raised() -> Any:
    try:
        raise LookupError("no user")
    except LookupError:
        return sys.exc_info()


def format_(record: logging.LogRecord, preset: str | Preset) -> Any:
    return json.loads(TaskJsonFormatter(preset=preset).format(record))


ENTRY: dict[str, dict[str, Any]] = {
    "default": {
        "timestamp": "2026-01-01T12:00:00.002Z",
        "level": "info",
        "logger": "fastapi_taskflow.task.send",
        "event": "log",
        "message": "hi",
        **CONTEXT,
        **TRACE,
        "user": "ada",
    },
    "ecs": {
        "@timestamp": "2026-01-01T12:00:00.002Z",
        "log.level": "info",
        "message": "hi",
        "ecs.version": "8.11.0",
        "log.logger": "fastapi_taskflow.task.send",
        "event.kind": "event",
        "trace.id": TRACE["trace_id"],
        "span.id": TRACE["span_id"],
        "labels": {"kind": "welcome"},
        "taskflow.event": "log",
        "taskflow.task_id": ID,
        "taskflow.func_name": "send",
        "taskflow.attempt": 1,
        "taskflow.seq": 7,
        "extra_user": "ada",
    },
    "otel": {
        "Timestamp": "1767268800002000000",
        "SeverityText": "INFO",
        "SeverityNumber": 9,
        "Body": "hi",
        "TraceId": TRACE["trace_id"],
        "SpanId": TRACE["span_id"],
        "InstrumentationScope": {"name": "fastapi_taskflow.task.send"},
        "Attributes": {
            "taskflow.task_id": ID,
            "taskflow.func_name": "send",
            "taskflow.attempt": 1,
            "taskflow.seq": 7,
            "taskflow.tags": {"kind": "welcome"},
            "code.file.path": "/srv/shop.py",
            "code.line.number": 12,
            "code.function.name": "send",
            "user": "ada",
        },
    },
    "gcp": {
        "severity": "INFO",
        "message": "hi",
        "time": "2026-01-01T12:00:00.002Z",
        "logging.googleapis.com/labels": {"kind": "welcome"},
        "logging.googleapis.com/trace": TRACE["trace_id"],
        "logging.googleapis.com/spanId": TRACE["span_id"],
        "logging.googleapis.com/sourceLocation": {
            "file": "/srv/shop.py",
            "line": "12",
            "function": "send",
        },
        "logger": "fastapi_taskflow.task.send",
        "event": "log",
        "task_id": ID,
        "func_name": "send",
        "attempt": 1,
        "seq": 7,
        "user": "ada",
    },
}

FAILED: dict[str, dict[str, Any]] = {
    "default": {
        "level": "error",
        "event": "lifecycle",
        "status": "failed",
        "retries_used": 1,
        "duration": 1.5,
        "error": "boom",
        "stacktrace": "Traceback\nLookupError: boom",
    },
    "ecs": {
        "log.level": "error",
        "event.action": "task-failed",
        "event.outcome": "failure",
        "event.duration": 1_500_000_000,
        "error.type": "JSONDecodeError",
        "error.message": "boom",
        "error.stack_trace": "Traceback\nLookupError: boom",
        "taskflow.event": "lifecycle",
        "taskflow.status": "failed",
        "taskflow.retries_used": 1,
        "taskflow.duration": 1.5,
    },
    "otel": {
        "SeverityText": "ERROR",
        "SeverityNumber": 17,
        "EventName": "taskflow.lifecycle",
        "Attributes": {
            "taskflow.task_id": ID,
            "taskflow.func_name": "send",
            "taskflow.attempt": 1,
            "taskflow.seq": 7,
            "taskflow.tags": {"kind": "welcome"},
            "taskflow.status": "failed",
            "taskflow.retries_used": 1,
            "taskflow.duration": 1.5,
            "exception.type": "json.decoder.JSONDecodeError",
            "exception.message": "boom",
            "exception.stacktrace": "Traceback\nLookupError: boom",
        },
    },
    "gcp": {
        "severity": "ERROR",
        "event": "lifecycle",
        "status": "failed",
        "retries_used": 1,
        "duration": 1.5,
        "error": "boom",
        "stack_trace": "Traceback\nLookupError: boom",
    },
}


@pytest.mark.parametrize("preset", PRESETS)
def test_an_entry_has_the_names_of_the_preset(preset: str) -> None:
    data = format_(entry(user="ada"), preset)

    assert data == ENTRY[preset]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_failed_task_has_the_names_of_the_preset(preset: str) -> None:
    data = format_(failed(), preset)

    assert {key: data[key] for key in FAILED[preset]} == FAILED[preset]
    assert "logging.googleapis.com/sourceLocation" not in data


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("attribute", OWN_ATTRIBUTES)
def test_no_attribute_of_ours_is_missing(preset: str, attribute: str) -> None:
    shown = {"tags": {"kind": "shown"}}.get(attribute, "shown")

    line = TaskJsonFormatter(preset=preset).format(failed(**{attribute: shown}))

    assert '"shown"' in line


@pytest.mark.parametrize("preset", PRESETS)
def test_the_first_fields_are_those_a_reader_looks_for(preset: str) -> None:
    first = {
        "default": ["timestamp", "level", "logger", "event", "message"],
        "ecs": ["@timestamp", "log.level", "message"],
        "otel": ["Timestamp", "SeverityText", "SeverityNumber", "Body"],
        "gcp": ["severity", "message", "time"],
    }[preset]

    assert list(format_(entry(), preset))[: len(first)] == first


@pytest.mark.parametrize("preset", PRESETS)
def test_ids_are_there_only_while_a_span_is_current(preset: str) -> None:
    record = entry()
    del record.trace_id, record.span_id

    line = TaskJsonFormatter(preset=preset).format(record)

    assert "trace" not in line.lower()
    assert "span" not in line.lower()


def own_names(preset: str) -> list[str]:
    lines = [format_(entry(), preset), format_(failed(), preset)]
    return sorted({name for line in lines for name in {**line, **line.get("Attributes", {})}})


@pytest.mark.parametrize(
    ("preset", "name"), [(preset, name) for preset in PRESETS for name in own_names(preset)]
)
def test_no_extra_replaces_a_name_of_ours(preset: str, name: str) -> None:
    caught = {"exc_info": raised(), "stack_info": "Stack"}
    extra = {} if name in OWN_ATTRIBUTES else {name: "mine"}
    ours = format_(entry(**caught), preset)

    data = format_(entry(**caught, **extra), preset)

    attributes = ours.pop("Attributes", {})
    assert ours.items() <= data.items()
    assert attributes.items() <= data.get("Attributes", {}).items()


@pytest.mark.parametrize("preset", PRESETS)
def test_a_record_of_others_can_not_pass_for_an_event(preset: str) -> None:
    data = format_(record_of("shop", "hi", event="lifecycle"), preset)

    assert data.get("event") is None


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("fields", [["serialize_error"], ["extra_serialize_error"]])
def test_extras_that_would_have_one_name_are_both_there(preset: str, fields: list[str]) -> None:
    names = dict.fromkeys([*fields, "serialize_error", "extra_serialize_error"])
    extras = {name: f"value of {name}" for name in names}

    data = format_(entry(**extras), preset)

    assert {*extras.values()} <= {*map(str, {**data, **data.get("Attributes", {})}.values())}


SCHEMA_NAMES = ["user", "host", "error", "event", "labels", "tags", "log", "url", "trace"]


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_an_extra_can_not_clash_with_an_object_of_the_schema(name: str) -> None:
    data = format_(record_of("shop", "hi", **{name: "ada"}), "ecs")

    assert not isinstance(data.get(name), str)
    assert "ada" in data.values()


def test_an_extra_may_be_a_field_of_the_schema() -> None:
    data = format_(record_of("shop", "hi", **{"user.name": "ada"}), "ecs")

    assert data["user.name"] == "ada"


@pytest.mark.parametrize("name", ["timestamp", "timestampSeconds", "timestampNanos"])
def test_an_extra_can_not_change_the_time_in_google_cloud(name: str) -> None:
    data = format_(entry(**{name: 1}), "gcp")

    assert (name in data, data[f"extra_{name}"]) == (False, 1)


def test_labels_are_text_with_names_that_the_schema_allows() -> None:
    tags = {"a.b*c\\d": "1"}

    assert format_(entry(tags=tags), "ecs")["labels"] == {"a_b_c_d": "1"}
    assert format_(entry(tags=tags), "gcp")["logging.googleapis.com/labels"] == tags


@pytest.mark.parametrize("preset", ["ecs", "otel", "gcp"])
def test_what_a_record_has_not_is_not_in_the_line(preset: str) -> None:
    record = failed(tags={}, error=None, stacktrace=None, duration=None, exc_info=None)

    line = TaskJsonFormatter(preset=preset).format(record)

    assert not any(word in line for word in ("null", "labels", "tags", "stack", "duration"))


TRACE_PATH = f"projects/shop-1/traces/{TRACE['trace_id']}"


def test_a_line_for_google_cloud_can_name_the_project_of_the_trace() -> None:
    data = format_(entry(), google_cloud("shop-1"))

    assert data["logging.googleapis.com/trace"] == TRACE_PATH


LEVELS = {
    1: ("DEBUG", 2),
    10: ("DEBUG", 5),
    15: ("DEBUG", 8),
    20: ("INFO", 9),
    25: ("NOTICE", 12),
    30: ("WARNING", 13),
    40: ("ERROR", 17),
    50: ("CRITICAL", 21),
    70: ("CRITICAL", 24),
    0: ("DEFAULT", 0),
}


@pytest.mark.parametrize(("level", "severity"), LEVELS.items(), ids=map(str, LEVELS))
def test_a_level_has_its_severity(level: int, severity: tuple[str, int]) -> None:
    record = record_of("shop", "hi", level)

    name, number = format_(record, "gcp")["severity"], format_(record, "otel")["SeverityNumber"]

    assert (name, number) == severity


OUTCOMES = {
    "running": None,
    "success": "success",
    "failed": "failure",
    "interrupted": "unknown",
    "cancelled": "unknown",
}


@pytest.mark.parametrize(("status", "outcome"), OUTCOMES.items(), ids=OUTCOMES)
def test_only_an_end_has_an_outcome(status: str, outcome: str | None) -> None:
    data = format_(failed(status=status), "ecs")

    assert (data["event.action"], data.get("event.outcome")) == (f"task-{status}", outcome)


CAUGHT = {
    "default": ["stacktrace"],
    "ecs": ["error.stack_trace"],
    "otel": ["Attributes", "exception.stacktrace"],
    "gcp": ["stack_trace"],
}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("make", [entry, lambda **a: record_of("shop", "hi", **a)])
def test_a_traceback_is_shown_of_a_captured_and_a_foreign_record(preset: str, make: Any) -> None:
    """A captured record is an entry of the task's, and has the traceback of the original."""
    data = format_(make(exc_info=raised(), stack_info="Stack:\n  here"), preset)

    trace = data
    for key in CAUGHT[preset]:
        trace = trace[key]
    assert trace.startswith("Traceback")
    assert trace.endswith("LookupError: no user")
    assert "Stack:\\n  here" in json.dumps(data)


@pytest.mark.parametrize("preset", ["ecs", "otel"])
def test_a_caught_error_has_its_message_and_type(preset: str) -> None:
    data = format_(entry(exc_info=raised()), preset)
    data = data.get("Attributes", data)

    kind = "error" if preset == "ecs" else "exception"
    assert (data[f"{kind}.type"], data[f"{kind}.message"]) == ("LookupError", "no user")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_record_of_others_keeps_its_fields_whatever_their_names(preset: str) -> None:
    fields = {"status": 200, "duration": 12, "tags": ["a", "b"], "retries_used": None}

    data = format_(record_of("httpx", "GET /", **fields), preset)

    data = {**data, **data.get("Attributes", {})}
    assert (data["status"], data["duration"], data["retries_used"]) == (200, 12, None)
    assert ["a", "b"] in data.values()
    assert "event.action" not in data


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "given", [{}, {"task_id": "of another queue"}, {"tags": ["a"]}], ids=["bare", "id", "tags"]
)
def test_a_record_outside_a_task_has_no_field_of_a_task(preset: str, given: dict[str, Any]) -> None:
    """The filter says "-", and a field that is a number elsewhere must not be a text here."""
    record, filtered = record_of("shop", "hi", **TRACE, **given), record_of("shop", "hi", **TRACE)
    vars(filtered).update(given)

    TaskContextFilter().filter(filtered)

    assert filtered.attempt == "-"
    assert format_(filtered, preset) == format_(record, preset)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_record_inside_a_task_has_the_fields_of_the_task(preset: str) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TaskJsonFormatter(preset=preset))
    handler.addFilter(TaskContextFilter())
    logging.getLogger("shop").addHandler(handler)

    record = TaskManager().run(lambda: logging.getLogger("shop").warning("hi"))

    data = json.loads(stream.getvalue())
    fields = {**data, **data.get("Attributes", {})}
    own = "" if preset in ("default", "gcp") else "taskflow."
    assert (fields[f"{own}task_id"], fields[f"{own}attempt"]) == (record.task_id, 0)


@pytest.mark.parametrize("preset", PRESETS)
def test_uvicorns_message_is_not_there_twice(preset: str) -> None:
    """It comes a second time as ``color_message``, with the codes of a terminal."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TaskJsonFormatter(preset=preset))
    logging.getLogger("uvicorn").addHandler(handler)
    logging.getLogger("uvicorn").setLevel("INFO")

    uvicorn.Config("shop:app", port=0, log_config=None).bind_socket().close()

    line = stream.getvalue()
    assert line.count("Uvicorn running on http://127.0.0.1:") == 1
    assert "color" not in line
    assert "u001b" not in line


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("record", [entry(), record_of("uvicorns", "hi")], ids=["entry", "foreign"])
def test_the_same_extra_of_anybody_else_is_in_the_line(preset: str, record: Any) -> None:
    record.color_message = "red"

    data = format_(record, preset)

    assert {**data, **data.get("Attributes", {})}["color_message"] == "red"


@pytest.mark.parametrize("preset", PRESETS)
def test_every_line_of_a_task_is_written_under_the_preset(
    preset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        task_log("hi", user="ada")
        raise ValueError("boom")

    formatter = TaskJsonFormatter(preset=preset)
    observer = StdoutLogger(formatter=formatter, log_lifecycle=True)
    record = TaskManager(loggers=[observer]).run(body)

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert record.status is TaskStatus.FAILED
    assert len(lines) == 3
    for line in lines:
        assert (
            line.keys() >= format_(record_of("shop", "hi", logging.INFO, lineno=0), preset).keys()
        )
        assert record.task_id in {*map(str, {**line, **line.get("Attributes", {})}.values())}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_configuration_can_choose_the_preset(preset: str) -> None:
    stream = io.StringIO()
    formatter = {
        "()": "fastapi_taskflow.formatters.TaskJsonFormatter",
        "preset": preset,
        "encoder": "json",
    }
    handler = {"class": "logging.StreamHandler", "stream": stream, "formatter": "json"}
    config = {
        "version": 1,
        "formatters": {"json": formatter},
        "handlers": {"out": handler},
        "loggers": {"fastapi_taskflow.task": {"level": "INFO", "handlers": ["out"]}},
    }

    logging.config.dictConfig(config)
    TaskManager().run(lambda: task_log("hi"))

    first, *_ = json.loads(stream.getvalue())
    assert first == next(iter(ENTRY[preset]))


def short_names(facts: Facts) -> dict[str, Any]:
    return {"m": facts.message, "t": facts.context.get("task_id"), "x": {}}


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        (None, {"m": "hi", "t": ID, "x": {}, "extra_m": 1, "extra_secret": 2, "n": 3}),
        ("x", {"m": "hi", "t": ID, "x": {"m": 1, "extra_secret": 2, "n": 3}}),
    ],
    ids=["beside", "inside"],
)
def test_a_preset_may_be_ones_own(inside: str | None, expected: Any) -> None:
    preset = Preset(fields=short_names, inside=inside, reserved=frozenset({"secret"}))

    assert format_(entry(m=1, secret=2, n=3), preset) == expected


@pytest.mark.parametrize("preset", ["ECS", "", None, 1, [], {}])
def test_an_unknown_preset_is_an_error_that_lists_the_right_ones(preset: Any) -> None:
    with pytest.raises(ConfigurationError, match="'default', 'ecs', 'otel', 'gcp'"):
        TaskJsonFormatter(preset=preset)


@pytest.mark.parametrize("preset", PRESETS)
def test_formatting_changes_no_value_of_the_record(preset: str) -> None:
    tags = {"kind": "é\ud800"}
    record = entry(tags=tags, items=[float("nan")])
    before = dict(vars(record))

    TaskJsonFormatter(preset=preset).format(record)

    assert vars(record) == before
    assert tags == {"kind": "é\ud800"}


TIMES = ["timestamp", "@timestamp", "Timestamp", "time"]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_message_that_can_not_be_made_costs_no_line(preset: str) -> None:
    record = entry(msg="%d items", args=("three",))

    data = format_(record, preset)

    assert {"%d items", "TypeError"} <= {str(value) for value in data.values()}
    assert data["serialize_error"] == "TypeError"
    assert [data.get(key) for key in TIMES] == [ENTRY[preset].get(key) for key in TIMES]
    assert ID in json.dumps(data)
