"""What a task returns is kept: as it is here, as JSON in the database and in routes."""

from __future__ import annotations

import asyncio
import enum
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel, field_serializer

from fastapi_taskflow import ConfigurationError, TaskAdmin, TaskManager, TaskRecord
from fastapi_taskflow.execution import results


@dataclass
class Point:
    x: int
    when: datetime


class Model(BaseModel):
    name: str
    price: Decimal


class Colour(enum.Enum):
    RED = "red"


class Texts(str):
    __slots__ = ()


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ID = uuid.UUID(int=1)


def _manager(path: Path | None, **options: Any) -> TaskManager:
    return TaskManager(snapshot_db=None if path is None else path / "tasks.db", **options)


def _run(manager: TaskManager, result: object) -> TaskRecord:
    record = manager.run(lambda: result)
    assert record.error is None
    asyncio.run(manager.shutdown())
    return record


def _column(path: Path) -> Any:
    with closing(sqlite3.connect(path / "tasks.db")) as connection:
        return connection.execute("SELECT result FROM taskflow_tasks").fetchone()[0]


def _shown(manager: TaskManager, record: TaskRecord) -> tuple[Any, Any]:
    app = FastAPI()
    TaskAdmin(app, manager)
    with TestClient(app) as client:
        listed = client.get("/tasks").json()
        assert "result" not in listed[0]
        detail = client.get(f"/tasks/{record.task_id}").json()
        return detail["result"], detail["result_dropped"]


KEPT = [
    pytest.param(None, None, id="none"),
    pytest.param({"a": [1, 2.5, True, None, "é\0"]}, {"a": [1, 2.5, True, None, "é\0"]}, id="json"),
    pytest.param((1, {2: "two"}), [1, {"2": "two"}], id="tuples-and-keys"),
    pytest.param(
        Point(1, NOON), {"x": 1, "when": "2026-01-01T12:00:00Z"}, id="dataclass-and-datetime"
    ),
    pytest.param(
        [Model(name="a", price=Decimal("1.50"))], [{"name": "a", "price": "1.50"}], id="models"
    ),
    pytest.param([Colour.RED, ID, Texts("t")], ["red", str(ID), "t"], id="enum-uuid-subclass"),
    pytest.param("x" * 65_534, "x" * 65_534, id="just-not-too-large"),
    pytest.param([[0]] * 1000, [[0]] * 1000, id="many-lists"),
]


@pytest.mark.parametrize(("result", "plain"), KEPT)
def test_what_is_json_is_there_after_a_restart(tmp_path: Path, result: Any, plain: Any) -> None:
    record = _run(_manager(tmp_path), result)

    assert record.result is result
    assert record.result_dropped is None
    again = _manager(tmp_path)
    found = again.get_task(record.task_id)
    assert (found.result, found.result_dropped) == (plain, None)
    assert _shown(again, record) == (plain, None)


@pytest.mark.parametrize(("result", "plain"), KEPT)
def test_routes_show_it_without_a_database_too(result: Any, plain: Any) -> None:
    manager = _manager(None)

    record = _run(manager, result)

    assert record.result is result
    assert _shown(manager, record) == (plain, None)


