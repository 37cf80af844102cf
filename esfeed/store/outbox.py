"""The log as sinks see it: rows, cursors, and what is parked or dead for each sink.

A parked event is a copy: the log may be pruned to its bounds whatever any sink still has to send again. Times in the
log are epoch milliseconds, those of parked events epoch seconds.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from esfeed.model.event import Event, Key, event_time, weight
from esfeed.ports import PAGE_BYTES, Entry, LogRow, Parked, Settlement
from esfeed.store import schema as t
from esfeed.store.codec import pack_event, unpack_event
from esfeed.store.statements import Bulk, Connected, Ready, sought, upsert

_FETCH = 20
_WHOLE = 1
_MARKS = [column for column in t.parked.columns if column.name != "event"]
_ROW = [t.log.c.position, t.log.c.sink, t.log.c.event, t.log.c.watch, t.log.c.key]
_PARKED_ROW = [t.parked.c[column.name] for column in _ROW]
_LOG = Bulk(t.log, ["position", "watch", "key", "sink", "event", "at"], there="fails")
_FIRST = sa.select(sa.func.min(t.log.c.position)).scalar_subquery()
_LAST = sa.select(sa.func.max(t.log.c.position)).scalar_subquery()
_WISHES = ("redriven", "forced")
_P = sa.bindparam
_PAGE = Ready(sa.select(*_ROW).where(t.log.c.position > _P("after")).order_by(t.log.c.position).limit(_P("most")))
_CURSOR = Ready(sa.select(t.cursor.c.position).where(t.cursor.c.sink == _P("sink")))


class Counts(msgspec.Struct, frozen=True):
    """How many events of a sink are parked (to be tried again, or behind one that is), and dead; and were dropped.

    ``next_try`` (epoch seconds) and ``error`` are of the parked one that is tried next.
    """

    parked: int = 0
    dead: int = 0
    dropped: int = 0
    next_try: float = 0.0
    error: str = ""


class Outbox(Connected):
    """The part of ``ports.Store`` that delivery uses.

    What was committed last is kept as it is, for sinks that have all before it: to read it again takes longer than to
    send it.
    """

    _fresh: Sequence[LogRow] = ()

    def read_log(self, after: int, limit: int, max_bytes: int = PAGE_BYTES) -> Sequence[LogRow]:
        fresh = self._fresh
        if fresh and fresh[0].position <= after + 1 <= fresh[-1].position:
            return _some(itertools.islice(fresh, after + 1 - fresh[0].position, None), limit, max_bytes)
        with self._reading() as connection:
            # Not all at once: ten thousand rows may be ten thousand megabytes.
            rows = _PAGE.run(connection.execution_options(yield_per=_FETCH), after=after, most=limit)
            return _page(rows, max_bytes)

    def forget(self, last: int) -> None:
        """Rows up to that position are in the log no more."""
        self._fresh = [row for row in self._fresh if row.position > last]

    def head(self) -> int:
        with self._reading() as connection:
            return head(connection)

    def reserve(self, count: int) -> int:
        """The first of ``count`` positions that no row of the log will ever have."""
        with self._writing() as connection:
            first = head(connection) + 1
            row = {"seq": first + count - 1}
            moved = connection.execute(sa.text("UPDATE sqlite_sequence SET seq = :seq WHERE name = 'log'"), row)
            if not moved.rowcount:
                connection.execute(sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES ('log', :seq)"), row)
        return first

    def first(self) -> int | None:
        with self._reading() as connection:
            found: int | None = connection.scalar(sa.select(sa.func.min(t.log.c.position)))
        return found

    def last(self) -> int:
        """The position of the newest log row that there is; 0 where none is."""
        with self._reading() as connection:
            return connection.scalar(sa.select(_LAST)) or 0

    def log_bytes(self) -> int:
        """Bytes of all events in the log, as they lie in it."""
        with self._reading() as connection:
            return int(connection.scalar(sa.select(t.log_size.c.bytes)) or 0)

    def cursor(self, sink: str) -> int | None:
        with self._reading() as connection:
            found: int | None = _CURSOR.run(connection, sink=sink).scalar()
        return found

    def settle(self, sink: str, step: Settlement) -> None:
        with self._writing() as connection:
            move(connection, sink, step.position, step.dropped)
            for chunk in sought(step.taken):
                connection.execute(sa.delete(t.parked).where(t.parked.c.sink == sink, t.parked.c.position.in_(chunk)))
            for one in step.parked:
                _park(connection, one)
            for (watch, key), position in step.newer.items():
                connection.execute(
                    sa.update(t.parked)
                    .where(t.parked.c.sink == sink, t.parked.c.watch == watch, t.parked.c.key == key)
                    .where(t.parked.c.state.in_(("dead", *_WISHES)), t.parked.c.position < position)
                    .values(newer=position)
                )

    def parked(self, sink: str) -> Sequence[Parked]:
        with self._reading() as connection:
            query = sa.select(*_MARKS).where(t.parked.c.sink == sink).order_by(t.parked.c.position)
            return [_parked(row) for row in connection.execute(query)]

    def redriven(self, sink: str) -> Sequence[Parked]:
        query = sa.select(*_MARKS).where(t.parked.c.sink == sink, t.parked.c.state.in_(_WISHES))
        with self._reading() as connection:
            return [_parked(row) for row in connection.execute(query.order_by(t.parked.c.position))]

    def parked_events(self, sink: str, positions: Sequence[int], max_bytes: int = PAGE_BYTES) -> Sequence[LogRow]:
        with self._reading() as connection, closing(_parked_rows(connection, sink, positions)) as rows:
            return _some(rows, None, max_bytes)

    # --- for the operator

    def dead(
        self, sinks: Sequence[str], after: tuple[str, int] = ("", 0), limit: int = 100, *, live: bool = False
    ) -> Sequence[Parked]:
        """A page of the dead events of those sinks, with the events, by sink and position; ``live``: all parked ones.

        ``after``: the sink and position of the last one of the page before.
        """
        query = sa.select(t.parked).where(
            t.parked.c.sink.in_(sinks), sa.tuple_(t.parked.c.sink, t.parked.c.position) > sa.tuple_(*after)
        )
        if not live:
            query = query.where(t.parked.c.state.in_(("dead", *_WISHES)))
        with self._reading() as connection:
            found = connection.execution_options(yield_per=_FETCH).execute(
                query.order_by(t.parked.c.sink, t.parked.c.position).limit(limit)
            )
            return [_parked(row, unpack_event(row.event, row.position)) for row in found]

    def parked_one(self, sink: str, position: int) -> Parked | None:
        """One parked or dead event, whole."""
        query = sa.select(t.parked).where(t.parked.c.sink == sink, t.parked.c.position == position)
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _parked(row, unpack_event(row.event, row.position))

    def redrive(self, sinks: Sequence[str], position: int | None = None, *, force: bool = False) -> Sequence[Parked]:
        """Asks for dead events of ``sinks`` (the one at ``position``) to be sent again; returns them.

        Those behind which a newer event of their document was taken are passed over unless ``force``.
        """
        which: list[sa.ColumnElement[bool]] = [t.parked.c.sink.in_(sinks), t.parked.c.state.in_(("dead", *_WISHES))]
        which += [] if position is None else [t.parked.c.position == position]
        which += [] if force else [t.parked.c.newer.is_(None)]
        with self._writing() as connection:
            found = [_parked(row) for row in connection.execute(sa.select(*_MARKS).where(*which))]
            connection.execute(sa.update(t.parked).where(*which).values(state="forced" if force else "redriven"))
        return found

    def discard(self, sinks: Sequence[str], position: int | None = None) -> int:
        """Forgets dead events of ``sinks`` (the one at ``position``), and counts them as dropped; returns how many."""
        gone = 0
        with self._writing() as connection:
            for sink in sinks:
                which: list[sa.ColumnElement[bool]] = [t.parked.c.sink == sink, t.parked.c.state == "dead"]
                which += [] if position is None else [t.parked.c.position == position]
                count = connection.execute(sa.delete(t.parked).where(*which)).rowcount
                if count:
                    move(connection, sink, 0, count)
                gone += count
        return gone

    def counts(self) -> Mapping[str, Counts]:
        """What is parked, dead and dropped, by sink, for each that was ever seen."""
        dead = sa.func.sum(sa.case((t.parked.c.state.in_(("retry", "waiting")), 0), else_=1))
        with self._reading() as connection:
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

    def log_count(self, after: int) -> int:
        """How many rows of the log have a position greater than ``after``, at most: some may have been left out."""
        with self._reading() as connection:
            first, last = connection.execute(sa.select(_FIRST, _LAST)).one()
        return 0 if last is None else max(0, last - max(after, first - 1))


def append(
    connection: sa.Connection, watch: int, entries: Sequence[tuple[Entry, bytes]], bodies: Mapping[Key, bytes]
) -> Sequence[LogRow]:
    """Adds rows to the log, each with its key, packed. ``bodies``: contents that are packed already, by their keys.

    Returns the rows: positions without a gap.
    """
    packed = [pack_event(entry.event, bodies.get(entry.key)) for entry, _ in entries]
    # This transaction is the only one that writes, so the positions are known before they are given.
    first = head(connection) + 1
    _LOG.write(connection, [
        (position, watch, key, entry.sink, event, _milliseconds(entry.event))
        for position, ((entry, key), event) in enumerate(zip(entries, packed, strict=True), first)
    ])  # fmt: skip
    grow(connection, sum(map(len, packed)))
    return [
        LogRow(position, msgspec.structs.replace(entry.event, position=position), entry.sink, (watch, key))
        for position, (entry, key) in enumerate(entries, first)
    ]


def head(connection: sa.Connection) -> int:
    """The position of the newest log row ever written, 0 where there was none."""
    return int(connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'log'").scalar() or 0)


def grow(connection: sa.Connection, max_bytes: int) -> None:
    """Counts what is added to the log, or (less than nothing) taken from it."""
    _GROW.run(connection, max_bytes=max_bytes)


def move(connection: sa.Connection, sink: str, position: int, dropped: int) -> None:
    """Moves a cursor on, never back: what bounds the log may have moved it meanwhile."""
    _MOVE.run(connection, sink=sink, position=position, dropped=dropped)


def _growing() -> Ready:
    added = insert(t.log_size).values(id=_WHOLE, bytes=_P("max_bytes"))
    total = t.log_size.c.bytes + added.excluded.bytes
    return Ready(added.on_conflict_do_update(index_elements=["id"], set_={"bytes": total}))


def _moving() -> Ready:
    added = insert(t.cursor).values(sink=_P("sink"), position=_P("position"), dropped=_P("dropped"))
    new = added.excluded
    further = sa.case((new.position > t.cursor.c.position, new.position), else_=t.cursor.c.position)
    counted = t.cursor.c.dropped + new.dropped
    return Ready(added.on_conflict_do_update(index_elements=["sink"], set_={"position": further, "dropped": counted}))


_GROW, _MOVE = _growing(), _moving()


def _milliseconds(event: Event) -> int:
    at = event_time(event)
    return int((time.time() if at is None else at) * 1000)


def _park(connection: sa.Connection, one: Parked) -> None:
    """Keeps it; its event is the one it brings, else the one kept before, else the log's."""
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
    if one.event is not None:
        upsert(connection, t.parked, [{**row, "event": pack_event(one.event)}])
        return
    types = {column.name: column.type for column in t.parked.columns}
    values = [sa.literal(value, types[name]) for name, value in row.items()]
    source = sa.select(*values, t.log.c.event).where(t.log.c.position == one.position)
    connection.execute(sa.insert(t.parked).from_select([*row, "event"], source))


