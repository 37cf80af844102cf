"""The watches in the state, by number (``ports.Watches``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from esfeed.store import schema as t
from esfeed.store.sessions import Sessions


class SqlWatches:
    """See ``ports.Watches``."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._watches: dict[str, int] = {}

    def find(self, connection: sa.Connection, name: str) -> int | None:
        """The number of a watch; ``None`` if it has none yet."""
        if name not in self._watches:
            found = connection.scalar(sa.select(t.watch.c.id).where(t.watch.c.name == name))
            if found is None:
                return None
            self._watches[name] = found
        return self._watches[name]

    def number(self, name: str) -> int:
        """The number of a watch. It is assigned on first use in a separate transaction, so that no rollback
        removes it.
        """
        if name not in self._watches:
            self.register([name])
        return self._watches[name]

    def register(self, names: Iterable[str]) -> None:
        with self._sessions.reading() as connection:
            self._watches = {row.name: row.id for row in connection.execute(sa.select(t.watch.c.name, t.watch.c.id))}
        new = [{"name": name} for name in names if name not in self._watches]
        if new:
            with self._sessions.writing() as connection:
                connection.execute(insert(t.watch).on_conflict_do_nothing(), new)
            self.register(())

    def followed(self) -> set[str]:
        with self._sessions.reading() as connection:
            query = sa.select(t.watch.c.name).join(t.checkpoint, t.checkpoint.c.watch == t.watch.c.id)
            return {*connection.scalars(query)}

    def documents(self) -> Mapping[str, int]:
        query = sa.select(t.watch.c.name, sa.func.count()).join(t.revision, t.revision.c.watch == t.watch.c.id)
        with self._sessions.reading() as connection:
            return dict(row._tuple() for row in connection.execute(query.group_by(t.watch.c.id)))
