"""Answers what a tracker asks about a watch (``ports.Known``), including sweeps that find missing documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from esfeed.model.event import Key, Revision
from esfeed.model.reads import FAR, ODD, Dated, Held, Span
from esfeed.ports import Sweep
from esfeed.store import counts
from esfeed.store import schema as t
from esfeed.store.database import guarded
from esfeed.store.keys import pack_key, unpack_key
from esfeed.store.sessions import Sessions
from esfeed.store.statements import ByKey, Ready, sought
from esfeed.store.tombstones import any_left

_CHUNK = 1000

_COLUMNS = (
    t.revision.c.key,
    t.index_ref.c.uuid,
    t.index_ref.c.name,
    t.revision.c.version,
    t.revision.c.seq_no,
    t.revision.c.digest,
    t.revision.c.shard,
    t.revision.c.stamp,
)
REVISIONS = ByKey(t.revision, ["key", "index_ref", "version", "seq_no", "digest", "shard", "stamp"])
_TOMBSTONES = ByKey(t.tombstone, ["key", "index_ref", "version", "seq_no", "shard"])
_COUNT = Ready(sa.select(sa.func.count()).select_from(t.revision).where(t.revision.c.watch == sa.bindparam("watch")))
_REVISIONS = sa.select(*_COLUMNS).join(t.index_ref, t.index_ref.c.id == t.revision.c.index_ref)


def _of_shard(table: sa.Table, watch: Any, uuid: Any, shard: Any, *what: Any) -> sa.Select[Any]:
    """Selects ``what`` from the rows of a shard; ``watch``, ``uuid`` and ``shard`` are values or bind parameters."""
    index = sa.select(t.index_ref.c.id).where(t.index_ref.c.uuid == uuid).scalar_subquery()
    return sa.select(*what).where(table.c.watch == watch, table.c.index_ref == index, table.c.shard == shard)


_IN_SHARD = Ready(
    _of_shard(t.tally, *map(sa.bindparam, ("watch", "uuid", "shard")), sa.func.sum(t.tally.c.documents)).where(
        t.tally.c.bits == counts.BITS[0]
    )
)
_UNMET = sa.text("NOT EXISTS (SELECT 1 FROM temp.met WHERE met.key = revision.key)")


class SqlKnown:
    """See ``ports.Known``. ``watch`` is the number of the watch in the database."""

    def __init__(self, sessions: Sessions, watch: int) -> None:
        self._sessions = sessions
        self._watch = watch

    def revisions(self, keys: Collection[Key]) -> Mapping[Key, Revision]:
        packed = {pack_key(key): key for key in keys}
        with self._sessions.reading() as connection:
            rows = [*REVISIONS.of(connection, self._watch, sorted(packed))]
            indices = _indices(connection, {row[1] for row in rows})
        return {
            packed[key]: Revision(*indices[index], version, seq_no, digest, shard, stamp)
            for key, index, version, seq_no, digest, shard, stamp in rows
        }

    def count(self) -> int:
        with self._sessions.reading() as connection:
            return int(_COUNT.run(connection, watch=self._watch).scalar() or 0)

    def indices(self) -> Collection[Held]:
        key = t.revision.c.key
        some = sa.select(t.index_ref.c.uuid, t.index_ref.c.name, sa.func.min(key), sa.func.max(key)).group_by(
            t.revision.c.index_ref
        )
        query = some.join(t.index_ref, t.index_ref.c.id == t.revision.c.index_ref).where(
            t.revision.c.watch == self._watch
        )
        with self._sessions.reading() as connection:
            rows = connection.execute(query).all()
        return {Held(name, uuid, unpack_key(key).within) for uuid, name, *keys in rows for key in keys}

    def in_shard(self, uuid: str, shard: int) -> int:
        with self._sessions.reading() as connection:
            return int(_IN_SHARD.run(connection, watch=self._watch, uuid=uuid, shard=shard).scalar() or 0)

    def histogram(self, uuid: str, shard: int, spans: Sequence[Span], bits: int) -> Mapping[int, int]:
        found: Counter[int] = Counter()
        with self._sessions.reading() as connection:
            for low, high in spans:
                if bits in counts.BITS:
                    query = _of_shard(t.tally, self._watch, uuid, shard, t.tally.c.bucket, t.tally.c.documents).where(
                        t.tally.c.bits == bits, t.tally.c.bucket >= low >> bits, t.tally.c.bucket < -(-high >> bits)
                    )
                    found.update({row.bucket: row.documents for row in connection.execute(query)})
                else:
                    query = _of_shard(t.revision, self._watch, uuid, shard, t.revision.c.seq_no).where(
                        t.revision.c.seq_no >= low, t.revision.c.seq_no < high
                    )
                    found.update(row.seq_no >> bits for row in connection.execute(query))
        return found

    def at(self, uuid: str, shard: int, numbers: Collection[int]) -> Mapping[Key, Revision]:
        found: dict[Key, Revision] = {}
        with self._sessions.reading() as connection:
            for chunk in sought(sorted(numbers)):
                query = _REVISIONS.where(
                    t.revision.c.watch == self._watch,
                    t.index_ref.c.uuid == uuid,
                    t.revision.c.shard == shard,
                    t.revision.c.seq_no.in_(chunk),
                )
                found.update((unpack_key(row.key), _revision(row)) for row in connection.execute(query))
        return found

    def above(self, uuid: str, shard: int, number: int, size: int) -> Iterator[Mapping[Key, Revision]]:
        while True:
            page = _REVISIONS.where(
                t.revision.c.watch == self._watch,
                t.index_ref.c.uuid == uuid,
                t.revision.c.shard == shard,
                t.revision.c.seq_no > number,
            )
            with self._sessions.reading() as connection:
                rows = connection.execute(page.order_by(t.revision.c.seq_no).limit(size)).all()
            if not rows:
                return
            number = rows[-1].seq_no
            yield {unpack_key(row.key): _revision(row) for row in rows}

    def below(self, uuid: str, shard: int, number: int, size: int) -> Mapping[Key, Revision]:
        page = _REVISIONS.where(
            t.revision.c.watch == self._watch,
            t.index_ref.c.uuid == uuid,
            t.revision.c.shard == shard,
            t.revision.c.seq_no < number,
        )
        with self._sessions.reading() as connection:
            rows = connection.execute(page.order_by(t.revision.c.seq_no.desc()).limit(size)).all()
        return {unpack_key(row.key): _revision(row) for row in rows}

    def tombstones(self, uuid: str, shard: int, size: int) -> Iterator[Collection[Key]]:
        last = b""
        while True:
            found = _of_shard(t.tombstone, self._watch, uuid, shard, t.tombstone.c.key)
            page = found.where(t.tombstone.c.key > last).order_by(t.tombstone.c.key).limit(size)
            with self._sessions.reading() as connection:
                keys = connection.scalars(page).all()
            if not keys:
                return
            last = keys[-1]
            yield [unpack_key(key) for key in keys]

    def tombstoned(self, keys: Collection[Key]) -> Mapping[Key, Revision]:
        packed = {pack_key(key): key for key in keys}
        with self._sessions.reading() as connection:
            if not (packed and any_left(connection, self._watch)):
                return {}
            rows = [*_TOMBSTONES.of(connection, self._watch, sorted(packed))]
            indices = _indices(connection, {row[1] for row in rows})
        return {
            packed[key]: Revision(*indices[index], version, seq_no, b"", shard)
            for key, index, version, seq_no, shard in rows
        }

    def dated(self, spans: Sequence[Span] | None, bits: int) -> Dated:
        buckets: Counter[int] = Counter()
        without = 0
        with self._sessions.reading() as connection:
            if spans is None:
                query = sa.select(t.dated.c.documents).where(
                    t.dated.c.watch == self._watch, t.dated.c.bits == counts.NO_DATE
                )
                without = int(connection.scalar(query) or 0)
            for span in [ODD, (0, FAR)] if spans is None else spans:
                buckets.update(dict(connection.execute(self._buckets(span, bits)).all()))
        return Dated(buckets, without)

    def _buckets(self, span: Span, bits: int) -> sa.Select[Any]:
        low, high = span
        if bits in counts.DATE_BITS:
            return sa.select(t.dated.c.bucket, t.dated.c.documents).where(
                t.dated.c.watch == self._watch,
                t.dated.c.bits == bits,
                t.dated.c.bucket >= low >> bits,
                t.dated.c.bucket < (0 if span == ODD else -(-high >> bits)),
            )
        number = sa.literal(-1) if span == ODD else t.revision.c.stamp.op(">>")(bits)
        found = sa.select(number.label("bucket"), sa.func.count()).where(t.revision.c.watch == self._watch)
        return found.where(_stamped(span)).group_by("bucket")

    def within(self, spans: Sequence[Span], without: bool) -> Iterator[Mapping[Key, Revision]]:
        found = _REVISIONS.where(t.revision.c.watch == self._watch)
        for span in spans:
            yield from self._some(found.where(_stamped(span)))
        if without:
            yield from self._some(found.where(t.revision.c.stamp.is_(None), t.revision.c.shard.is_(None)))

    def _some(self, query: sa.Select[Any]) -> Iterator[Mapping[Key, Revision]]:
        last = b""
        while True:
            page = query.where(t.revision.c.key > last).order_by(t.revision.c.key).limit(_CHUNK)
            with self._sessions.reading() as connection:
                rows = connection.execute(page).all()
            if rows:
                yield {unpack_key(row.key): _revision(row) for row in rows}
            if len(rows) < _CHUNK:
                return
            last = rows[-1].key

    @contextmanager
    def sweep(self, uuids: Collection[str] = ()) -> Iterator[Sweep]:
        with self._sessions.reading() as connection:
            if uuids and not self._knows_any(connection, uuids):
                yield _SqlSweep(connection, self._watch, self._sessions.where, ~_of_indices(uuids), noting=False)
                return
            connection.exec_driver_sql("CREATE TEMP TABLE met (key BLOB PRIMARY KEY) WITHOUT ROWID")
            connection.commit()
            try:
                yield _SqlSweep(connection, self._watch, self._sessions.where, _UNMET, noting=True)
            finally:
                connection.rollback()
                connection.exec_driver_sql("DROP TABLE temp.met")
                connection.commit()

    def _knows_any(self, connection: sa.Connection, uuids: Collection[str]) -> bool:
        known = sa.exists().where(t.revision.c.watch == self._watch, _of_indices(uuids))
        found = bool(connection.scalar(sa.select(known)))
        connection.commit()
        return found


class _SqlSweep:
    """Stores the keys that it met in a temporary table: on disk, so that ten million ids use no memory.

    If no documents of the indices to read were known, nothing has to be stored. Everything that the sweep meets is
    committed as theirs before the question, so the known documents of other indices (``unmet``) are the missing ones.

    No transaction outlives a call: an open one would see the state of its beginning and hold back SQLite's clean-up.
    """

    def __init__(
        self,
        connection: sa.Connection,
        watch: int,
        where: str,
        unmet: sa.ColumnElement[bool] | sa.TextClause,
        *,
        noting: bool,
    ) -> None:
        self._connection = connection
        self._watch = watch
        self._where = where
        self._unmet = unmet
        self._noting = noting

    def see(self, keys: Collection[Key]) -> None:
        if keys and self._noting:
            with guarded(self._where):
                rows = [(pack_key(key),) for key in keys]
                self._connection.exec_driver_sql("INSERT OR IGNORE INTO temp.met VALUES (?)", rows)
                self._connection.commit()

    def missing(self) -> int:
        lost = t.revision.c.watch == self._watch, self._unmet
        query = sa.select(sa.func.count()).select_from(t.revision).where(*lost)
        with guarded(self._where):
            found = int(self._connection.scalar(query) or 0)
            self._connection.commit()
        return found

    def unseen(self, size: int) -> Iterator[Mapping[Key, Revision]]:
        last = b""
        while True:
            query = (
                _REVISIONS.where(t.revision.c.watch == self._watch, t.revision.c.key > last, self._unmet)
                .order_by(t.revision.c.key)
                .limit(size)
            )
            with guarded(self._where):
                rows = self._connection.execute(query).all()
                self._connection.commit()
            if not rows:
                return
            last = rows[-1].key
            yield {unpack_key(row.key): _revision(row) for row in rows}


def _indices(connection: sa.Connection, numbers: Collection[int]) -> Mapping[int, tuple[str, str]]:
    """The (uuid, name) of indices by their numbers.

    Read separately, without a join: there are few, and each row would repeat the same texts.
    """
    found: dict[int, tuple[str, str]] = {}
    for some in sought(sorted(numbers)):
        text = f"SELECT id, uuid, name FROM index_ref WHERE id IN ({','.join('?' * len(some))})"
        found |= {row.id: (row.uuid, row.name) for row in connection.exec_driver_sql(text, tuple(some))}
    return found


def _of_indices(uuids: Collection[str]) -> sa.ColumnElement[bool]:
    return t.revision.c.index_ref.in_(sa.select(t.index_ref.c.id).where(t.index_ref.c.uuid.in_(uuids)))


def _stamped(span: Span) -> sa.ColumnElement[bool]:
    stamp = t.revision.c.stamp
    if span == ODD:
        return stamp.is_not(None) & ((stamp < 0) | (stamp >= FAR))
    return stamp.is_not(None) & (stamp >= span[0]) & (stamp < span[1])


def _revision(row: Any) -> Revision:
    return Revision(row.uuid, row.name, row.version, row.seq_no, row.digest, row.shard, row.stamp)
