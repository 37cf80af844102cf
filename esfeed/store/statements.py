"""Statements that run often, compiled to text once; and writes and reads of many rows at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import Insert, insert

from esfeed.model.sequences import chunks

_AT_ONCE = 100
_MOST_SOUGHT = 128
_MOST_KEPT = 256 << 10
"""The limit of bytes of values for one statement. A connection keeps them beside the statement until the next run.
Without a limit, a hundred large documents would stay on every connection that has written one.
"""
_Value = TypeVar("_Value")


def sought(values: Iterable[_Value]) -> Iterator[Sequence[_Value]]:
    """Splits ``values`` into pieces for ``IN (?, ?, …)``. Repeats the last value of a piece up to a power of two.

    The driver keeps the last 128 statements of each connection, by their text. With one text for each number of values,
    it would keep a hundred large ones: megabytes on every connection.
    """
    for chunk in chunks([*values], _MOST_SOUGHT):
        missing = (1 << (len(chunk) - 1).bit_length()) - len(chunk)
        yield [*chunk, *([chunk[-1]] * missing)]


def upsert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Adds rows, or replaces those with the same primary key."""
    connection.execute(_replacing(table, [*rows[0]]), rows)


class Ready:
    """A statement that every poll or delivery runs, with named parameters (``sa.bindparam``). It is compiled once,
    because SQLAlchemy takes longer to compile it than SQLite takes to run it.
    """

    def __init__(self, statement: sa.ClauseElement) -> None:
        self._statement = statement

    @cached_property
    def _made(self) -> tuple[str, Sequence[str], dict[str, Any]]:
        made: Any = self._statement.compile(dialect=sqlite.dialect(paramstyle="qmark"))
        return str(made), made.positiontup or (), made.params

    def run(self, connection: sa.Connection, **values: Any) -> sa.CursorResult[Any]:
        """Runs the statement. The driver must support the types of the values."""
        text, columns, constants = self._made
        given = constants | values
        return connection.exec_driver_sql(text, tuple(given[column] for column in columns))

    def run_each(self, connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
        """Runs the statement with the values of each row."""
        text, columns, constants = self._made
        run_many(connection, text, [tuple((constants | row)[column] for column in columns) for row in rows])


class Bulk:
    """Writes many rows of ``table`` at once, without SQLAlchemy's processing of each value, which takes longer than
    SQLite's write. A row is a tuple of the values of ``columns``; the driver must support their types.

    ``there`` says what happens if a row with the same primary key exists: ``fails`` raises an error, ``goes`` replaces
    it, ``stays`` keeps it.
    """

    def __init__(self, table: sa.Table, columns: Sequence[str], *, there: Literal["fails", "goes", "stays"]) -> None:
        self._table = table
        self._columns = [*columns]
        self._there = there

    @cached_property
    def _texts(self) -> tuple[str, str]:
        """The statement for one row, and the one for ``_AT_ONCE`` rows."""
        statement = insert(self._table).values(dict.fromkeys(self._columns))
        if self._there == "goes":
            statement = _replacing(self._table, self._columns)
        elif self._there == "stays":
            statement = statement.on_conflict_do_nothing()
        text = str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark"), column_keys=self._columns))
        row = f"({', '.join('?' * len(self._columns))})"
        return text, text.replace(row, ", ".join([row] * _AT_ONCE), 1)

    def write(self, connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> int:
        """Adds the rows. Returns how many were written."""
        one, many = self._texts
        some: list[tuple[Any, ...]] = []
        rest: list[tuple[Any, ...]] = []
        for part in chunks(rows, _AT_ONCE):
            # With each statement, the driver gives other threads a turn, and then has to wait for its own.
            values = tuple(itertools.chain.from_iterable(part))
            if len(part) == _AT_ONCE and sum(len(v) for v in values if isinstance(v, bytes)) <= _MOST_KEPT:
                some.append(values)
            else:
                rest += part
        return run_many(connection, many, some) + run_many(connection, one, rest)


def run_many(connection: sa.Connection, text: str, rows: Sequence[tuple[Any, ...]]) -> int:
    """Runs a statement (with ``?``) for each of ``rows``. Returns how many rows of the database it changed."""
    return connection.exec_driver_sql(text, [*rows]).rowcount if rows else 0


class ByKey:
    """Reads ``columns`` of rows of a watch by their packed keys. Uses SQL text, because SQLAlchemy takes longer to make
    the text for a hundred keys than SQLite takes to find them. ``condition`` (SQL) holds for the rows that count.
    """

    def __init__(self, table: sa.Table, columns: Sequence[str], condition: str = "TRUE") -> None:
        self._rows = f"FROM {table.name} WHERE {condition} AND watch = ? AND key IN "
        self._text = f"SELECT {', '.join(columns)} {self._rows}"

    def of(self, connection: sa.Connection, watch: int, keys: Iterable[bytes]) -> Iterator[Sequence[Any]]:
        """The existing rows with those ``keys``, in no order."""
        for some in sought(keys):
            yield from _with_marks(connection, self._text, watch, some).cursor.fetchall()

    def forget(self, connection: sa.Connection, watch: int, keys: Iterable[bytes]) -> None:
        """Deletes the rows with those ``keys``."""
        for some in sought(keys):
            _with_marks(connection, f"DELETE {self._rows}", watch, some)


def _with_marks(connection: sa.Connection, text: str, watch: int, keys: Sequence[bytes]) -> sa.CursorResult[Any]:
    return connection.exec_driver_sql(f"{text}({','.join('?' * len(keys))})", (watch, *keys))


def _replacing(table: sa.Table, columns: Sequence[str]) -> Insert:
    statement = insert(table)
    keys = [column.name for column in table.primary_key]
    rest = {name: statement.excluded[name] for name in columns if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=rest)
