"""Keeps the log within its bounds, a little at a time, and counts what a sink loses by that.

A bound is a bound: a row goes when it is too old or the log too large, whoever has not had it yet. A sink that is not
in the settings any more therefore holds nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
import sqlalchemy as sa

from esfeed.store import schema as t
from esfeed.store.database import give_back, guarded
from esfeed.store.outbox import Outbox, grow, move

_ROWS = 1000


class Pruned(msgspec.Struct, frozen=True):
    """What a step of pruning took from the log: rows, and entries that sinks had not had yet, by sink.

    ``more``: there is more to be pruned right now.
    """

    rows: int = 0
    dropped: Mapping[str, int] = msgspec.field(default_factory=dict)
    more: bool = False


class Pruner(Outbox):
    """The part of the store that forgets."""

    def prune(self, before: int, limit: int, sinks: Mapping[str, Collection[str]], rows: int = _ROWS) -> Pruned:
        """Deletes log rows older than ``before`` (epoch milliseconds), and while the log has over ``limit`` bytes.

        The oldest first, ``rows`` at most, in one transaction. ``sinks``: those that are fed from the log, each with
        the watches that are routed to it.
        """
        with self._reading() as connection:
            oldest = connection.execute(sa.select(t.log.c.at).order_by(t.log.c.position).limit(1)).scalar()
            size = int(connection.scalar(sa.select(t.log_size.c.bytes)) or 0)
        if oldest is None or (oldest >= before and size <= limit):
            return Pruned()
        with self._writing() as connection:
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
            grow(connection, -size_bytes)
        self.forget(last)
        with guarded(self._where):
            give_back(self._engine)
        return Pruned(count, dropped, count == rows)

    def forget_dead(self, sink: str, limit: int) -> int:
        """Drops the oldest dead events of a sink beyond ``limit``; returns how many."""
        dead = [t.parked.c.sink == sink, t.parked.c.state == "dead"]
        newest = sa.select(t.parked.c.position).where(*dead).order_by(t.parked.c.position.desc())
        with self._reading() as connection:
            last = connection.scalar(newest.offset(limit).limit(1))
        if last is None:
            return 0
        with self._writing() as connection:
            gone = connection.execute(sa.delete(t.parked).where(*dead, t.parked.c.position <= last)).rowcount
            move(connection, sink, 0, gone)
        return gone


def _lost(connection: sa.Connection, sink: str, watches: Collection[int], last: int) -> int:
    """Moves the cursor of a sink over what is about to go; returns how many entries it had not had."""
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