def _parked(row: Any, event: Event | None = None) -> Parked:
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


def _parked_rows(connection: sa.Connection, sink: str, positions: Iterable[int]) -> Generator[LogRow, None, None]:
    which = sa.select(*_PARKED_ROW).where(t.parked.c.sink == sink).order_by(t.parked.c.position)
    for some in sought(sorted(positions)):
        found = connection.execution_options(yield_per=_FETCH).execute(which.where(t.parked.c.position.in_(some)))
        with closing(found):
            yield from itertools.starmap(_log_row, found)


def _page(found: sa.CursorResult[Any], max_bytes: int) -> Sequence[LogRow]:
    each: Iterable[Any] = found
    some = _some(itertools.starmap(_log_row, each), None, max_bytes)
    found.close()
    return some


def _log_row(position: int, sink: str | None, packed: bytes, watch: int, key: bytes) -> LogRow:
    return LogRow(position, unpack_event(packed, position), sink, (watch, key))


def _some(rows: Iterable[LogRow], limit: int | None, max_bytes: int) -> Sequence[LogRow]:
    """The first of ``rows``, no more than ``limit`` and no more bytes than so many, but one at least."""
    some: list[LogRow] = []
    for row in itertools.islice(rows, limit):
        max_bytes -= weight(row.event)
        if max_bytes < 0 and some:
            break
        some.append(row)
    return some
