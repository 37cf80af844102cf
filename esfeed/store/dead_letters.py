"""Dead letters, for the operator (``ports.DeadLetters``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from esfeed.ports import Counts, Parked
from esfeed.store import schema as t
from esfeed.store.codec import unpack_event
from esfeed.store.dictionaries import Dictionaries
from esfeed.store.log import FETCH
from esfeed.store.outbox import PARKED, REDRIVEN, move, parked_of
from esfeed.store.sessions import Sessions


class SqlDeadLetters:
    """See ``ports.DeadLetters``."""

    def __init__(self, sessions: Sessions, dictionaries: Dictionaries) -> None:
        self._sessions = sessions
        self._dictionaries = dictionaries

    def page(
        self, sinks: Sequence[str], after: tuple[str, int] = ("", 0), limit: int = 100, *, live: bool = False
    ) -> Sequence[Parked]:
        query = sa.select(t.parked).where(
            t.parked.c.sink.in_(sinks), sa.tuple_(t.parked.c.sink, t.parked.c.position) > sa.tuple_(*after)
        )
        if not live:
            query = query.where(t.parked.c.state.in_(("dead", *REDRIVEN)))
        with self._sessions.reading() as connection:
            found = connection.execution_options(yield_per=FETCH).execute(
                query.order_by(t.parked.c.sink, t.parked.c.position).limit(limit)
            )
            return [self._with_event(row) for row in found]

    def get(self, sink: str, position: int) -> Parked | None:
        query = sa.select(t.parked).where(t.parked.c.sink == sink, t.parked.c.position == position)
        with self._sessions.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else self._with_event(row)

    def _with_event(self, row: Any) -> Parked:
        return parked_of(row, unpack_event(row.event, row.position, self._dictionaries.unpack))

    def redrive(self, sinks: Sequence[str], position: int | None = None, *, force: bool = False) -> Sequence[Parked]:
        which: list[sa.ColumnElement[bool]] = [t.parked.c.sink.in_(sinks), t.parked.c.state.in_(("dead", *REDRIVEN))]
        which += [] if position is None else [t.parked.c.position == position]
        which += [] if force else [t.parked.c.newer.is_(None)]
        with self._sessions.writing() as connection:
            found = [parked_of(row) for row in connection.execute(sa.select(*PARKED).where(*which))]
            connection.execute(sa.update(t.parked).where(*which).values(state="forced" if force else "redriven"))
        return found

    def discard(self, sinks: Sequence[str], position: int | None = None) -> int:
        gone = 0
        with self._sessions.writing() as connection:
            for sink in sinks:
                which: list[sa.ColumnElement[bool]] = [t.parked.c.sink == sink, t.parked.c.state == "dead"]
                which += [] if position is None else [t.parked.c.position == position]
                count = connection.execute(sa.delete(t.parked).where(*which)).rowcount
                if count:
                    move(connection, sink, 0, count)
                gone += count
        return gone

    def counts(self) -> Mapping[str, Counts]:
        dead = sa.func.sum(sa.case((t.parked.c.state.in_(("retry", "waiting")), 0), else_=1))
        with self._sessions.reading() as connection:
            by_sink = sa.select(t.parked.c.sink, sa.func.count(), dead).group_by(t.parked.c.sink)
            parked = {sink: (whole - gone, gone) for sink, whole, gone in connection.execute(by_sink)}
            dropped = {
                row.sink: row.dropped for row in connection.execute(sa.select(t.cursor.c.sink, t.cursor.c.dropped))
            }
            tried = sa.select(t.parked.c.sink, t.parked.c.next_try, t.parked.c.error).where(t.parked.c.state == "retry")
            latest_first = tried.order_by(t.parked.c.next_try.desc())
            first = {row.sink: (row.next_try, row.error) for row in connection.execute(latest_first)}
        return {
            sink: Counts(*parked.get(sink, (0, 0)), dropped.get(sink, 0), *first.get(sink, (0.0, "")))
            for sink in {*parked, *dropped}
        }

    def trim(self, sink: str, limit: int) -> int:
        dead = [t.parked.c.sink == sink, t.parked.c.state == "dead"]
        newest = sa.select(t.parked.c.position).where(*dead).order_by(t.parked.c.position.desc())
        with self._sessions.reading() as connection:
            last = connection.scalar(newest.offset(limit).limit(1))
        if last is None:
            return 0
        with self._sessions.writing() as connection:
            gone = connection.execute(sa.delete(t.parked).where(*dead, t.parked.c.position <= last)).rowcount
            move(connection, sink, 0, gone)
        return gone
