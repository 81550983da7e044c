"""Values are bound as SQLAlchemy itself would bind them, only sooner."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Dialect
from sqlalchemy.engine import make_url

from fastapi_taskflow.store.rows import ADDED, CHANGED, LOGGED, TAGGED
from fastapi_taskflow.store.schema import audit, entries, keys, owners, tags, tasks
from fastapi_taskflow.store.statements import Statement
from fastapi_taskflow.store.types import ShortText

URLS = ["sqlite://", "postgresql+psycopg://", "mysql+pymysql://"]
EAST = timezone(timedelta(hours=5, minutes=45))
TEXTS = ["", "x", "a\0b", "\ud800", "é日本", "\\", "x" * 600_000]
VALUES: dict[str, list[Any]] = {
    "ShortText": [None, "", "interrupted", "abc12345-0000-4000-8000-000000000000"],  # our own
    "PlainText": [None, *TEXTS],
    "WholeText": [None, *TEXTS],
    "ExactText": [None, *TEXTS],
    "JsonText": [None, {}, [], {"a": [1, "é", None]}, "x"],
    "UtcMicroseconds": [None, datetime(2026, 1, 1, tzinfo=UTC), datetime(1960, 2, 3, tzinfo=EAST)],
    "Boolean": [None, True, False],
    "Integer": [None, 0, -1],
    "BigInteger": [None, 2**40],
    "Double": [None, 0.5, 1e300],
}
COLUMNS = [column for table in (audit, entries, keys, owners, tags, tasks) for column in table.c]


@pytest.mark.parametrize(
    "dialect",
    [make_url(url).get_dialect()() for url in URLS],
    ids=URLS,
)
@pytest.mark.parametrize("column", COLUMNS, ids=str)
def test_a_value_is_bound_as_sqlalchemy_binds_it(column: Any, dialect: Dialect) -> None:
    ours = Statement(column.table.update(), {column.name: column.type}, dialect)
    theirs = column.type.dialect_impl(dialect).bind_processor(dialect)

    for value in VALUES[type(column.type).__name__]:
        bound = ours.bound((value,))
        found = bound[column.name] if isinstance(bound, dict) else bound[0]
        expected = value if theirs is None else theirs(value)
        assert (found, type(found)) == (expected, type(expected))


def test_short_texts_in_rows_are_ids_and_names_of_ours() -> None:
    """Others must be made such as every dialect takes them."""
    columns = [tasks.c[name] for name in ADDED]
    columns += [tags.c[name] for name in TAGGED] + [entries.c[name] for name in LOGGED]

    short = {column.name for column in columns if type(column.type) is ShortText}

    assert set(CHANGED) <= set(ADDED)
    assert short == {"task_id", "status", "owner"}
