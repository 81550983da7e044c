"""A manager that takes secrets out of all that it stores and sends."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fastapi_taskflow import (
    ConfigurationError,
    FileLogger,
    InMemoryLogger,
    RedactFilter,
    TaskManager,
    get_task_context,
    task_log,
)

SECRET = "hunter2-and-more"


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{self.format(record)} {vars(record)}")


def leak() -> None:
    payload = {"password": SECRET, "user": {"name": "ada", "note": f"has {SECRET}"}}
    payload["self"] = payload
    task_log(f"password={SECRET}", payload=payload)
    assert payload["password"] == SECRET
    logging.getLogger("shop").warning("token: %s", SECRET)
    print("printed", SECRET)
    raise ValueError(f"can't log in with {SECRET}")


@pytest.fixture
def library_at_debug() -> Lines:
    lines = Lines()
    logger = logging.getLogger("fastapi_taskflow")
    logger.setLevel("DEBUG")
    logger.addHandler(lines)
    return lines


def test_no_secret_reaches_the_store_an_observer_or_the_pipeline(
    tmp_path: Path, library_at_debug: Lines
) -> None:
    memory = InMemoryLogger()
    manager = TaskManager(
        snapshot_db=tmp_path / "tasks.db",
        loggers=[memory, FileLogger(tmp_path / "a.json", formatter="json", log_lifecycle=True)],
        log_file=tmp_path / "a.log",
        log_lifecycle=True,
        capture_loggers=["shop"],
        log_prints=True,
        redact=RedactFilter(keys=["password", "token"], secrets=[SECRET]),
    )
    manager.task(retries=1)(leak)

    record = manager.run(leak, tags={"token": "abcdef", "kind": SECRET})

    assert record.error == "can't log in with [redacted]"
    assert record.tags == {"token": "[redacted]", "kind": "[redacted]"}
    told = [*memory.log_events, *memory.lifecycle_events, record, *record.logs, record.stacktrace]
    files = [path.read_text(errors="replace") for path in tmp_path.iterdir()]
    for text in (*map(repr, told), *files, *library_at_debug.lines):
        assert SECRET not in text
        assert "abcdef" not in text
    assert memory.log_events[0].message == "password=[redacted]"
    assert memory.log_events[0].extra["payload"]["user"]["name"] == "ada"


def test_the_body_itself_sees_everything() -> None:
    manager = TaskManager(redact=["token"])
    seen: list[Any] = []

    def body(token: str) -> str:
        seen.append((token, get_task_context()))
        return token

    record = manager.run(body, SECRET, tags={"token": SECRET})

    ((argument, context),) = seen
    assert (argument, context.tags) == (SECRET, {"token": SECRET})
    assert record.result == SECRET


def test_a_secret_registered_later_counts_at_once() -> None:
    memory, redact = InMemoryLogger(), RedactFilter(keys=[])
    manager = TaskManager(loggers=[memory], redact=redact)

    def body() -> None:
        task_log(f"before {SECRET}")
        redact.register(SECRET)
        task_log(f"after {SECRET}")

    manager.run(body)

    messages = [event.message for event in memory.log_events]
    assert messages == [f"before {SECRET}", "after [redacted]"]


@pytest.mark.parametrize("choice", ["password", 5, [5], [""]], ids=repr)
def test_what_says_nothing_of_secrets_is_refused(choice: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^redact="):
        TaskManager(redact=choice)


def test_an_argument_under_a_secret_key_is_no_part_of_a_captured_message() -> None:
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[memory], capture_loggers=["shop"], redact=["password"])

    manager.run(lambda: logging.getLogger("shop").error("in as %(password)s", {"password": SECRET}))

    assert [event.message for event in memory.log_events] == ["in as [redacted]"]


class Broken(logging.Handler):
    def handle(self, record: logging.LogRecord) -> bool:
        raise OSError(f"refused with {SECRET}")


def test_what_an_observer_raises_is_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    broken = Broken()
    logging.getLogger("fastapi_taskflow.task").addHandler(broken)
    manager = TaskManager(loggers=[Broken()], redact=RedactFilter(secrets=[SECRET]))

    manager.run(lambda: task_log("hello", level="error"))

    stats = manager.observer_stats()
    said = "OSError: refused with [redacted]"
    assert [stats[name].last_error for name in ("Broken", "pipeline")] == [said, said]
    assert SECRET not in caplog.text
    assert caplog.text.count(said) >= 2
    assert "Traceback" in caplog.text


def fail_in_a_chain() -> None:
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise ExceptionGroup("failed", [ValueError("order=17 is late")]) from error


@pytest.mark.parametrize("pattern", ["^order=[0-9]+", "^failed"])
def test_what_a_pattern_finds_in_an_error_is_not_in_its_traceback(
    pattern: str, caplog: pytest.LogCaptureFixture
) -> None:
    manager = TaskManager(redact=RedactFilter(patterns=[pattern]))

    record = manager.run(fail_in_a_chain)

    (found,) = [text for text in ("order=17", "failed (1") if text.startswith(pattern[1:6])]
    assert record.stacktrace is not None
    assert found not in record.stacktrace
    assert "[redacted]" in record.stacktrace
    assert found not in caplog.text


class Credentials(NamedTuple):
    user: str
    password: str


def test_the_fields_of_a_named_tuple_have_names() -> None:
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[memory], redact=["password"])

    manager.run(lambda: task_log("login", given=[Credentials("ada", "hunter2")]))

    (event,) = memory.log_events
    assert "ada" in str(event.extra)
    assert "hunter2" not in str(event.extra)


def log_in(user: str, password: str) -> None:
    raise PermissionError("refused")


def test_code_that_names_a_secret_is_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    manager = TaskManager(redact=["password"])

    def body() -> None:
        given = SECRET
        log_in(user="ada", password=given)

    record = manager.run(body)

    assert record.stacktrace is not None
    assert 'log_in(user="ada", password=given)' in record.stacktrace
    assert [bool(each.exc_info) for each in caplog.records] == [True, True]


def test_what_a_factory_adds_is_without_secrets() -> None:
    memory, keeper = InMemoryLogger(), Lines()
    plain = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = plain(*args, **kwargs)
        record.header = f"token={SECRET}"
        return record

    logging.setLogRecordFactory(factory)  # noqa: TID251  # an application's own
    logging.getLogger("fastapi_taskflow.task").addHandler(keeper)
    TaskManager(loggers=[memory], redact=["token"]).run(lambda: task_log("x", level="error"))

    (line,) = keeper.lines
    assert "token=[redacted]" in line
    assert SECRET not in line


def with_note(error: Exception, note: str) -> Exception:
    error.add_note(note)
    return error


@pytest.mark.parametrize(
    "make",
    [
        lambda: with_note(ValueError("no"), 'password="first\nAAAA1111"'),
        lambda: with_note(ValueError("no"), 'File "app.toml", line 3: password=AAAA1111'),
        lambda: ExceptionGroup("no", [with_note(ValueError("no"), 'password="first\nAAAA1111"')]),
        lambda: ExceptionGroup("no", [ValueError('password="first\nAAAA1111"')]),
        lambda: ExceptionGroup("no", [ExceptionGroup("no", [ValueError("a\nAAAA1111\nb")])]),
    ],
    ids=["note", "like a frame", "note in a group", "message in a group", "deep in groups"],
)
def test_no_secret_is_in_a_note_or_a_group(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    redact = RedactFilter(keys=["password"], secrets=["a\nAAAA1111\nb"])

    def body() -> None:
        error = make()
        raise error

    record = TaskManager(redact=redact).run(body)

    assert record.stacktrace is not None
    assert "AAAA1111" not in record.stacktrace
    assert "[redacted]" in record.stacktrace
    assert "AAAA1111" not in caplog.text
