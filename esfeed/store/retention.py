"""Keeps the log within its limits, a few rows at a time, and counts what a sink loses by that (``ports.Retention``).

The limits are strict: a row that is too old, or too much for the log, is deleted even if a sink has not received it. So
a sink that left the settings cannot keep the log from being pruned.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from esfeed.ports import Pruned
from esfeed.store import schema as t
from esfeed.store.database import give_back, guarded
from esfeed.store.log import SqlLog, grow
from esfeed.store.outbox import move
from esfeed.store.references import forget
from esfeed.store.sessions import Sessions

_ROWS = 1000


class SqlRetention:
    """See ``ports.Retention``."""

    def __init__(self, sessions: Sessions, log: SqlLog) -> None:
        self._sessions = sessions
        self._log = log

    def prune(self, before: int, limit: int, sinks: Mapping[str, Collection[str]], rows: int = _ROWS) -> Pruned:
        with self._sessions.reading() as connection:
            oldest = connection.execute(sa.select(t.log.c.at).order_by(t.log.c.position).limit(1)).scalar()
            size = int(connection.scalar(sa.select(t.log_size.c.bytes)) or 0)
        if oldest is None or (oldest >= before and size <= limit):
            return Pruned()
        with self._sessions.writing() as connection:
            size = int(connection.scalar(sa.select(t.log_size.c.bytes)) or 0)
            last, size_bytes, count = 0, 0, 0
            query = sa.select(t.log.c.position, t.log.c.at, sa.func.length(t.log.c.event).label("size_bytes"))
            for row in connection.execute(query.order_by(t.log.c.position).limit(rows)).all():
                if row.at >= before and size - size_bytes <= limit:
                    break
                last, size_bytes, count = row.position, size_bytes + row.size_bytes, count + 1
            if not count:
                return Pruned()
            numbers = {name: number for number, name in connection.execute(sa.select(t.watch.c.id, t.watch.c.name))}
            dropped = {}
            for sink, watches in sinks.items():
                lost = _lost(connection, sink, [numbers[name] for name in watches if name in numbers], last)
                if lost:
                    dropped[sink] = lost
            connection.execute(sa.delete(t.log).where(t.log.c.position <= last))
            forget(connection, last)
            grow(connection, -size_bytes)
        self._log.forget(last)
        with guarded(self._sessions.where):
            give_back(self._sessions.engine)
        return Pruned(count, dropped, count == rows)


def _lost(connection: sa.Connection, sink: str, watches: Collection[int], last: int) -> int:
    """Moves the cursor of a sink past the rows to delete; returns how many of its entries it had not received."""
    at = connection.scalar(sa.select(t.cursor.c.position).where(t.cursor.c.sink == sink))
    if at is None or at >= last:
        return 0
    held = sa.exists().where(t.parked.c.sink == sink, t.parked.c.position == t.log.c.position)
    query = (
        sa.select(sa.func.count())
        .select_from(t.log)
        .where(t.log.c.position > at, t.log.c.position <= last, t.log.c.watch.in_(watches))
        .where(sa.or_(t.log.c.sink.is_(None), t.log.c.sink == sink), ~held)
    )
    lost = connection.scalar(query) or 0
    move(connection, sink, last, lost)
    return lost
