"""What every part of the store over SQLAlchemy shares: its engine, and how a transaction begins."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import Insert, insert

from esfeed.store.database import guarded

_CHUNK = 1000
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
    """

    def __init__(self, table: sa.Table, columns: Sequence[str], *, replace: bool) -> None:
        self._table = table
        self._columns = [*columns]
        self._replace = replace

    @cached_property
    def _text(self) -> str:
        table, columns = self._table, self._columns
        statement = _replacing(table, columns) if self._replace else insert(table).values(dict.fromkeys(columns))
        return str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark"), column_keys=columns))

    def write(self, connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Adds the rows; those with the same primary key are replaced where ``replace`` was said."""
        run_many(connection, self._text, rows)


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
