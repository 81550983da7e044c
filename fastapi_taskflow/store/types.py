"""The columns' types: what is read is what was written, and what is equal, on every dialect."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Dialect, String, Text, TypeDecorator
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from fastapi_taskflow.store.texts import cut, exact, storable

MYSQL = ("mysql", "mariadb")
"""The names under which SQLAlchemy knows the one dialect."""


def _by_code_points(dialect: Dialect, length: int | None) -> TypeEngine[Any]:
    """A text type that compares as Python does: exactly, and in the order of code points.

    MySQL's TEXT ends at 64 KB; its collations hold "a" equal to "A", or to "a " at the least.
    """
    if dialect.name in MYSQL:
        is_mariadb = getattr(dialect, "is_mariadb", False)
        how = {
            "charset": "utf8mb4",
            "collation": "utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin",
        }
        return mysql.VARCHAR(length, **how) if length else mysql.LONGTEXT(**how)
    collation = "C" if dialect.name == "postgresql" else None
    return String(length, collation) if length else Text(collation=collation)


class BoundType(TypeDecorator[Any]):
    """A type of ours: how a value is bound is the same for all dialects.

    Attributes:
        bound: What the driver takes for a value other than None.
    """

    impl: type[TypeEngine[Any]] = Text
    cache_ok = True

    bound: Callable[[Any], Any]

    def process_bind_param(self, value: Any | None, dialect: Dialect) -> Any:
        """What the driver takes for a value."""
        return None if value is None else self.bound(value)


class WholeText(BoundType):
    """Text of any length, of which nothing is cut off."""

    cache_ok = True

    bound = staticmethod(storable)  # text that every dialect takes

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Compare exactly."""
        return dialect.type_descriptor(_by_code_points(dialect, None))


class PlainText(WholeText):
    """Text of any length; what is beyond ``MAX_TEXT`` is cut off, visibly."""

    cache_ok = True

    bound = staticmethod(cut)  # text that every dialect takes at once


class JsonText(WholeText):
    """A JSON value, in ASCII: no dialect's own JSON keeps all strings and numbers as they are."""

    cache_ok = True

    def bound(self, value: Any) -> str:
        """A value as JSON."""
        return "{}" if value == {} else json.dumps(value)  # as most are: extras, and tags

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Any:
        """JSON as a value."""
        return None if value is None else json.loads(value)


class ShortText(BoundType):
    """An id, or a name of ours: it has no more characters than the column."""

    impl = String
    cache_ok = True

    bound = staticmethod(storable)  # text that every dialect takes

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Compare exactly."""
        return dialect.type_descriptor(_by_code_points(dialect, self.length))


class ExactText(ShortText):
    """A user's text to look for, of any length, in a column that can have an index."""

    cache_ok = True

    def bound(self, value: str) -> str:
        """The text's exact form."""
        return exact(value, self.length)


class UtcMicroseconds(BoundType):
    """An aware time, kept as whole microseconds since 1970 in UTC: exact, and sortable."""

    impl = BigInteger
    cache_ok = True

    def bound(self, value: datetime) -> int:
        """An aware time as a number."""
        since = value - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """A number as an aware time."""
        if value is None:
            return None
        whole, rest = divmod(value, 1_000_000)
        return datetime.fromtimestamp(whole, tz=UTC).replace(microsecond=rest)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
