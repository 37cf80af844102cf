"""The progress of each sink (``ports.Outbox``).

A parked event is a copy, so the log can be pruned to its limits even if a sink has events to retry. Times of parked
events are epoch seconds.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from esfeed.model.event import Event
from esfeed.ports import PAGE_BYTES, LogRow, Parked, Settlement
from esfeed.store import schema as t
from esfeed.store.codec import Unpack, pack_events
from esfeed.store.dictionaries import Dictionaries
from esfeed.store.log import FETCH, ROW, log_rows, some
from esfeed.store.references import event_at
from esfeed.store.sessions import Sessions
from esfeed.store.statements import Ready, sought, upsert

REDRIVEN = ("redriven", "forced")
PARKED = [column for column in t.parked.columns if column.name != "event"]
_PARKED_ROW = [t.parked.c[column.name] for column in ROW]
_P = sa.bindparam
_CURSOR = Ready(sa.select(t.cursor.c.position).where(t.cursor.c.sink == _P("sink")))


class SqlOutbox:
    """See ``ports.Outbox``."""

    def __init__(self, sessions: Sessions, dictionaries: Dictionaries) -> None:
        self._sessions = sessions
        self._dictionaries = dictionaries

    def cursor(self, sink: str) -> int | None:
        with self._sessions.reading() as connection:
            found: int | None = _CURSOR.run(connection, sink=sink).scalar()
        return found

    def settle(self, sink: str, step: Settlement) -> None:
        events = [self._packed(one) for one in step.parked]
        with self._sessions.writing() as connection:
            move(connection, sink, step.position, step.dropped)
            for chunk in sought(step.taken):
                connection.execute(sa.delete(t.parked).where(t.parked.c.sink == sink, t.parked.c.position.in_(chunk)))
            for one, event in zip(step.parked, events, strict=True):
                _park(connection, one, event, self._dictionaries.unpack)
            for (watch, key), position in step.newer.items():
                connection.execute(
                    sa.update(t.parked)
                    .where(t.parked.c.sink == sink, t.parked.c.watch == watch, t.parked.c.key == key)
                    .where(t.parked.c.state.in_(("dead", *REDRIVEN)), t.parked.c.position < position)
                    .values(newer=position)
                )

    def parked(self, sink: str) -> Sequence[Parked]:
        with self._sessions.reading() as connection:
            query = sa.select(*PARKED).where(t.parked.c.sink == sink).order_by(t.parked.c.position)
            return [parked_of(row) for row in connection.execute(query)]

    def redriven(self, sink: str) -> Sequence[Parked]:
        query = sa.select(*PARKED).where(t.parked.c.sink == sink, t.parked.c.state.in_(REDRIVEN))
        with self._sessions.reading() as connection:
            return [parked_of(row) for row in connection.execute(query.order_by(t.parked.c.position))]

    def parked_events(self, sink: str, positions: Sequence[int], max_bytes: int = PAGE_BYTES) -> Sequence[LogRow]:
        with self._sessions.reading() as connection, closing(_parked(connection, sink, positions)) as rows:
            return some(log_rows(rows, self._dictionaries.unpack), None, max_bytes)

    def _packed(self, one: Parked) -> bytes | None:
        if one.event is None:
            return None
        return pack_events([(one.event, None)], self._dictionaries.packer(one.document[0]))[0]


def move(connection: sa.Connection, sink: str, position: int, dropped: int) -> None:
    """Moves a cursor forward, never back: retention may have moved it further."""
    _MOVE.run(connection, sink=sink, position=position, dropped=dropped)


def _moving() -> Ready:
    added = insert(t.cursor).values(sink=_P("sink"), position=_P("position"), dropped=_P("dropped"))
    new = added.excluded
    further = sa.case((new.position > t.cursor.c.position, new.position), else_=t.cursor.c.position)
    counted = t.cursor.c.dropped + new.dropped
    return Ready(added.on_conflict_do_update(index_elements=["sink"], set_={"position": further, "dropped": counted}))


_MOVE = _moving()


def _park(connection: sa.Connection, one: Parked, event: bytes | None, unpack: Unpack) -> None:
    """Stores a parked event: ``event`` (packed) if it has its own, else the one stored before, else that of the log."""
    row: dict[str, Any] = {
        "sink": one.sink,
        "position": one.position,
        "watch": one.document[0],
        "key": one.document[1],
        "state": one.state,
        "attempts": one.attempts,
        "error": one.error,
        "since": one.since,
        "next_try": one.next_try,
        "newer": one.newer,
    }
    kept = connection.execute(
        sa.update(t.parked)
        .where(t.parked.c.sink == one.sink, t.parked.c.position == one.position)
        .values({name: row[name] for name in ("state", "attempts", "error", "next_try")})
    )
    if kept.rowcount:
        return
    # A copy, whose content does not depend on the document.
    packed = event_at(connection, one.position, unpack) if event is None else event
    if packed is not None:
        upsert(connection, t.parked, [{**row, "event": packed}])


def parked_of(row: Any, event: Event | None = None) -> Parked:
    """The parked event from its columns, see ``PARKED``."""
    return Parked(
        row.sink,
        row.position,
        row.attempts,
        row.error,
        (row.watch, row.key),
        row.state,
        row.since,
        row.next_try,
        row.newer,
        event,
    )


def _parked(connection: sa.Connection, sink: str, positions: Iterable[int]) -> Generator[Any, None, None]:
    which = sa.select(*_PARKED_ROW).where(t.parked.c.sink == sink).order_by(t.parked.c.position)
    for chunk in sought(sorted(positions)):
        found = connection.execution_options(yield_per=FETCH).execute(which.where(t.parked.c.position.in_(chunk)))
        with closing(found):
            yield from found
