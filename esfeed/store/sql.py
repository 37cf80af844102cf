"""The store over SQLAlchemy Core: every write of a batch in one transaction (``ports.Store``)."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from esfeed.event import Key, Revision
from esfeed.ports import BackfillMark, Checkpoint, Commit, Known, LogRow, Parked
from esfeed.store import schema as t
from esfeed.store import tally
from esfeed.store.codec import pack, pack_event, pack_key, unpack, unpack_event
from esfeed.store.database import guarded, open_database
from esfeed.store.known import SqlKnown, chunks

_CHUNK = 1000


class SqlStore:
    """See ``ports.Store``. ``url`` is a SQLAlchemy URL; opening it creates or migrates the database."""

    def __init__(self, url: str) -> None:
        self._engine = open_database(url)
        self._where = str(self._engine.url.database)
        self._watches: dict[str, int] = {}
        self._indices: dict[str, int] = {}
        self._written = threading.Condition()

    def close(self) -> None:
        """Lets go of every connection."""
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with guarded(self._where), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with (
            guarded(self._where),
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    def _watch(self, connection: sa.Connection, name: str) -> int | None:
        if name not in self._watches:
            found = connection.scalar(sa.select(t.watch.c.id).where(t.watch.c.name == name))
            if found is None:
                return None
            self._watches[name] = found
        return self._watches[name]

    def _watch_id(self, name: str) -> int:
        """The number of a watch, given on first use in a transaction of its own, so that no rollback takes it back."""
        if name not in self._watches:
            with self._writing() as connection:
                connection.execute(insert(t.watch).values(name=name).on_conflict_do_nothing())
            with self._reading() as connection:
                self._watch(connection, name)
        return self._watches[name]

    def _index_ids(self, batch: Commit) -> Mapping[str, int]:
        new = {r.uuid: r.index for r in batch.revisions.values() if r.uuid not in self._indices}
        if new:
            rows = [{"uuid": uuid, "name": name} for uuid, name in new.items()]
            with self._writing() as connection:
                connection.execute(insert(t.index_ref).on_conflict_do_nothing(), rows)
            with self._reading() as connection:
                found = connection.execute(sa.select(t.index_ref.c.uuid, t.index_ref.c.id))
                self._indices = {row.uuid: row.id for row in found}
        return self._indices

    def checkpoint(self, watch: str) -> Checkpoint | None:
        with self._reading() as connection:
            number = self._watch(connection, watch)
            row = connection.execute(
                sa.select(t.checkpoint.c.tracker, t.checkpoint.c.data, t.checkpoint.c.number).where(
                    t.checkpoint.c.watch == number
                )
            ).one_or_none()
        return None if row is None else Checkpoint(row.tracker, row.data, row.number)

    def known(self, watch: str) -> Known:
        return SqlKnown(self._engine, self._watch_id(watch), self._where)

    def revisions(self, watch: str, keys: Collection[Key]) -> Mapping[Key, Revision]:
        """The known revisions of ``keys``, as ``Known.revisions`` does for one watch."""
        return self.known(watch).revisions(keys)

    def documents(self, watch: str, keys: Collection[Key]) -> Mapping[Key, bytes]:
        number = self._watch_id(watch)
        packed = {pack_key(key): key for key in keys}
        found: dict[Key, bytes] = {}
        with self._reading() as connection:
            for chunk in chunks(list(packed), _CHUNK):
                rows = connection.execute(
                    sa.select(t.document.c.key, t.document.c.body).where(
                        t.document.c.watch == number, t.document.c.key.in_(chunk)
                    )
                )
                found.update((packed[row.key], unpack(row.body)) for row in rows)
        return found

    def commit(self, watch: str, batch: Commit) -> None:
        number = self._watch_id(watch)
        indices = self._index_ids(batch)
        gone = [pack_key(key) for key in batch.gone]
        with self._writing() as connection:
            _count(connection, number, batch, gone, indices)
            if batch.revisions:
                _upsert(connection, t.revision, [
                    {
                        "watch": number,
                        "key": pack_key(key),
                        "index_ref": indices[r.uuid],
                        "version": r.version,
                        "seq_no": r.seq_no,
                        "digest": r.digest,
                        "shard": r.shard,
                        "stamp": r.stamp,
                    }
                    for key, r in batch.revisions.items()
                ])  # fmt: skip
            if batch.stamps:
                rows = [{"one": pack_key(key), "stamp": stamp} for key, stamp in batch.stamps.items()]
                its = (t.revision.c.watch == number) & (t.revision.c.key == sa.bindparam("one"))
                connection.execute(
                    sa.update(t.revision).where(its).values(stamp=sa.bindparam("stamp"), shard=None), rows
                )
            if batch.documents:
                _upsert(connection, t.document, [
                    {"watch": number, "key": pack_key(key), "body": pack(body)} for key, body in batch.documents.items()
                ])  # fmt: skip
            for chunk in chunks(gone, _CHUNK):
                for table in (t.revision, t.document):
                    connection.execute(sa.delete(table).where(table.c.watch == number, table.c.key.in_(chunk)))
            self._append(connection, number, batch)
            if batch.checkpoint is not None:
                _save_checkpoint(connection, number, batch.checkpoint)
            if batch.backfill is not None:
                _upsert(connection, t.backfill, [msgspec.structs.asdict(batch.backfill)])
        if batch.entries:
            self._tell()

    def _append(self, connection: sa.Connection, number: int, batch: Commit) -> None:
        entries = [(pack_key(entry.key), entry) for entry in batch.entries]
        if batch.low is not None:
            later = {
                row.key
                for row in connection.execute(
                    sa.select(t.log.c.key).where(
                        t.log.c.position > batch.low, t.log.c.watch == number, t.log.c.sink.is_(None)
                    )
                )
            }
            entries = [(key, entry) for key, entry in entries if key not in later]
        if entries:
            connection.execute(sa.insert(t.log), [
                {"watch": number, "key": key, "sink": entry.sink, "event": pack_event(entry.event)}
                for key, entry in entries
            ])  # fmt: skip

    def _tell(self) -> None:
        with self._written:
            self._written.notify_all()

    def wait(self, seconds: float) -> None:
        """Sleeps until this process writes to the log, ``seconds`` at most (another process's writes wake nobody)."""
        with self._written:
            self._written.wait(seconds)

    def read_log(self, after: int, limit: int) -> Sequence[LogRow]:
        query = (
            sa.select(t.log.c.position, t.log.c.sink, t.log.c.event)
            .where(t.log.c.position > after)
            .order_by(t.log.c.position)
            .limit(limit)
        )
        with self._reading() as connection:
            rows = connection.execute(query).all()
        return [LogRow(row.position, unpack_event(row.event, row.position), row.sink) for row in rows]

    def head(self) -> int:
        with self._reading() as connection:
            found = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'log'").scalar()
        return int(found or 0)

    def cursor(self, sink: str) -> int | None:
        with self._reading() as connection:
            return connection.scalar(sa.select(t.cursor.c.position).where(t.cursor.c.sink == sink))

    def settle(self, sink: str, position: int, parked: Sequence[Parked] = ()) -> None:
        with self._writing() as connection:
            _upsert(connection, t.cursor, [{"sink": sink, "position": position}])
            if parked:
                _upsert(connection, t.parked, [msgspec.structs.asdict(one) for one in parked])

    def parked(self, sink: str) -> Sequence[Parked]:
        """What ``sink`` would not take, oldest first."""
        query = sa.select(t.parked).where(t.parked.c.sink == sink).order_by(t.parked.c.position)
        with self._reading() as connection:
            return [Parked(**row._mapping) for row in connection.execute(query)]

    def backfill(self, name: str) -> BackfillMark | None:
        """How far the backfill of that name has come; ``None`` where it never began."""
        with self._reading() as connection:
            row = connection.execute(sa.select(t.backfill).where(t.backfill.c.name == name)).one_or_none()
        return None if row is None else BackfillMark(**row._mapping)

    def end_backfill(self, name: str) -> None:
        """Forgets a backfill that is done, so that the next one of that name begins anew."""
        with self._writing() as connection:
            connection.execute(sa.delete(t.backfill).where(t.backfill.c.name == name))

    def note(self, kind: str, name: str, data: bytes) -> None:
        """Keeps the latest word on a part's health (JSON), for ``esfeed status`` in another process."""
        with self._writing() as connection:
            _upsert(connection, t.health, [{"kind": kind, "name": name, "data": data}])

    def take_notes(self, kind: str) -> Mapping[str, bytes]:
        """The words on each part of that ``kind``, which are forgotten with this."""
        with self._writing() as connection:
            query = sa.delete(t.health).where(t.health.c.kind == kind).returning(t.health.c.name, t.health.c.data)
            return {row.name: row.data for row in connection.execute(query)}

    def notes(self, kind: str) -> Mapping[str, bytes]:
        """The latest word on each part of that ``kind``."""
        with self._reading() as connection:
            rows = connection.execute(sa.select(t.health.c.name, t.health.c.data).where(t.health.c.kind == kind))
            return {row.name: row.data for row in rows}


def _count(
    connection: sa.Connection, watch: int, batch: Commit, gone: Sequence[bytes], indices: Mapping[str, int]
) -> None:
    """Brings the tally up to what this batch will have changed; call before anything is changed."""
    stamps = {pack_key(key): stamp for key, stamp in batch.stamps.items()}
    keys = [*(pack_key(key) for key in batch.revisions), *gone, *stamps]
    left: dict[bytes, tally.Place] = {}
    for chunk in chunks(keys, _CHUNK):
        left.update(tally.places(connection, watch, chunk))
    came = [tally.Place(indices[r.uuid], r.shard, r.seq_no, r.stamp) for r in batch.revisions.values()]
    came += [tally.Place(left[key].index_ref, None, None, stamp) for key, stamp in stamps.items() if key in left]
    tally.move(connection, watch, left.values(), came)


def _save_checkpoint(connection: sa.Connection, number: int, checkpoint: Checkpoint) -> None:
    row = {"watch": number, "tracker": checkpoint.tracker, "data": checkpoint.data, "number": 1}
    statement = insert(t.checkpoint).values(row)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["watch"],
            set_={"tracker": checkpoint.tracker, "data": checkpoint.data, "number": t.checkpoint.c.number + 1},
        )
    )


def _upsert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    statement = insert(table)
    keys = [column.name for column in table.primary_key]
    rest = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=rest), rows)
