"""What the state holds of sinks by their names: for those that leave the settings, or come back under another name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import sqlalchemy as sa

from esfeed.store import schema as t
from esfeed.store.database import guarded


class SqlSinks:
    """The places of sinks in the log, and what is parked of them. No feed may run on the state that is changed here."""

    def __init__(self, engine: sa.Engine, where: str) -> None:
        self._engine = engine
        self._where = where

    def cursors(self) -> Mapping[str, int]:
        """The place in the log of each sink that was ever seen."""
        with guarded(self._where), self._engine.connect() as connection:
            rows = connection.execute(sa.select(t.cursor.c.sink, t.cursor.c.position).order_by(t.cursor.c.sink))
            return {row.sink: row.position for row in rows}

    def rename(self, old: str, new: str) -> None:
        """Has ``new`` go on where ``old`` was: with its place, what is parked of it, and what was logged for it alone.

        A place that ``new`` has of its own is forgotten; nothing may be parked of it.
        """
        with self._writing() as connection:
            connection.execute(sa.delete(t.cursor).where(t.cursor.c.sink == new))
            for table in (t.cursor, t.parked, t.log):
                connection.execute(sa.update(table).where(table.c.sink == old).values(sink=new))
            self._forget_health(connection, old)

    def forget(self, name: str) -> None:
        """Forgets the place of a sink and what is parked of it."""
        with self._writing() as connection:
            for table in (t.cursor, t.parked):
                connection.execute(sa.delete(table).where(table.c.sink == name))
            self._forget_health(connection, name)

    def _forget_health(self, connection: sa.Connection, name: str) -> None:
        connection.execute(sa.delete(t.health).where(t.health.c.kind == "sink", t.health.c.name == name))

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with (
            guarded(self._where),
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection
