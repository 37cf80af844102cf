"""What every part of the store over SQLAlchemy shares: its engine, and how a transaction begins."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import Insert, insert

from esfeed.store.database import guarded

_CHUNK = 1000
_AT_ONCE = 100
_Value = TypeVar("_Value")


class Connected:
    """Base of the store's parts. ``engine`` is of an opened database; ``where`` names it in messages."""

    def __init__(self, engine: sa.Engine, where: str) -> None:
        self._engine = engine
        self._where = where
        self._turn = threading.Lock()

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with guarded(self._where), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with (
            # Who finds the database taken sleeps, and longer each time; who waits here is woken.
            self._turn,
            guarded(self._where),
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection


def chunks(values: Sequence[_Value], size: int) -> Iterator[Sequence[_Value]]:
    """``values`` in pieces of at most ``size``."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def upsert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Adds rows, or replaces those with the same primary key."""
    connection.execute(_replacing(table, [*rows[0]]), rows)


class Ready:
    """A statement that every poll or delivery runs, with named places (``sa.bindparam``): made into text once, as that
    takes SQLAlchemy longer than SQLite takes to run it.
    """

    def __init__(self, statement: sa.ClauseElement) -> None:
        self._statement = statement

    @cached_property
    def _made(self) -> tuple[str, Sequence[str], dict[str, Any]]:
        made: Any = self._statement.compile(dialect=sqlite.dialect(paramstyle="qmark"))
        return str(made), made.positiontup or (), made.params

    def run(self, connection: sa.Connection, **values: Any) -> sa.CursorResult[Any]:
        """Runs it with those values, which have to be of types that the driver takes."""
        text, places, constants = self._made
        given = constants | values
        return connection.exec_driver_sql(text, tuple(given[place] for place in places))

    def run_each(self, connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
        """Runs it with the values of each row."""
        text, places, constants = self._made
        run_many(connection, text, [tuple((constants | row)[place] for place in places) for row in rows])


class Bulk:
    """Writes many rows of ``table`` at once: as they are, past SQLAlchemy's work on each value, which takes longer than
    SQLite takes to write it. A row is a tuple of the values of ``columns``, of types that the driver takes.

    What is there already under the same primary key is an error, or is replaced, or stays, as ``there`` says.
    """

    def __init__(self, table: sa.Table, columns: Sequence[str], *, there: Literal["fails", "goes", "stays"]) -> None:
        self._table = table
        self._columns = [*columns]
        self._there = there

    @cached_property
    def _texts(self) -> tuple[str, str]:
        """For one row, and for as many as go at once."""
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
        whole = len(rows) - len(rows) % _AT_ONCE
        # The driver gives other threads a turn with each statement, and has to wait for one of its own after it.
        some = [tuple(itertools.chain.from_iterable(part)) for part in chunks(rows[:whole], _AT_ONCE)]
        return run_many(connection, many, some) + run_many(connection, one, rows[whole:])


def run_many(connection: sa.Connection, text: str, rows: Sequence[tuple[Any, ...]]) -> int:
    """Runs a statement (with ``?``) for each of ``rows``. Returns how many rows of the database it changed."""
    return connection.exec_driver_sql(text, [*rows]).rowcount if rows else 0


class ByKey:
    """Reads ``columns`` of a watch's rows by their keys (packed): as SQL text, since SQLAlchemy takes longer to make
    that of a thousand keys than SQLite takes to find them.
    """

    def __init__(self, table: sa.Table, columns: Sequence[str]) -> None:
        self._text = f"SELECT {', '.join(columns)} FROM {table.name} WHERE watch = ? AND key IN "

    def of(self, connection: sa.Connection, watch: int, keys: Sequence[bytes]) -> Iterator[Sequence[Any]]:
        """The rows of those ``keys`` that there are, in no order."""
        for some in chunks(keys, _CHUNK):
            marks = ",".join("?" * len(some))
            yield from connection.exec_driver_sql(f"{self._text}({marks})", (watch, *some)).cursor.fetchall()


def _replacing(table: sa.Table, columns: Sequence[str]) -> Insert:
    statement = insert(table)
    keys = [column.name for column in table.primary_key]
    rest = {name: statement.excluded[name] for name in columns if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=rest)
