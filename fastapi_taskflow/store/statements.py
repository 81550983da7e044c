"""The statements that rows are written by: each is made ready once, for any number of rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, Table, Update, bindparam, or_
from sqlalchemy.types import TypeEngine

from fastapi_taskflow.store.rows import ADDED, CHANGED, LOGGED, TAGGED
from fastapi_taskflow.store.schema import entries, tags, tasks

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
        self._processors = [
            each.dialect_impl(dialect).bind_processor(dialect) for each in types.values()
        ]
        places = compiled.positiontup
        self._places = None if places is None else [self._names.index(name) for name in places]

    def execute(self, connection: Connection, rows: Values) -> None:
        """Execute it for each of some rows, at least one."""
        connection.exec_driver_sql(self._text, [self._bound(row) for row in rows])

    def _bound(self, row: Sequence[Any]) -> Any:
        """A row as the driver takes it."""
        values = [
            value if value is None or process is None else process(value)
            for value, process in zip(row, self._processors, strict=True)
        ]
        if self._places is None:
            return dict(zip(self._names, values, strict=True))
        return tuple([values[place] for place in self._places])


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
