"""Records without their secrets: for the handler with the filter, and for no other."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import logging.handlers
import queue
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from fastapi_taskflow import InMemoryLogger, TaskManager, task_log
from fastapi_taskflow.errors import ConfigurationError
from fastapi_taskflow.events import LifecycleEvent, LogEvent
from fastapi_taskflow.filters import RedactFilter, TaskContextFilter
from fastapi_taskflow.formatters import TaskFormatter, TaskJsonFormatter
from fastapi_taskflow.handlers import ObserverHandler
from fastapi_taskflow.loggers.base import TaskObserver
from fastapi_taskflow.records import attach_extra, event_from, given_extra

GONE = "[redacted]"
REPLACES = sys.version_info >= (3, 12)
"""Whether the standard library's handlers take a record from a filter."""


class Keeper(logging.Handler):
    """Keeps the records it gets."""

    def __init__(self, *filters: logging.Filter) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        for each in filters:
            self.addFilter(each)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def lines(self, formatter: logging.Formatter | None = None) -> str:
        return "\n".join(map((formatter or logging.Formatter()).format, self.records))


def make_record(msg: object = "x", *args: object, **attributes: Any) -> logging.LogRecord:
    record = logging.LogRecord("shop", logging.INFO, "shop.py", 1, msg, args or None, None)
    record.__dict__.update(attributes)
    return record


def redacted(record: logging.LogRecord, *filters: RedactFilter) -> logging.LogRecord:
    """The record that a handler with the filters would emit."""
    keeper = Keeper(*(filters or (RedactFilter(secrets=["hunter2"]),)))
    keeper.handle(record)
    return keeper.records[0]


@pytest.fixture
def shop() -> logging.Logger:
    logger = logging.getLogger("shop")
    logger.setLevel("DEBUG")
    return logger


def failure(*, chained: bool = False) -> Any:
    """The exc_info of an error that tells a secret, itself or by its cause."""
    try:
        try:
            raise ValueError("no login with hunter2")
        except ValueError as error:
            if chained:
                raise RuntimeError("gave up") from error
            raise
    except (RuntimeError, ValueError):
        return sys.exc_info()


