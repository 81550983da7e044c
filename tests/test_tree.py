"""The three level rules, the border to the pipeline, and the registry left alone."""

from __future__ import annotations

import gc
import logging
import logging.config
import threading
from typing import Any

import pytest

from fastapi_taskflow import InMemoryLogger, TaskManager, task_log
from fastapi_taskflow.loggers.tree import Levels, TreeLogger


class Seen(logging.Handler):
    """Keeps the messages of task records."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("fastapi_taskflow."):
            self.messages.append(record.getMessage())


def chatty() -> None:
    task_log("d", level="debug")
    task_log("i")
    task_log("w", level="warning")


def _messages(memory: InMemoryLogger) -> list[str]:
    return [event.message for event in memory.log_events]


@pytest.mark.parametrize(
    ("levels", "kept"),
    [
        ({}, ["d", "i", "w"]),
        ({"fastapi_taskflow.task": "INFO"}, ["i", "w"]),
        ({"fastapi_taskflow.task.chatty": "WARNING"}, ["w"]),
        ({"fastapi_taskflow.task": "ERROR", "fastapi_taskflow.task.chatty": "INFO"}, ["i", "w"]),
        ({"fastapi_taskflow.task.other": "ERROR"}, ["d", "i", "w"]),
        ({"fastapi_taskflow": "ERROR"}, ["d", "i", "w"]),
        ({"": "CRITICAL"}, ["d", "i", "w"]),
    ],
    ids=["unset", "task", "function", "function wins", "another function", "library", "root"],
)
def test_a_level_on_the_tree_filters_at_the_source(levels: dict[str, str], kept: list[str]) -> None:
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[memory])
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)

    record = manager.run(chatty)

    assert _messages(memory) == kept
    assert [line.split(" ", 1)[1] for line in record.logs] == kept


def test_a_level_set_while_a_task_runs_holds_at_once() -> None:
    memory = InMemoryLogger()

    def body() -> None:
        task_log("one", level="debug")
        logging.getLogger("fastapi_taskflow.task.body").setLevel("INFO")
        task_log("two", level="debug")
        logging.getLogger("fastapi_taskflow.task.body").setLevel("DEBUG")
        task_log("three", level="debug")

    TaskManager(loggers=[memory]).run(body)

    assert _messages(memory) == ["one", "three"]


def test_a_level_set_while_the_levels_are_looked_up_is_not_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "fastapi_taskflow.task.looked_up"
    set_on = logging.getLogger(name)
    find = TreeLogger._find_levels  # noqa: SLF001  # to come between this and what follows

    def found_too_soon(logger: TreeLogger) -> Levels:
        levels = find(logger)
        if not set_on.level:
            set_on.setLevel(logging.ERROR)  # as another thread may, before they are kept
        return levels

    monkeypatch.setattr(TreeLogger, "_find_levels", found_too_soon)
    logger = TreeLogger(name)
    try:
        logger.levels()
        assert logger.levels()[1:] == (logging.ERROR, logging.ERROR)
    finally:
        set_on.setLevel(logging.NOTSET)


def test_a_disabled_logger_hides_a_status_change_but_never_the_status() -> None:
    memory = InMemoryLogger()
    logging.getLogger("fastapi_taskflow.lifecycle.chatty").setLevel("ERROR")

    record = TaskManager(loggers=[memory]).run(chatty)

    assert memory.lifecycle_events == []
    assert record.status == "success"


@pytest.mark.parametrize(
    ("levels", "kept"),
    [
        ({"": "WARNING"}, ["w"]),
        ({"": "INFO"}, ["-- RUNNING", "i", "w", "-- SUCCESS"]),
        ({"": "ERROR", "fastapi_taskflow": "DEBUG"}, ["-- RUNNING", "d", "i", "w", "-- SUCCESS"]),
        ({"": "DEBUG", "fastapi_taskflow.task": "WARNING"}, ["-- RUNNING", "w", "-- SUCCESS"]),
    ],
    ids=["root warning", "root info", "library debug", "task warning"],
)
def test_the_pipeline_gets_what_the_effective_level_lets_through(
    levels: dict[str, str], kept: list[str]
) -> None:
    handler = Seen()
    logging.root.addHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)

    TaskManager().run(chatty)

    assert handler.messages == kept


def test_no_handler_gets_a_record_twice() -> None:
    handler = Seen()
    for name in ("", "fastapi_taskflow", "fastapi_taskflow.task", "fastapi_taskflow.task.chatty"):
        logging.getLogger(name).addHandler(handler)

    TaskManager().run(chatty)

    assert handler.messages == ["w"]


def test_propagate_false_keeps_records_out_of_the_pipeline() -> None:
    handler = Seen()
    logging.root.addHandler(handler)
    memory = InMemoryLogger()

    TaskManager(loggers=[memory], propagate=False).run(chatty)

    assert handler.messages == []
    assert _messages(memory) == ["d", "i", "w"]


def test_logging_disable_silences_the_pipeline_only() -> None:
    handler = Seen()
    logging.root.addHandler(handler)
    memory = InMemoryLogger()
    logging.disable(logging.CRITICAL)

    record = TaskManager(loggers=[memory]).run(chatty)

    assert handler.messages == []
    assert len(memory.lifecycle_events) == 2
    assert len(record.logs) == 3


def test_filters_on_the_logger_of_a_function_hold_for_the_pipeline() -> None:
    handler = Seen()
    logger = logging.getLogger("fastapi_taskflow.task.chatty")
    logger.addHandler(handler)
    logger.addFilter(lambda record: record.getMessage() != "w")

    TaskManager().run(chatty)

    assert handler.messages == []


def test_caplog_sees_task_records(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="fastapi_taskflow")

    TaskManager().run(chatty)

    assert caplog.messages == ["-- RUNNING", "i", "w", "-- SUCCESS"]


def test_two_managers_never_hear_each_other() -> None:
    memories = InMemoryLogger(), InMemoryLogger()
    first, second = (TaskManager(loggers=[memory]) for memory in memories)

    first.run(task_log, "first")
    second.run(task_log, "second")

    assert [_messages(memory) for memory in memories] == [["first"], ["second"]]


def test_nothing_of_a_manager_stays_in_the_registry() -> None:
    before = set(logging.root.manager.loggerDict)
    handlers = len(logging._handlerList)  # type: ignore[attr-defined]  # noqa: SLF001  # what is left

    for number in range(20):
        manager = TaskManager(loggers=[InMemoryLogger()])

        @manager.task(name=f"function {number}")
        def body() -> None:
            task_log("x")

        manager.run(body)
        del manager, body
    gc.collect()

    assert set(logging.root.manager.loggerDict) == before
    assert len(logging._handlerList) <= handlers  # type: ignore[attr-defined]  # noqa: SLF001


CONFIGS: dict[str, dict[str, Any]] = {
    "bare": {"version": 1},
    "disabling": {"version": 1, "disable_existing_loggers": True, "root": {"level": "ERROR"}},
    "keeping": {"version": 1, "disable_existing_loggers": False},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("when", ["before", "after", "during"])
def test_dict_config_loses_nothing(config: dict[str, Any], when: str, tmp_path: Any) -> None:
    if when == "before":
        logging.config.dictConfig(config)
    memory = InMemoryLogger()
    manager = TaskManager(loggers=[memory], log_file=tmp_path / "tasks.log")
    if when == "after":
        logging.config.dictConfig(config)

    def body() -> None:
        task_log("one")
        if when == "during":
            logging.config.dictConfig(config)
        task_log("two")

    manager.run(body)

    lines = (tmp_path / "tasks.log").read_text().splitlines()
    assert _messages(memory) == ["one", "two"]
    assert [line.rsplit(" ", 1)[1] for line in lines] == ["one", "two"]


def test_after_disable_existing_loggers_the_pipeline_still_gets_task_records() -> None:
    logging.config.dictConfig({"version": 1, "root": {"level": "INFO"}})
    handler = Seen()
    logging.root.addHandler(handler)

    TaskManager().run(chatty)

    assert handler.messages == ["-- RUNNING", "i", "w", "-- SUCCESS"]


def test_dict_config_in_a_loop_and_logging_tasks_never_deadlock(run_python: Any) -> None:
    program = """
