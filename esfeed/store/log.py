"""The log of events (``ports.Log``). Its times are epoch milliseconds."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from esfeed.model.event import Event, Key, event_time, weight
from esfeed.ports import PAGE_BYTES, Entry, LogRow
from esfeed.store import schema as t
from esfeed.store.codec import Packer, Unpack, pack_events, pack_reference, unpack_event
from esfeed.store.dictionaries import Dictionaries
from esfeed.store.references import resolved
from esfeed.store.sessions import Sessions
from esfeed.store.statements import Bulk, Ready

FETCH = 20
"""Rows that are read at a time: ten thousand could be ten thousand megabytes."""

ROW = [t.log.c.position, t.log.c.sink, t.log.c.event, t.log.c.watch, t.log.c.key]
_WHOLE = 1
_MAX_FRESH = 8 << 20
_LOG = Bulk(t.log, ["position", "watch", "key", "sink", "event", "at"], there="fails")
_FIRST = sa.select(sa.func.min(t.log.c.position)).scalar_subquery()
_LAST = sa.select(sa.func.max(t.log.c.position)).scalar_subquery()
_P = sa.bindparam
_PAGE = Ready(sa.select(*ROW).where(t.log.c.position > _P("after")).order_by(t.log.c.position).limit(_P("limit")))


class SqlLog:
    """See ``ports.Log``.

    Keeps the rows of the last commit in memory, for sinks that have everything before them: reading them again takes
    longer than sending them.
    """

    def __init__(self, sessions: Sessions, dictionaries: Dictionaries) -> None:
        self._sessions = sessions
        self._dictionaries = dictionaries
        self.recent: Sequence[LogRow] = ()

    def read(self, after: int, limit: int, max_bytes: int = PAGE_BYTES) -> Sequence[LogRow]:
        recent = self.recent
        if recent and recent[0].position <= after + 1 <= recent[-1].position:
            return some(itertools.islice(recent, after + 1 - recent[0].position, None), limit, max_bytes)
        with self._sessions.reading() as connection:
            rows = _PAGE.run(connection.execution_options(yield_per=FETCH), after=after, limit=limit)
            return _page(connection, rows, max_bytes, self._dictionaries.unpack)

    def keep(self, rows: Sequence[LogRow]) -> None:
        """Keeps the rows of the last commit in memory, unless they are too large."""
        self.recent = rows if sum(weight(row.event) for row in rows) <= _MAX_FRESH else ()

    def forget(self, last: int) -> None:
        """Drops rows up to that position from memory."""
        self.recent = [row for row in self.recent if row.position > last]

    def head(self) -> int:
        with self._sessions.reading() as connection:
            return head(connection)

    def first(self) -> int | None:
        with self._sessions.reading() as connection:
            found: int | None = connection.scalar(sa.select(sa.func.min(t.log.c.position)))
        return found

    def last(self) -> int:
        with self._sessions.reading() as connection:
            return connection.scalar(sa.select(_LAST)) or 0

    def count(self, after: int) -> int:
        with self._sessions.reading() as connection:
            first, last = connection.execute(sa.select(_FIRST, _LAST)).one()
        return 0 if last is None else max(0, last - max(after, first - 1))

    def size_bytes(self) -> int:
        with self._sessions.reading() as connection:
            return int(connection.scalar(sa.select(t.log_size.c.bytes)) or 0)


class LogEntry(NamedTuple):
    """An entry to append, with its packed key. ``same``: its content is the one that is stored of the document."""

    entry: Entry
    key: bytes
    same: bool


def append(
    connection: sa.Connection, watch: int, entries: Sequence[LogEntry], bodies: Mapping[Key, bytes], packer: Packer
) -> tuple[Sequence[LogRow], Mapping[Key, int]]:
    """Adds rows to the log. ``bodies``: the packed contents that are stored of documents.

    Returns the rows, whose positions have no gaps; and the positions of rows that refer to the stored contents of
    documents, by key.
    """
    if not entries:
        return (), {}
    short = [pack_reference(one.entry.event, one.entry.key) if one.same else None for one in entries]
    rest = [
        (one.entry.event, bodies[one.entry.key] if one.same else None)
        for one, reference in zip(entries, short, strict=True)
        if reference is None
    ]
    long = iter(pack_events(rest, packer))
    packed = [next(long) if reference is None else reference for reference in short]
    # No other transaction writes now, so the positions are known in advance.
    first = head(connection) + 1
    _LOG.write(connection, [
        (position, watch, one.key, one.entry.sink, event, _milliseconds(one.entry.event))
        for position, (one, event) in enumerate(zip(entries, packed, strict=True), first)
    ])  # fmt: skip
    grow(connection, sum(map(len, packed)))
    rows = [
        LogRow(position, msgspec.structs.replace(entry.event, position=position), entry.sink, (watch, key))
        for position, (entry, key, _) in enumerate(entries, first)
    ]
    return rows, {
        one.entry.key: first + n for n, (one, reference) in enumerate(zip(entries, short, strict=True)) if reference
    }


def head(connection: sa.Connection) -> int:
    """The position of the newest log row ever written; 0 if there was none."""
    return int(connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'log'").scalar() or 0)


def grow(connection: sa.Connection, size_bytes: int) -> None:
    """Adds ``size_bytes`` to the stored size of the log; negative for deleted rows."""
    _GROW.run(connection, size_bytes=size_bytes)


def _growing() -> Ready:
    added = insert(t.log_size).values(id=_WHOLE, bytes=_P("size_bytes"))
    total = t.log_size.c.bytes + added.excluded.bytes
    return Ready(added.on_conflict_do_update(index_elements=["id"], set_={"bytes": total}))


_GROW = _growing()


def _milliseconds(event: Event) -> int:
    at = event_time(event)
    return int((time.time() if at is None else at) * 1000)


def _page(connection: sa.Connection, found: sa.CursorResult[Any], max_bytes: int, unpack: Unpack) -> Sequence[LogRow]:
    page = some(log_rows(_resolved(connection, found, unpack), unpack), None, max_bytes)
    found.close()
    return page


def _resolved(connection: sa.Connection, found: Iterable[Any], unpack: Unpack) -> Iterator[Any]:
    rows = iter(found)
    while chunk := [*itertools.islice(rows, FETCH)]:
        yield from resolved(connection, chunk, unpack)


def log_rows(found: Iterable[Any], unpack: Unpack) -> Iterator[LogRow]:
    """The rows from their columns, see ``ROW``. None of them refers to a content."""
    for position, sink, packed, watch, key in found:
        yield LogRow(position, unpack_event(packed, position, unpack), sink, (watch, key))


def some(rows: Iterable[LogRow], limit: int | None, max_bytes: int) -> Sequence[LogRow]:
    """The first of ``rows``, up to ``limit`` rows and ``max_bytes`` bytes, but at least one."""
    found: list[LogRow] = []
    for row in itertools.islice(rows, limit):
        max_bytes -= weight(row.event)
        if max_bytes < 0 and found:
            break
        found.append(row)
    return found
