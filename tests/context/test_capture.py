"""Other loggers' records as entries of the task in which they were made."""

from __future__ import annotations

import asyncio
import logging
import logging.config
import threading
from typing import Any

import pytest

from fastapi_taskflow import (
    ConfigurationError,
    InMemoryLogger,
    LogEvent,
    TaskContextFilter,
    TaskManager,
    task_log,
)


def captured(*names: str, **options: Any) -> tuple[TaskManager, InMemoryLogger]:
    memory = InMemoryLogger()
    return TaskManager(loggers=[memory], capture_loggers=names, **options), memory


@pytest.fixture(autouse=True)
def shop_at_debug() -> None:
    logging.getLogger("shop").setLevel("DEBUG")


def entries(memory: InMemoryLogger) -> list[tuple[str, str]]:
    return [(event.level, event.message) for event in memory.log_events]


@pytest.mark.parametrize(
    "names",
    [["shop"], ["shop", "shop.db"], ["root"], ["root", "shop", "shop.db"], ["shop", "shop"]],
    ids=" ".join,
)
def test_a_record_of_a_captured_logger_is_one_entry(names: list[str]) -> None:
    manager, memory = captured(*names)

    def body() -> None:
        logging.getLogger("shop.db").info("%d rows", 3)
        logging.getLogger("shop").error("none left")
        task_log("own")

    record = manager.run(body)

    assert entries(memory) == [("info", "3 rows"), ("error", "none left"), ("info", "own")]
    assert [line[21:] for line in record.logs] == ["3 rows", "none left", "own"]
    assert [event.seq for event in memory.log_events] == [1, 2, 3]


def test_an_entry_says_where_it_came_from_and_has_the_extras(tmp_path: Any) -> None:
    records: list[logging.LogRecord] = []
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[memory, Keeper(records)], capture_loggers=["shop"])
    originals: list[logging.LogRecord] = []
    logging.getLogger("shop").addHandler(Keeper(originals))

    manager.run(lambda: logging.getLogger("shop").info("sold", extra={"item": ["pen"]}))

    (event,) = memory.log_events
    (original,) = originals
    (entry,) = [record for record in records if record.getMessage() == "sold"]
    assert event.extra == {"item": ["pen"], "logger_name": "shop"}
    assert entry.name == "fastapi_taskflow.task.<lambda>"
    assert (entry.pathname, entry.lineno) == (original.pathname, original.lineno)
    assert entry.created == original.created


class Keeper(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self.records = records

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def test_the_pipeline_sees_the_original_only() -> None:
    manager, _ = captured("shop")
    records: list[logging.LogRecord] = []
    logging.root.addHandler(Keeper(records))
    logging.root.setLevel("DEBUG")

    manager.run(lambda: logging.getLogger("shop").info("sold"))

    assert [record.name for record in records if record.getMessage() == "sold"] == ["shop"]


def test_what_is_logged_outside_tasks_or_in_another_managers_task_is_not_captured() -> None:
    manager, memory = captured("shop")
    other = TaskManager()

    def body() -> None:
        thread = threading.Thread(target=logging.getLogger("shop").info, args=("no task",))
        thread.start()
        thread.join()
        other.run(lambda: logging.getLogger("shop").info("another's"))
        logging.getLogger("shop").info("mine")

    manager.run(body)
    logging.getLogger("shop").info("after")

    assert entries(memory) == [("info", "mine")]


def test_loggers_are_as_before_once_no_task_runs() -> None:
    shop = logging.getLogger("shop")
    before = shop.handlers[:], shop.filters[:], shop.level
    manager, _ = captured("shop")
    during: list[int] = []

    manager.run(lambda: during.append(len(shop.handlers)))

    assert during == [len(before[0]) + 1]
    assert (shop.handlers, shop.filters, shop.level) == before


@pytest.mark.parametrize(
    "config", [{}, {"loggers": {"shop": {"level": "INFO"}}}], ids=["bare", "named"]
)
def test_capture_survives_a_new_configuration_in_the_middle_of_a_task(config: Any) -> None:
    manager, memory = captured("shop")
    logger = logging.getLogger("shop")

    def body() -> None:
        logger.error("before")
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, **config})
        logger.error("after")

    manager.run(body)

    assert entries(memory) == [("error", "before"), ("error", "after")]


def test_tasks_beside_each_other_get_their_own_records() -> None:
    manager, memory = captured("shop")

    async def body(name: str) -> None:
        for _ in range(3):
            logging.getLogger("shop").info(name)
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(manager.execute(body, name) for name in "ab"))

    asyncio.run(main())

    by_task: dict[str, set[str]] = {}
    for event in memory.log_events:
        by_task.setdefault(event.task_id, set()).add(event.message)
    assert len(memory.log_events) == 6
    assert sorted(map(sorted, by_task.values())) == [["a"], ["b"]]


def test_an_observer_that_logs_to_a_captured_logger_is_not_fed_its_own_output() -> None:
    class Chatty(InMemoryLogger):
        async def on_log(self, event: LogEvent) -> None:
            logging.getLogger("shop").info("got %s", event.message)
            await super().on_log(event)

    chatty, memory = Chatty(), InMemoryLogger()
    manager = TaskManager(loggers=[chatty, memory], capture_loggers=["shop"])

    manager.run(lambda: task_log("hello"))

    assert [event.message for event in chatty.log_events] == ["hello"]
    assert entries(memory) == [("info", "hello")]


