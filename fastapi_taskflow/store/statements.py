"""The statements that rows are written by: each is made ready once, for any number of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Boolean, Connection, Dialect, Insert, Table, Update, bindparam, or_
from sqlalchemy.types import TypeEngine

from fastapi_taskflow.store.rows import ADDED, CHANGED, LOGGED, TAGGED
from fastapi_taskflow.store.schema import entries, tags, tasks
from fastapi_taskflow.store.types import BoundType, ShortText

Values = Iterable[Sequence[Any]]


class Statement:
    """A statement in the words of a dialect, and how values are bound in it.

    Core does all of this again at each execution, and takes longer for that than SQLite for a
    transaction; what comes out is the same.

    Args:
        statement: The statement.
        types: The types of the values that it is executed with, by their names and in their order.
        dialect: The dialect.
    """

    def __init__(
        self, statement: Insert | Update, types: Mapping[str, TypeEngine[Any]], dialect: Dialect
    ) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=list(types))
        self._text = str(compiled)
        self._names = tuple(types)
        binds = [_bind(each, dialect) for each in types.values()]
        self._binds = [(index, bind) for index, bind in enumerate(binds) if bind is not None]
        names = compiled.positiontup
        self._in_place: Callable[[list[Any]], Any] | None = None
        if names is not None:
            places = [self._names.index(name) for name in names]
            self._in_place = itemgetter(*places) if len(places) > 1 else tuple

    def execute(self, connection: Connection, rows: Values) -> None:
        """Execute it for each of some rows, at least one."""
        connection.exec_driver_sql(self._text, [self.bound(row) for row in rows])

    def bound(self, row: Sequence[Any]) -> Any:
        """A row as the driver takes it."""
        values = list(row)
        for index, bind in self._binds:
            value = values[index]
            if value is not None:
                values[index] = bind(value)
        if self._in_place is None:
            return dict(zip(self._names, values, strict=True))
        return self._in_place(values)


def _bind(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    """What makes of a value, other than None, what the driver takes; None where nothing must."""
    if type(kind) is ShortText:  # an id, or a name of ours, which every dialect takes
        return None
    if isinstance(kind, BoundType):
        return kind.bound
    if isinstance(kind, Boolean):  # which rows have as True or False: that need not be checked
        return None if dialect.supports_native_boolean else int
    return kind.dialect_impl(dialect).bind_processor(dialect)


class Statements:
    """Those that a batch is written by.

    Args:
        dialect: Of which database.
    """

    def __init__(self, dialect: Dialect) -> None:
        columns = tasks.c
        ours = or_(columns.owner.is_(None), columns.owner == bindparam("own"))
        change = tasks.update().where(columns.task_id == bindparam("id"), ours)
        types = {name: columns[name].type for name in CHANGED}
        types |= {"id": columns.task_id.type, "own": columns.owner.type}
        self.change = Statement(change, types, dialect)
        self.add = _insert(tasks, ADDED, dialect)
        self.tag = _insert(tags, TAGGED, dialect)
        self.log = _insert(entries, LOGGED, dialect)


def _insert(table: Table, names: Iterable[str], dialect: Dialect) -> Statement:
    types = {name: table.c[name].type for name in names}
    return Statement(table.insert().inline(), types, dialect)  # no rows' numbers are asked for