# What of a record is redacted.


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (make_record("with hunter2"), f"with {GONE}"),
        (make_record("with %s", "hunter2"), f"with {GONE}"),
        (make_record("password=%s for %s", "a b", "bob"), f"password={GONE} b for bob"),
        (make_record("%s", {"password": ["x"], "n": 1}), f"{{'password': '{GONE}', 'n': 1}}"),
        (
            make_record("%(password)s of %(user)s", {"password": "x", "user": "bob"}),
            f"{GONE} of bob",
        ),
        (make_record("%s and %d", "hunter2", 3), f"{GONE} and 3"),
        (make_record({"password": "x"}), f"{{'password': '{GONE}'}}"),
        (make_record(ValueError("hunter2")), GONE),
        (make_record("100% of hunter2"), f"100% of {GONE}"),
        (make_record("100%% of %s", "hunter2"), f"100% of {GONE}"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_message_is_redacted(record: logging.LogRecord, message: str) -> None:
    assert redacted(record).getMessage() == message


def test_a_number_that_is_secret_fits_no_percent_d_and_goes_all_the_same() -> None:
    record = make_record("pin %05d of %s", 76543, "bob")

    assert redacted(record, RedactFilter(secrets=["76543"])).getMessage() == f"pin {GONE} of bob"


def test_an_argument_that_the_message_does_not_show_is_redacted_too() -> None:
    record = redacted(make_record("%.0s%s", "hunter2", "x"))

    assert "hunter2" not in repr(vars(record))


@pytest.mark.parametrize("args", [("hunter2",), ("hunter2", 1, 2)], ids=["too few", "too many"])
def test_arguments_that_do_not_fit_are_redacted(args: tuple[object, ...]) -> None:
    """The standard library writes them to standard error."""
    record = redacted(make_record("%d: hunter2 %s", *args))

    assert "hunter2" not in repr(vars(record))
    with pytest.raises(TypeError):
        record.getMessage()


def test_the_mapping_that_structlog_passes_as_a_message_stays_a_mapping() -> None:
    event = {"event": "login", "password": "x", "user": "bob"}

    assert redacted(make_record(event)).msg == {**event, "password": GONE}
    assert event["password"] == "x"


@pytest.mark.parametrize(
    ("attributes", "after"),
    [
        ({"password": "x"}, {"password": GONE}),
        ({"password": 5}, {"password": GONE}),
        ({"headers": {"Api-Key": "x", "n": 1}}, {"headers": {"Api-Key": GONE, "n": 1}}),
        ({"tags": {"token": "x"}}, {"tags": {"token": GONE}}),
        ({"error": ValueError("hunter2")}, {"error": GONE}),
        ({"extra_token": 1}, {"extra_token": GONE}),
        ({"status": "hunter2"}, {"status": GONE}),
        ({"message": "with hunter2"}, {"message": f"with {GONE}"}),
        ({"exc_text": "with hunter2"}, {"exc_text": f"with {GONE}"}),
        ({"stack_info": "token: x"}, {"stack_info": f"token: {GONE}"}),
    ],
    ids=repr,
)
def test_attributes_are_redacted(attributes: dict[str, Any], after: dict[str, Any]) -> None:
    record = redacted(make_record(**attributes))

    assert {name: vars(record)[name] for name in after} == after


def test_an_attributes_name_is_redacted() -> None:
    record = redacted(make_record(hunter2=1, other=2))

    assert "hunter2" not in vars(record)
    assert vars(record)[GONE] == 1
    assert vars(record)["other"] == 2


@pytest.mark.parametrize("chained", [False, True], ids=["error", "cause"])
def test_a_traceback_with_a_secret_is_passed_on_as_text(chained: bool) -> None:
    record = make_record(exc_info=failure(chained=chained), exc_text="cached: hunter2")

    after = redacted(record)

    assert after.exc_info is None
    assert after.exc_text is not None
    assert after.exc_text.startswith("Traceback (most recent call last):")
    assert GONE in after.exc_text
    assert "hunter2" not in after.exc_text


def test_a_traceback_without_a_secret_keeps_its_exception() -> None:
    exc_info = failure()
    record = make_record("password=x", exc_info=exc_info)

    assert redacted(record, RedactFilter()).exc_info is exc_info


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("its own code ran")


def test_a_broken_exception_costs_no_line() -> None:
    error = Unprintable("hunter2")

    keeper = Keeper(RedactFilter(secrets=["hunter2"]))
    keeper.handle(make_record(exc_info=(Unprintable, error, None), error=error))

    assert "hunter2" not in keeper.lines()


@pytest.mark.parametrize("exc_info", [(None, None, None), True, 1], ids=repr)
def test_exc_info_that_is_none_costs_no_line(exc_info: Any) -> None:
    assert redacted(make_record(exc_info=exc_info)).getMessage() == "x"


def test_a_record_without_a_secret_is_passed_on_itself() -> None:
    record = make_record("%s", "x", user="bob", exc_info=failure())

    assert redacted(record, RedactFilter()) is record


def test_a_secret_registered_later_counts_at_once() -> None:
    redact = RedactFilter()
    keeper = Keeper(redact)
    keeper.handle(make_record("hunter2"))

    redact.register("hunter2")
    keeper.handle(make_record("hunter2"))

    assert keeper.lines() == f"hunter2\n{GONE}"


@pytest.mark.parametrize("options", [{"keys": "a"}, {"patterns": ["a*"]}, {"secrets": ["a"]}])
def test_a_wrong_rule_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        RedactFilter(**options)


# The copy.


class OwnRecord(logging.LogRecord):
    def __init__(self, *args: Any) -> None:
        raise AssertionError("a copy is not made again")


def test_the_copy_is_of_the_records_own_class() -> None:
    record = object.__new__(OwnRecord)
    record.__dict__.update(make_record("hunter2").__dict__)

    assert type(redacted(record)) is OwnRecord


@pytest.mark.skipif(not REPLACES, reason="the standard library can't take the copy")
def test_the_record_given_is_not_changed() -> None:
    extra = {"password": "x", "list": ["hunter2"], "hunter2": 1}
    record = make_record("%s", "hunter2", exc_info=failure(), **extra)
    before = dict(vars(record))

    after = redacted(record)

    assert after is not record
    assert vars(record) == before
    assert extra == {"password": "x", "list": ["hunter2"], "hunter2": 1}


@pytest.mark.skipif(not REPLACES, reason="other libraries' records are changed in place")
def test_other_handlers_of_a_logger_see_the_original(shop: logging.Logger) -> None:
    before, with_filter, after = Keeper(), Keeper(RedactFilter()), Keeper()
    for handler in (before, with_filter, after):
        shop.addHandler(handler)

    shop.info("password=%s", "x", extra={"token": "y"})

    assert with_filter.lines() == f"password={GONE}"
    assert before.records == after.records
    assert after.lines() == "password=x"
    assert vars(after.records[0])["token"] == "y"


@pytest.mark.skipif(REPLACES, reason="Python 3.11 has no other way")
def test_where_a_filter_can_not_replace_a_record_it_is_changed(shop: logging.Logger) -> None:
    with_filter, after = Keeper(RedactFilter()), Keeper()
    shop.addHandler(with_filter)
    shop.addHandler(after)

    shop.info("password=%s", "x")

    assert with_filter.lines() == after.lines() == f"password={GONE}"


def test_a_filter_on_a_logger_counts_for_all_its_handlers(shop: logging.Logger) -> None:
    handlers = Keeper(), Keeper()
    for handler in handlers:
        shop.addHandler(handler)
    shop.addFilter(RedactFilter())

    shop.info("password=x")

    assert {handler.lines() for handler in handlers} == {f"password={GONE}"}


def test_a_queue_gets_the_redacted_record(shop: logging.Logger) -> None:
    waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(waiting)
    handler.addFilter(RedactFilter())
    shop.addHandler(handler)

    shop.info("password=%s", "x", extra={"headers": {"cookie": "y"}})

    record = waiting.get_nowait()
    assert record.getMessage() == f"password={GONE}"
    assert vars(record)["headers"] == {"cookie": GONE}


# Named in a configuration.


def test_dict_config_makes_it(shop: logging.Logger) -> None:
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {
                "redact": {
                    "()": "fastapi_taskflow.filters.RedactFilter",
                    "keys": ["password"],
                    "patterns": ["sk-[a-z0-9]+", "ext://tests_of_redaction.PATTERN"],
                    "secrets": ["cfg://mine.secret"],
                    "replacement": "***",
                }
            },
            "formatters": {"text": {"format": "%(message)s %(token)s"}},
            "handlers": {
                "one": {
                    "class": "logging.StreamHandler",
                    "stream": "ext://tests_of_redaction.stream",
                    "filters": ["redact"],
                    "formatter": "text",
                }
            },
            "loggers": {"shop": {"handlers": ["one"]}},
            "mine": {"secret": "hunter2"},
        }
    )

    shop.warning("password=a sk-1 id-2 hunter2", extra={"token": "t"})

    assert CONFIGURED.stream.getvalue() == "password=*** *** *** *** t\n"


CONFIGURED = SimpleNamespace(PATTERN="id-[0-9]", stream=io.StringIO())


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    CONFIGURED.stream = io.StringIO()
    monkeypatch.setitem(sys.modules, "tests_of_redaction", CONFIGURED)


# A task's records.


def leak() -> None:
    task_log("password=a for bob", token="b", name="c", nested={"cookie": ["hunter2"]}, secret=4)
    raise ValueError("no login with hunter2")


def run_leak(manager: TaskManager) -> None:
    task = manager.task(name="leak")(leak)
    manager.run(task, tags={"api_key": "d", "user": "bob"})


@pytest.mark.parametrize("order", [0, 1], ids=["first", "last"])
@pytest.mark.parametrize("where", ["leak", "tree", "root"])
def test_a_pipeline_handler_with_the_filter_leaves_the_others_the_original(
    order: int, where: str
) -> None:
    names = {
        "leak": "fastapi_taskflow.task.leak",
        "tree": "fastapi_taskflow",
        "root": None,
    }
    logger = logging.getLogger(names[where])
    logging.getLogger("fastapi_taskflow").setLevel("DEBUG")
    plain, with_filter = Keeper(), Keeper(RedactFilter(secrets=["hunter2"]))
    for handler in (with_filter, plain) if order == 0 else (plain, with_filter):
        logger.addHandler(handler)
    memory = InMemoryLogger()

    run_leak(TaskManager(loggers=[memory]))

    for formatter in (logging.Formatter(), TaskFormatter(), TaskJsonFormatter()):
        lines = with_filter.lines(formatter)
        assert "hunter2" not in lines
        assert f"password={GONE} for bob" in lines
        assert "password=a for bob" in plain.lines(formatter)
    assert "hunter2" in plain.lines(TaskJsonFormatter())
    assert len(plain.records) == len(with_filter.records)
    assert memory.log_events[0].extra["token"] == "b"
    assert memory.lifecycle_events[-1].error == "no login with hunter2"