import logging.config, threading
from fastapi_taskflow import InMemoryLogger, TaskManager, TaskObserver, ObserverHandler, task_log

class Slow(TaskObserver):
    async def on_log(self, event): raise OSError("reported")

memory = InMemoryLogger()
manager = TaskManager(loggers=[memory, ObserverHandler(Slow(), queue_size=1)], log_file="/dev/null")
done = threading.Event()

def configure():
    while not done.is_set():
        logging.config.dictConfig({"version": 1, "root": {"level": "INFO"}})

def body():
    for n in range(3000):
        task_log(n)

thread = threading.Thread(target=configure)
thread.start()
manager.run(body)
done.set()
thread.join()
print(len(memory.log_events))
"""

    done = run_python(program)

    assert done.stdout.strip() == "3000", done.stderr


def test_importing_touches_nothing_but_its_own_loggers(run_python: Any) -> None:
    program = """
import logging
before = logging.root.level, logging.root.handlers[:], logging.getLogRecordFactory()
kind, disabled = logging.getLoggerClass(), logging.root.manager.disable
import fastapi_taskflow
assert before == (logging.root.level, logging.root.handlers[:], logging.getLogRecordFactory())
assert (kind, disabled) == (logging.getLoggerClass(), logging.root.manager.disable)
(null,) = logging.getLogger("fastapi_taskflow").handlers
assert isinstance(null, logging.NullHandler)
fastapi_taskflow.TaskManager().run(fastapi_taskflow.task_log, "x", level="error")
"""

    done = run_python(program)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_handler_that_logs_to_its_own_task_is_not_fed_its_own_output() -> None:
    memory = InMemoryLogger()

    class Echo(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            task_log(f"echo of {record.getMessage()}", level="warning")

    logging.root.addHandler(Echo())
    done = threading.Event()

    def body() -> None:
        task_log("w", level="warning")
        done.set()

    TaskManager(loggers=[memory]).run(body)

    assert _messages(memory) == ["w", "echo of w"]


def test_a_logger_that_is_registered_with_a_level_of_its_own_is_asked() -> None:
    name = "fastapi_taskflow.task.registered_late"
    logger = TreeLogger(name)
    root_level = logging.getLogger().getEffectiveLevel()
    assert logger.levels()[1:] == (0, root_level)
    late = logging.Logger(name, logging.ERROR)  # noqa: LOG001  # as a class of the user's may be made
    late.parent = logging.getLogger("fastapi_taskflow.task")
    known = logging.root.manager.loggerDict

    known[name] = late
    try:
        assert logger.levels()[1:] == (logging.ERROR, logging.ERROR)
    finally:
        del known[name]
    assert logger.levels()[1:] == (0, root_level)
