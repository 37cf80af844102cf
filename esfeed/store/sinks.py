"""The sinks in the state, by name (``ports.SinkRegistry``), including those that left the settings."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from esfeed.store import schema as t
from esfeed.store.sessions import Sessions


class SqlSinkRegistry:
    """See ``ports.SinkRegistry``."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def cursors(self) -> Mapping[str, int]:
        with self._sessions.reading() as connection:
            rows = connection.execute(sa.select(t.cursor.c.sink, t.cursor.c.position).order_by(t.cursor.c.sink))
            return {row.sink: row.position for row in rows}

    def rename(self, old: str, new: str) -> None:
        with self._sessions.writing() as connection:
            connection.execute(sa.delete(t.cursor).where(t.cursor.c.sink == new))
            for table in (t.cursor, t.parked, t.log):
                connection.execute(sa.update(table).where(table.c.sink == old).values(sink=new))
            self._forget_health(connection, old)

    def forget(self, name: str) -> None:
        with self._sessions.writing() as connection:
            for table in (t.cursor, t.parked):
                connection.execute(sa.delete(table).where(table.c.sink == name))
            self._forget_health(connection, name)

    def _forget_health(self, connection: sa.Connection, name: str) -> None:
        connection.execute(sa.delete(t.health).where(t.health.c.kind == "sink", t.health.c.name == name))