def test_a_traceback_of_a_captured_record_is_in_its_line(tmp_path: Any) -> None:
    manager, _ = captured("shop", log_file=tmp_path / "tasks.log")

    def body() -> None:
        try:
            raise ValueError("bad price")
        except ValueError:
            logging.getLogger("shop").exception("can't sell")

    manager.run(body)

    (line,) = (tmp_path / "tasks.log").read_text().splitlines()
    assert "can't sell\\nTraceback" in line
    assert line.endswith("ValueError: bad price")


def test_a_record_whose_arguments_do_not_fit_is_kept() -> None:
    logging.getLogger("shop").propagate = False
    manager, memory = captured("shop")

    manager.run(lambda: logging.getLogger("shop").info("%d items", "x"))

    assert entries(memory) == [("info", "%d items ('x',) <TypeError>")]


@pytest.mark.parametrize(
    "names",
    ["shop", [""], [5], ["fastapi_taskflow"], ["fastapi_taskflow.task.x"], 7],
    ids=repr,
)
def test_names_that_cannot_be_captured_are_refused(names: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"capture_loggers=.*expected a list of logger"):
        TaskManager(capture_loggers=names)


@pytest.mark.parametrize("names", [["shop"], ["root"]], ids=" ".join)
def test_a_handler_that_has_a_record_by_itself_does_not_get_its_entry_too(
    names: list[str],
) -> None:
    records: list[logging.LogRecord] = []
    keeper = Keeper(records)
    logging.getLogger().addHandler(keeper)
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[keeper, memory], capture_loggers=names)

    manager.run(lambda: logging.getLogger("shop").warning("sold"))

    assert [record.name for record in records if record.getMessage() == "sold"] == ["shop"]
    assert entries(memory) == [("warning", "sold")]


def test_capturing_root_is_no_handler_of_the_pipelines() -> None:
    plain, capturing = TaskManager(), TaskManager(capture_loggers=["root"])

    for manager in (plain, capturing):
        manager.run(lambda: task_log("own", level="error"))

    assert plain.observer_stats()["pipeline"].delivered > 0
    assert capturing.observer_stats()["pipeline"] == plain.observer_stats()["pipeline"]


def stock_at(config: dict[str, Any]) -> None:
    """Log to a child of the captured logger before and after a new configuration."""
    stock = logging.getLogger("shop.stock")
    stock.warning("before")
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, **config})
    stock.warning("after")
    logging.getLogger("shop.stock").warning("again")


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("shop", {"loggers": {"shop": {"level": "INFO"}}}),
        ("root", {"root": {"level": "INFO"}}),
        ("shop.stock", {"loggers": {"shop": {"level": "INFO"}}}),
    ],
    ids=["parent", "root", "itself"],
)
@pytest.mark.parametrize("times", [1, 3])
def test_a_child_loggers_records_survive_a_new_configuration(
    name: str, config: dict[str, Any], times: int
) -> None:
    manager, memory = captured(name)
    before = [logging.getLogger(each).filters[:] for each in ("shop", "shop.stock", "root")]

    def body() -> None:
        for _ in range(times):
            stock_at(config)

    manager.run(body)

    messages = [event.message for event in memory.log_events]
    assert messages == ["before", "after", "again"] * times
    after = [logging.getLogger(each).filters for each in ("shop", "shop.stock", "root")]
    assert after == before


class Reconfiguring(logging.Handler):
    """Changes the handlers of a logger while a record goes through them."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = logging.getLogger("shop")
        if record.getMessage() == "outer":
            logger.handlers[:] = [logging.NullHandler(), logging.NullHandler()]
            logger.warning("inner")


def test_a_record_that_comes_by_twice_is_one_entry() -> None:
    manager, memory = captured("shop")

    def body() -> None:
        logger = logging.getLogger("shop")
        logger.addHandler(Reconfiguring())
        logger.warning("outer")

    manager.run(body)

    assert [event.message for event in memory.log_events] == ["outer", "inner"]


def test_extras_that_are_named_like_ours_are_kept() -> None:
    manager, memory = captured("shop")
    extra = {
        "status": 200,
        "duration": 0.3,
        "error": "E",
        "tags": ["a"],
        "attempt": 2,
        "task_id": "theirs",
        "extra_name": "n",
        "logger_name": "z",
    }

    manager.run(lambda: logging.getLogger("shop").warning("x", extra=extra))

    (event,) = memory.log_events
    assert event.extra == {**extra, "logger_name": "shop", "extra_logger_name": "z"}
    assert (event.attempt, event.tags) == (0, {})


def test_what_a_filter_has_told_a_record_of_its_task_is_no_extra() -> None:
    manager, memory = captured("shop")
    logging.getLogger("shop").addFilter(TaskContextFilter())

    manager.run(lambda: logging.getLogger("shop").warning("x"), tags={"kind": "test"})

    (event,) = memory.log_events
    assert event.extra == {"logger_name": "shop"}