def _nested(depth: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    return nested


def _cycle() -> list[Any]:
    cycle: list[Any] = []
    cycle.append(cycle)
    return cycle


def _endless() -> Iterator[int]:
    yield from iter(int, 1)


class _Nasty(BaseModel):
    name: str

    @field_serializer("name")
    def exits(self, _: str) -> str:
        raise SystemExit


DROPPED = [
    pytest.param(object, "not JSON", id="object"),
    pytest.param(lambda: {"a": {1: {2, object()}}}, "not JSON", id="object-inside"),
    pytest.param(lambda: [1.0, float("nan")], "not JSON", id="nan"),
    pytest.param(lambda: Point(float("inf"), NOON), "not JSON", id="infinite-inside"),  # type: ignore[arg-type]  # wrong on purpose
    pytest.param(lambda: "half \ud800", "not JSON", id="surrogate"),
    pytest.param(lambda: {(1, 2): 3}, "not JSON", id="odd-key"),
    pytest.param(lambda: 10**5000, "not JSON", id="huge-int"),
    pytest.param(_cycle, "not JSON", id="cycle"),
    pytest.param(lambda: _nested(300), "not JSON", id="too-deep-to-send"),
    pytest.param(lambda: _nested(100_000), "not JSON", id="too-deep"),
    pytest.param(lambda: b"\xff", "not JSON", id="bytes"),
    pytest.param(_endless, "not JSON", id="generator"),
    pytest.param(lambda: _Nasty(name="a"), "not JSON", id="nasty"),
    pytest.param(lambda: "x" * 65_535, "too large", id="too-large"),
    pytest.param(lambda: "é" * 40_000, "too large", id="bytes-count"),
    pytest.param(lambda: [0] * 50_000_000, "too large", id="so-large-that-it-would-take-long"),
]


@pytest.mark.parametrize(("make", "reason"), DROPPED)
def test_what_is_not_kept_is_here_and_says_why(
    tmp_path: Path, make: Callable[[], Any], reason: str
) -> None:
    manager, result = _manager(tmp_path), make()

    record = _run(manager, result)

    assert record.result is result
    assert record.status.value == "success"
    assert record.result_dropped == reason
    assert _shown(manager, record) == (None, reason)
    assert _column(tmp_path) is None
    again = _manager(tmp_path)
    found = again.get_task(record.task_id)
    assert (found.result, found.result_dropped) == (None, "not stored")
    assert _shown(again, record) == (None, "not stored")


def test_an_iterator_is_not_used_up() -> None:
    numbers = iter([1, 2, 3])

    record = _run(TaskManager(), {"numbers": numbers})

    assert record.result_dropped == "not JSON"
    assert list(numbers) == [1, 2, 3]


def test_the_size_is_chosen(tmp_path: Path) -> None:
    record = _run(_manager(tmp_path, max_result_bytes=5), "abcd")
    assert (record.result, record.result_dropped) == ("abcd", "too large")

    assert _run(_manager(tmp_path, max_result_bytes=6), "abcd").result_dropped is None
    assert _run(_manager(tmp_path, max_result_bytes=0), None).result_dropped is None


@pytest.mark.parametrize("size", [-1, None, "64kb", True, 1.5])
def test_a_wrong_size_is_an_error(size: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_result_bytes"):
        TaskManager(max_result_bytes=size)


def test_a_failed_task_has_none(tmp_path: Path) -> None:
    def body() -> None:
        raise ValueError("boom")

    manager = _manager(tmp_path)
    record = manager.run(body)
    asyncio.run(manager.shutdown())

    found = _manager(tmp_path).get_task(record.task_id)
    assert record.result_dropped is None
    assert (found.result, found.result_dropped) == (None, None)
    assert _shown(manager, record) == (None, None)


def test_secrets_are_neither_stored_nor_shown(tmp_path: Path) -> None:
    result = {"password": "hunter22", "text": "password=hunter22", "user": "bob"}
    manager = _manager(tmp_path, redact=["password"])

    record = _run(manager, result)

    plain = {"password": "[redacted]", "text": "password=[redacted]", "user": "bob"}
    assert record.result is result
    assert _shown(manager, record) == (plain, None)
    assert "hunter22" not in _column(tmp_path)
    assert _manager(tmp_path).get_task(record.task_id).result == plain


def test_a_key_covers_results(tmp_path: Path) -> None:
    key = Fernet.generate_key()
    manager = _manager(tmp_path, encrypt_args_key=key)

    record = _run(manager, {"user": "bob"})

    assert record.result == {"user": "bob"}
    assert "bob" not in _column(tmp_path)
    assert _shown(manager, record) == (None, "encrypted")
    assert _manager(tmp_path, encrypt_args_key=key).get_task(record.task_id).result == {
        "user": "bob"
    }


@pytest.mark.parametrize("key", [None, Fernet.generate_key()], ids=["none", "another"])
def test_without_the_key_it_says_so(tmp_path: Path, key: bytes | None) -> None:
    manager = _manager(tmp_path, encrypt_args_key=Fernet.generate_key())
    record = _run(manager, {"user": "bob"})

    found = _manager(tmp_path, encrypt_args_key=key).get_task(record.task_id)

    assert (found.result, found.result_dropped) == (None, "encrypted")


def test_another_manager_on_the_database_has_it(tmp_path: Path) -> None:
    one, other = _manager(tmp_path), _manager(tmp_path)

    record = one.run(lambda: [1, 2])

    assert other.get_task(record.task_id).result == [1, 2]
    asyncio.run(one.shutdown())
    asyncio.run(other.shutdown())


@pytest.mark.parametrize(
    "result",
    [{1: None, "a": [1.5, True, {"é": "\n"}]}, [], {True: {}}, [1e300, -0.0, 2**70], {None: "\0"}],
    ids=repr,
)
def test_what_is_small_is_stored_as_what_is_large_would_be(
    monkeypatch: pytest.MonkeyPatch, result: Any
) -> None:
    at_once = _run(TaskManager(), result).packed_result

    monkeypatch.setattr(results, "_FEW", 0)

    assert at_once == _run(TaskManager(), result).packed_result is not None


@pytest.mark.parametrize("extra", [0, 1], ids=["fits", "does not"])
def test_the_limit_counts_for_what_is_small_too(extra: int) -> None:
    record = _run(TaskManager(max_result_bytes=4), ["é"] if extra else [12])

    assert record.result_dropped == ("too large" if extra else None)