@pytest.fixture
def events() -> list[Any]:
    """What an observer's handler with the filter got of a task."""
    memory, plain = InMemoryLogger(), InMemoryLogger()
    memory.handler.addFilter(RedactFilter(secrets=["hunter2"]))
    run_leak(TaskManager(loggers=[memory, plain]))
    assert plain.log_events[0].message == "password=a for bob"
    assert plain.log_events[0].tags == {"api_key": "d", "user": "bob"}
    return [*memory.log_events, *memory.lifecycle_events]


def test_an_observers_events_are_redacted_by_its_handlers_filter(events: list[Any]) -> None:
    entry: LogEvent = events[0]
    failed: LifecycleEvent = events[-1]

    assert entry.message == f"password={GONE} for bob"
    assert entry.extra == {"token": GONE, "name": "c", "nested": {"cookie": GONE}, "secret": GONE}
    assert {tuple(event.tags.items()) for event in events} == {(("api_key", GONE), ("user", "bob"))}
    assert failed.error == f"no login with {GONE}"
    assert failed.stacktrace is not None
    assert "hunter2" not in failed.stacktrace
    assert "Traceback" in failed.stacktrace


def test_what_the_library_sets_on_a_record_stays_as_it_is() -> None:
    """Else a secret such as "success" would make the status none that there is."""
    names = ["task_id", "func_name", "attempt", "seq", "status", "tags", "error", "duration"]
    memory = InMemoryLogger()
    memory.handler.addFilter(RedactFilter(keys=names, secrets=["success", "leak", "INFO"]))

    TaskManager(loggers=[memory]).run(lambda: task_log("leak", duration=1), tags={"a": "leak"})

    (entry,), (_, ended) = memory.log_events, memory.lifecycle_events
    assert (entry.message, entry.extra, entry.tags) == (GONE, {"duration": GONE}, {"a": GONE})
    assert (ended.status.value, ended.func_name, ended.seq) == ("success", "<lambda>", 2)
    assert isinstance(ended.duration, float)


def test_extras_whose_name_was_taken_are_redacted_in_record_and_event() -> None:
    record = make_record(msg="x")
    attach_extra(record, {"args": "hunter2", "message": 1})

    after = redacted(record, RedactFilter(keys=["message"], secrets=["hunter2"]))

    assert given_extra(after) == {"args": GONE, "message": GONE}
    assert vars(after)["extra_args"] == vars(after)["extra_message"] == GONE


def test_an_attribute_that_a_filter_has_set_since_is_redacted_by_itself() -> None:
    record = make_record(msg="x")
    attach_extra(record, {"token": "a", "user": "bob", "gone": None, "args": "hunter2"})
    record.__dict__.update(user="hunter2", extra_args="kept", request={"token": "b"})
    del record.__dict__["gone"]

    after = redacted(record)

    assert given_extra(after) == {"token": GONE, "user": "bob", "gone": None, "args": GONE}
    assert {name: vars(after)[name] for name in ("token", "user", "extra_args", "request")} == {
        "token": GONE,
        "user": GONE,
        "extra_args": "kept",
        "request": {"token": GONE},
    }
    assert "gone" not in vars(after)


def test_extras_whose_names_become_the_same_are_all_kept() -> None:
    memory = InMemoryLogger()
    keeper = Keeper()
    redact = RedactFilter(secrets=["hunter2", "swordfish"])

    TaskManager(loggers=[memory, keeper], redact=redact).run(
        lambda: task_log("x", hunter2=1, swordfish=2),
        tags={"for hunter2": "a", "for swordfish": "b"},
    )

    (entry,) = memory.log_events
    assert entry.extra == {GONE: 1, f"{GONE} 2": 2}
    assert entry.tags == {f"for {GONE}": "a", f"for {GONE} 2": "b"}
    (record,) = [record for record in keeper.records if record.getMessage() == "x"]
    assert (vars(record)[GONE], vars(record)[f"{GONE} 2"]) == (1, 2)


class Counting:
    """Counts how often its text is made."""

    def __init__(self, text: str = "Counting()") -> None:
        self.text = text
        self.made = 0

    def __repr__(self) -> str:
        self.made += 1
        return self.text


@pytest.mark.parametrize("text", ["Counting()", "password=x"], ids=["plain", "secret"])
def test_an_extra_is_read_once_a_record(text: str) -> None:
    memory = InMemoryLogger()
    value = Counting(text)

    TaskManager(loggers=[memory], redact=RedactFilter()).run(lambda: task_log("x", user=value))

    assert value.made == 1
    assert len(memory.log_events) == 1


