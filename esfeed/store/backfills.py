"""The progress of backfills (``ports.Backfills``)."""

from __future__ import annotations

import sqlalchemy as sa

from esfeed.ports import BackfillMark
from esfeed.store import schema as t
from esfeed.store.log import head
from esfeed.store.sessions import Sessions


class SqlBackfills:
    """See ``ports.Backfills``."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def get(self, name: str) -> BackfillMark | None:
        with self._sessions.reading() as connection:
            row = connection.execute(sa.select(t.backfill).where(t.backfill.c.name == name)).one_or_none()
        return None if row is None else BackfillMark(**row._mapping)

    def end(self, name: str) -> None:
        with self._sessions.writing() as connection:
            connection.execute(sa.delete(t.backfill).where(t.backfill.c.name == name))

    def reserve(self, count: int) -> int:
        with self._sessions.writing() as connection:
            first = head(connection) + 1
            row = {"seq": first + count - 1}
            moved = connection.execute(sa.text("UPDATE sqlite_sequence SET seq = :seq WHERE name = 'log'"), row)
            if not moved.rowcount:
                connection.execute(sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES ('log', :seq)"), row)
        return first
