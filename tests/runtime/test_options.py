"""The options of tasks and managers: what is refused and how, what is taken, and the waits."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastapi_taskflow import ConfigurationError, TaskflowError, TaskManager
from fastapi_taskflow.execution.options import TaskOptions, make_options
from fastapi_taskflow.execution.retry import retry_delay

Run = Callable[[Coroutine[Any, Any, Any]], Any]

COUNT = "a whole number of 0 or more"
FROM_1 = "a whole number of 1 or more"
NUMBER = "a number of 0 or more"
SECONDS = "at least 0 seconds, or a timedelta"
MORE = "more than 0 seconds, or a timedelta"
ERRORS = "an exception class, or a tuple of them"
NAN, INF = math.nan, math.inf

WRONG_OPTIONS: list[tuple[str, Any, str]] = [
    *(("retries", value, COUNT) for value in (-1, 1.5, "2", True, None, NAN)),
    *(("delay", value, SECONDS) for value in (-0.1, "1", None, NAN, INF, 10**400, [1])),
    ("delay", timedelta(seconds=-1), SECONDS),
    *(("backoff", value, NUMBER) for value in (-1, "2", None, NAN, INF, True, 10**400)),
    ("backoff", timedelta(1), NUMBER),
    *(("jitter", value, SECONDS) for value in (-1, "1", None, NAN, INF)),
    *(("max_delay", value, SECONDS) for value in (-1, "1", NAN, INF)),
    *(("timeout", value, MORE) for value in (0, -1, "1", NAN, INF, False)),
    ("timeout", timedelta(0), MORE),
    *(("retry_on", value, ERRORS) for value in (None, "OSError", OSError(), int, [OSError])),
    ("retry_on", (OSError, int), ERRORS),
    ("executor", "fork", "'async', 'thread'"),
    ("executor", ["thread"], "'async', 'thread'"),
    ("executor", "Thread", "'async', 'thread'"),
    *(("name", value, "a text that is not empty, or None") for value in ("", " ", 3, b"x")),
]

WRONG_LIMITS: list[tuple[str, Any, str]] = [
    *(("max_concurrent_tasks", value, FROM_1) for value in (0, -1, 1.0, "1", True)),
    *(("max_sync_threads", value, FROM_1) for value in (0, -1, 1.0, "1", True)),
    *(("max_log_entries", value, FROM_1) for value in (0, "1", None)),
    *(("max_finished_tasks", value, "a whole number") for value in (-1, "1", None)),
    *(("shutdown_timeout", value, SECONDS) for value in (-1, "1", None, NAN, timedelta(-1))),
    *(("drain_timeout", value, SECONDS) for value in (-1, "1", None, NAN)),
]


def _name(value: object) -> str:
    return repr(value)[:20]


@pytest.mark.parametrize(("option", "value", "right"), WRONG_OPTIONS, ids=_name)
def test_a_wrong_option_names_itself_its_value_and_the_right_ones(
    manager: TaskManager, option: str, value: Any, right: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        manager.task(**{option: value})(print)

    assert str(caught.value).startswith(f"{option}={value!r} can't be used; expected ")
    assert right in str(caught.value)
    assert isinstance(caught.value, (TaskflowError, ValueError))


@pytest.mark.parametrize(("limit", "value", "right"), WRONG_LIMITS, ids=_name)
def test_a_wrong_limit_is_refused_when_the_manager_is_made(
    limit: str, value: Any, right: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TaskManager(**{limit: value})

    assert str(caught.value).startswith(f"{limit}={value!r} can't be used; expected ")
    assert right in str(caught.value)


def test_a_value_of_the_wrong_type_is_a_type_error_too(manager: TaskManager) -> None:
    with pytest.raises(TypeError, match="retries='3'"):
        manager.task(retries="3")  # type: ignore[arg-type]  # a whole number


def test_an_executor_that_would_block_the_loop_is_refused(manager: TaskManager) -> None:
    with pytest.raises(ConfigurationError, match="would block the event loop"):
        manager.task(executor="async")(print)


def test_registering_gives_the_function_back_unchanged(manager: TaskManager) -> None:
    def body() -> None: ...

    assert manager.task(retries=1)(body) is body


def _options(**changes: Any) -> TaskOptions:
    given: dict[str, Any] = {
        "retries": 0,
        "delay": 0.0,
        "backoff": 1.0,
        "jitter": 0.0,
        "max_delay": None,
        "retry_on": Exception,
        "timeout": None,
        "executor": None,
        "log_prints": None,
        "persist": False,
        "requeue_on_interrupt": False,
    }
    return make_options(**{**given, **changes})


@pytest.mark.parametrize("option", ["delay", "jitter", "max_delay", "timeout"])
def test_a_timedelta_is_seconds(option: str) -> None:
    options = _options(**{option: timedelta(milliseconds=1500)})

    assert getattr(options, option) == 1.5
    assert type(getattr(options, option)) is float


@pytest.mark.parametrize(
    ("options", "waits"),
    [
        ({"delay": 2.0}, [2.0, 2.0, 2.0]),
        ({"delay": 1.0, "backoff": 2.0}, [1.0, 2.0, 4.0]),
        ({"delay": 1.0, "backoff": 2.0, "max_delay": 3.0}, [1.0, 2.0, 3.0]),
        ({"delay": 8.0, "backoff": 0.5}, [8.0, 4.0, 2.0]),
        ({"delay": 5.0, "backoff": 0.0}, [5.0, 0.0, 0.0]),
        ({"delay": 5.0, "max_delay": 0.0}, [0.0, 0.0, 0.0]),
        ({"backoff": 9.0}, [0.0, 0.0, 0.0]),
    ],
    ids=["constant", "doubling", "bounded", "halving", "once", "none", "no delay"],
)
def test_the_attempts_are_as_far_apart_as_the_options_say(
    manager: TaskManager, run_skipping: Run, options: dict[str, Any], waits: list[float]
) -> None:
    starts: list[float] = []

    @manager.task(retries=3, **options)
    async def body() -> None:
        starts.append(asyncio.get_running_loop().time())
        raise ValueError

    run_skipping(manager.execute(body))

    apart = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert apart == pytest.approx(waits, abs=1e-3)


FINITE = st.floats(0, allow_nan=False, allow_infinity=False)


@given(FINITE, FINITE, FINITE, FINITE, st.integers(0, 10**6))
def test_a_wait_is_never_longer_than_max_delay_and_jitter_whatever_overflows(
    delay: float, backoff: float, max_delay: float, jitter: float, attempt: int
) -> None:
    options = TaskOptions(delay=delay, backoff=backoff, max_delay=max_delay, jitter=jitter)

    wait = retry_delay(options, attempt)

    assert 0 <= wait < INF
    assert wait <= max_delay + jitter


@given(st.floats(0.001, 1e3), st.floats(1.0, 1e3), st.integers(0, 500))
def test_waits_never_shrink_where_the_backoff_grows_them(
    delay: float, backoff: float, attempt: int
) -> None:
    options = TaskOptions(delay=delay, backoff=backoff)

    assert delay <= retry_delay(options, attempt) <= retry_delay(options, attempt + 1)


def test_jitter_is_uniform_from_nothing_to_its_most() -> None:
    options = TaskOptions(delay=10.0, jitter=4.0, max_delay=10.0)

    waits = [retry_delay(options, 3) for _ in range(4000)]

    quarters = [sum(10 + q <= wait <= 11 + q for wait in waits) for q in range(4)]
    assert sum(quarters) == 4000
    assert min(quarters) > 700  # a thousand each; three hundred off is eleven deviations


@pytest.mark.parametrize(
    "option",
    [{"retention_days": 7}, {"requeue_pending": True}, {"encrypt_args_key": "x" * 43 + "="}],
    ids=str,
)
def test_what_a_database_does_is_refused_without_one(option: Any) -> None:
    with pytest.raises(ConfigurationError, match="a database for it, by snapshot_db") as caught:
        TaskManager(**option)

    assert next(iter(option)) in str(caught.value)
    assert "xxx" not in str(caught.value)