def test_an_attribute_is_read_once_a_record() -> None:
    value = Counting()

    redacted(make_record(user=value))

    assert value.made == 1


@pytest.mark.parametrize("by_logger", [False, True], ids=["handler", "logger"])
def test_an_adopted_handler_has_its_filter(by_logger: bool) -> None:
    plain, with_filter = Keeper(), Keeper(RedactFilter(secrets=["hunter2"]))
    handlers: list[Any] = [with_filter, plain]
    for handler in handlers:
        logging.getLogger("shop").addHandler(handler)

    run_leak(TaskManager(loggers=["shop"] if by_logger else handlers))

    assert "hunter2" not in with_filter.lines(TaskJsonFormatter())
    assert "hunter2" in plain.lines(TaskJsonFormatter())


class Listener(TaskObserver):
    def __init__(self) -> None:
        self.events: list[Any] = []

    async def on_log(self, event: LogEvent) -> None:
        self.events.append(event)

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        self.events.append(event)


def test_an_async_observer_gets_redacted_events() -> None:
    listener = Listener()
    handler = ObserverHandler(listener)
    handler.addFilter(RedactFilter(secrets=["hunter2"]))

    run_leak(TaskManager(loggers=[handler]))

    assert [event.seq for event in listener.events] == [0, 1, 2]
    assert "hunter2" not in repr(listener.events)
    assert f"password={GONE} for bob" in repr(listener.events)


class SentryLike(logging.Handler):
    """Reads the exception off the record, as crash reporters do."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.seen.append(f"exception: {record.exc_info[1]!r}")
        elif record.exc_text:
            self.seen.append(f"text: {record.exc_text.splitlines()[-1]}")


def test_a_crash_reporter_gets_the_exception_or_its_redacted_text() -> None:
    with_filter, plain = SentryLike(), SentryLike()
    with_filter.addFilter(RedactFilter(secrets=["hunter2"]))
    logging.root.addHandler(with_filter)
    logging.root.addHandler(plain)
    manager = TaskManager()

    def fail() -> None:
        raise ValueError("hunter2")

    def fail_openly() -> None:
        raise ValueError("swordfish")

    manager.run(fail)
    manager.run(fail_openly)

    assert f"text: ValueError: {GONE}" in with_filter.seen
    assert "exception: ValueError('swordfish')" in with_filter.seen
    assert not [text for text in with_filter.seen if "hunter2" in text]
    assert "exception: ValueError('hunter2')" in plain.seen


def test_a_captured_record_is_redacted_as_an_entry() -> None:
    memory = InMemoryLogger()
    memory.handler.addFilter(RedactFilter())
    manager = TaskManager(loggers=[memory], capture_loggers=["shop"])

    manager.run(lambda: logging.getLogger("shop").warning("password=%s", "x", extra={"token": 1}))

    (entry,) = memory.log_events
    assert (entry.message, entry.extra["token"]) == (f"password={GONE}", GONE)


class Talkative:
    """Logs itself when its text is asked for."""

    def __str__(self) -> str:
        task_log("asked", me=self)
        return "talkative with hunter2"


def test_an_object_that_logs_itself_while_it_is_read_is_read_once_a_record() -> None:
    memory = InMemoryLogger()

    TaskManager(loggers=[memory], redact=RedactFilter(secrets=["hunter2"])).run(
        lambda: task_log("outer", me=Talkative())
    )

    extras = {event.message: event.extra for event in memory.log_events}
    assert extras == {"outer": {"me": f"talkative with {GONE}"}, "asked": {"me": GONE}}


def test_filters_after_it_see_the_redacted_record() -> None:
    keeper = Keeper(RedactFilter(), TaskContextFilter())

    keeper.handle(make_record("password=x"))

    (record,) = keeper.records
    assert record.getMessage() == f"password={GONE}"
    assert vars(record)["task_id"] == "-"


def test_a_redacted_record_is_valid_json_of_the_same_event() -> None:
    keeper = Keeper(RedactFilter(secrets=["hunter2"]))
    run_leak(TaskManager(loggers=[keeper]))

    lines = [json.loads(TaskJsonFormatter().format(record)) for record in keeper.records]

    assert [line["event"] for line in lines] == ["lifecycle", "log", "lifecycle"]
    assert lines[1]["nested"] == {"cookie": GONE}
    assert lines[1]["secret"] == GONE
    assert all(event_from(record) is not None for record in keeper.records)
