"""Extras as they were when they were logged, whatever becomes of them, at a bounded cost."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastapi_taskflow import InMemoryLogger, TaskManager, TaskStatus, task_log
from fastapi_taskflow.loggers.snapshot import snapshot


def logged(**extra: Any) -> dict[str, Any]:
    """The extras of the event of an entry."""
    memory = InMemoryLogger()
    record = TaskManager(loggers=[memory]).run(lambda: task_log("x", **extra))
    assert record.status is TaskStatus.SUCCESS
    return memory.log_events[0].extra


def nested(levels: int, innermost: Any) -> Any:
    value = innermost
    for _ in range(levels):
        value = [value]
    return value


def innermost(value: Any) -> Any:
    while isinstance(value, list) and value and isinstance(value[0], list):
        value = value[0]
    return value


@pytest.mark.parametrize(
    ("value", "change"),
    [
        ([1], lambda value: value.append(2)),
        ({"a": 1}, lambda value: value.update(b=2)),
        ({1}, lambda value: value.add(2)),
        (bytearray(b"a"), lambda value: value.extend(b"b")),
        (([1],), lambda value: value[0].append(2)),
        ({"a": [{"b": {1}}]}, lambda value: value["a"][0]["b"].add(2)),
        (defaultdict(list, a=[1]), lambda value: value["b"].append(2)),
        (OrderedDict(a=1), lambda value: value.clear()),
    ],
    ids=["list", "dict", "set", "bytearray", "in a tuple", "nested", "defaultdict", "OrderedDict"],
)
def test_what_changes_later_stays_as_it_was(value: Any, change: Callable[[Any], object]) -> None:
    copied = snapshot({"value": value})["value"]
    before = repr(copied)

    change(value)

    assert repr(copied) == before
    assert copied != value


def test_a_change_after_the_call_reaches_neither_event_nor_record() -> None:
    rows = [{"n": 1}]
    memory = InMemoryLogger()

    def body() -> None:
        task_log("x", rows=rows)
        rows[0]["n"] = 2

    TaskManager(loggers=[memory]).run(body)

    assert memory.log_events[0].extra == {"rows": [{"n": 1}]}


JSON_LIKE = st.recursive(
    st.none() | st.integers() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(), inner)
        | st.tuples(inner, inner)
        | st.sets(st.integers())
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), JSON_LIKE))
def test_a_copy_equals_what_was_copied(extra: dict[str, Any]) -> None:
    assert snapshot(extra) == extra


def test_cycles_are_kept_as_cycles() -> None:
    items: list[Any] = []
    mapping: dict[str, Any] = {"items": items}
    items.append((mapping,))

    copied = logged(mapping=mapping)["mapping"]

    assert copied["items"][0][0] is copied
    assert copied is not mapping


@pytest.mark.parametrize("shared", [[1], {"a": [1]}, ([1],)], ids=["list", "dict", "tuple"])
def test_what_is_there_twice_is_copied_once(shared: Any) -> None:
    """Else a structure of n levels, each with the next one twice, takes 2 ** n copies."""
    first, second = snapshot({"pair": [shared, shared]})["pair"]

    assert first == shared
    assert first is second


def test_twenty_levels_are_copied() -> None:
    bottom = [1]

    copied = snapshot({"value": nested(20, bottom)})["value"]
    bottom.append(2)

    assert innermost(copied) == [1]


def test_no_depth_is_too_deep_to_log() -> None:
    copied = logged(value=nested(100_000, [1]))["value"]

    assert innermost(copied) == [1]


def test_objects_of_somebodys_own_stay_as_they_are() -> None:
    thing = object()

    assert logged(thing=thing, listed=[thing]) == {"thing": thing, "listed": [thing]}


class Hostile(dict[str, Any]):
    """A dict whose own code must not run for a log entry."""

    def items(self) -> Any:
        raise RuntimeError("its own code ran")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("its own code ran")

    __eq__ = __len__ = __copy__ = __deepcopy__ = __iter__  # type: ignore[assignment]  # none may run
    __hash__ = None


class HostileList(list[Any]):
    """A list whose own code must not run for a log entry."""

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("its own code ran")

    __len__ = __getitem__ = copy = __iter__  # type: ignore[assignment]  # none may run


@pytest.mark.parametrize(
    ("value", "copied"),
    [(Hostile(a=[1]), {"a": [1]}), (HostileList([1]), [1])],
    ids=["dict", "list"],
)
def test_no_code_of_a_containers_own_runs(value: Any, copied: object) -> None:
    assert dict.__eq__(logged(value=value), {"value": copied})


class Proxy:
    """Stands for an object that is not there now, as web frameworks' request proxies do."""

    @property  # type: ignore[misc]  # isinstance() asks for it
    def __class__(self) -> type:
        raise RuntimeError("working outside of a request")


def test_an_object_that_hides_its_class_costs_no_entry() -> None:
    proxy = Proxy()

    assert logged(proxy=proxy)["proxy"] is proxy
