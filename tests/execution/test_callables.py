"""What is seen of a callable at a glance is what ``inspect`` says of it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain, combinations
from typing import Any

import pytest
from starlette.background import BackgroundTask

from fastapi_taskflow import ManagedBackgroundTasks, TaskManager
from fastapi_taskflow.background import ManagedTask
from fastapi_taskflow.execution.callables import is_async, is_generator, surely_fits


def nothing() -> None: ...


def two(a: int, b: int) -> None: ...


def one_or_two(a: int, b: int = 1) -> None: ...


def by_position(a: int, b: int = 1, /, c: int = 2) -> None: ...


def keyword_only(a: int, *, b: int) -> None: ...


def any_positional(a: int, *args: int) -> None: ...


def any_keyword(a: int, /, **kwargs: int) -> None: ...


@functools.wraps(two)
def wrapped(*args: int) -> None: ...


async def coroutine(a: int) -> None: ...


@functools.wraps(two)
async def wrapped_coroutine(*args: int) -> None: ...


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


class Callee:
    def method(self, a: int) -> None: ...

    async def __call__(self, a: int) -> None: ...


PLAIN = [nothing, two, one_or_two, by_position, coroutine]
OTHERS: list[Callable[..., Any]] = [
    keyword_only,
    any_positional,
    any_keyword,
    wrapped,
    Callee().method,
    Callee(),
    functools.partial(two, 1),
    functools.partial(coroutine, 1),
    dict,
    print,
]

NAMES = ("a", "b", "c", "other")
CALLS = [
    ((0,) * count, dict.fromkeys(names, 0))
    for count in range(5)
    for names in chain.from_iterable(combinations(NAMES, size) for size in range(4))
]


def binds(call: Callable[..., Any], args: tuple[int, ...], kwargs: dict[str, int]) -> bool:
    try:
        inspect.signature(call).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


@pytest.mark.parametrize("call", PLAIN, ids=lambda call: call.__name__)
def test_a_call_of_a_plain_function_is_seen_to_fit_just_where_it_binds(
    call: Callable[..., Any],
) -> None:
    seen = [surely_fits(call, args, kwargs) for args, kwargs in CALLS]

    assert seen == [binds(call, args, kwargs) for args, kwargs in CALLS]
    assert any(seen)


@pytest.mark.parametrize("call", OTHERS, ids=str)
def test_all_other_calls_are_left_to_the_signature(call: Callable[..., Any]) -> None:
    assert not any(surely_fits(call, args, kwargs) for args, kwargs in CALLS)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (coroutine, True),
        (functools.partial(coroutine, 1), True),
        (wrapped_coroutine, True),
        (Callee(), True),
        (Callee().method, False),
        (two, False),
        (wrapped, False),
        (async_generator, False),
        (print, False),
    ],
    ids=str,
)
def test_what_makes_coroutines_is_async(call: Callable[..., Any], expected: bool) -> None:
    assert is_async(call) is expected


@pytest.mark.parametrize("call", [generator, async_generator, functools.partial(generator)])
def test_generator_functions_of_both_kinds_are_told(call: Callable[..., Any]) -> None:
    assert is_generator(call)
    assert not is_generator(two)


def test_a_managed_task_has_all_that_a_background_task_has() -> None:
    tasks = ManagedBackgroundTasks(TaskManager().engine)

    tasks.add_task(two, 1, b=2)

    (task,) = tasks.tasks
    assert isinstance(task, ManagedTask)
    assert vars(task).items() >= vars(BackgroundTask(two, 1, b=2)).items()
