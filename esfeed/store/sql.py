"""The store over SQLAlchemy Core: every write of a batch in one transaction (``ports.Store``)."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from esfeed.model.event import Event, Key, Revision, weight
from esfeed.ports import BackfillMark, Checkpoint, Commit, Known, LogRow
from esfeed.store import schema as t
from esfeed.store.codec import pack, pack_key, unpack
from esfeed.store.database import open_database
from esfeed.store.known import REVISIONS, SqlKnown
from esfeed.store.outbox import append
from esfeed.store.pruning import Pruner
from esfeed.store.revisions import remember
from esfeed.store.sinks import SqlSinks
from esfeed.store.statements import Bulk, ByKey, Ready, sought, upsert
from esfeed.store.tokens import SqlTokens
from esfeed.store.tombstones import bury, clear

_MOST_FRESH = 8 << 20
_P = sa.bindparam
_CHECKPOINT = Ready(
    sa.select(t.checkpoint.c.tracker, t.checkpoint.c.data, t.checkpoint.c.number).where(
        t.checkpoint.c.watch == _P("number")
    )
)
_BODIES = ByKey(t.document, ["key", "body"])
_NOTES = Bulk(t.health, ["kind", "name", "data"], there="goes")
_DOCUMENTS = Bulk(t.document, ["watch", "key", "body"], there="goes")


class SqlStore(Pruner):
    """See ``ports.Store``. ``url`` is a SQLAlchemy URL; opening it creates or migrates the database."""

    def __init__(self, url: str) -> None:
        engine = open_database(url)
        super().__init__(engine, str(engine.url.database))
        self._watches: dict[str, int] = {}
        self._indices: dict[str, int] = {}
        self._written = threading.Condition()
        self._listeners: list[Callable[[Sequence[Event]], None]] = []

    def close(self) -> None:
        """Lets go of every connection."""
        self._engine.dispose()

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
            self.number([name])
        return self._watches[name]

    def number(self, names: Iterable[str]) -> None:
        """Gives each of those watches its number, in one transaction for all, if it has none yet."""
        with self._reading() as connection:
            self._watches = {row.name: row.id for row in connection.execute(sa.select(t.watch.c.name, t.watch.c.id))}
        new = [{"name": name} for name in names if name not in self._watches]
        if new:
            with self._writing() as connection:
                connection.execute(insert(t.watch).on_conflict_do_nothing(), new)
            self.number(())

    def followed(self) -> set[str]:
        """The watches that have a checkpoint."""
        with self._reading() as connection:
            query = sa.select(t.watch.c.name).join(t.checkpoint, t.checkpoint.c.watch == t.watch.c.id)
            return {*connection.scalars(query)}

    def documents_by_watch(self) -> Mapping[str, int]:
        """How many documents are known, of each watch that has any."""
        query = sa.select(t.watch.c.name, sa.func.count()).join(t.revision, t.revision.c.watch == t.watch.c.id)
        with self._reading() as connection:
            return dict(row._tuple() for row in connection.execute(query.group_by(t.watch.c.id)))

    def _index_ids(self, connection: sa.Connection, batch: Commit) -> Mapping[str, int]:
        """The numbers of the batch's indices by their uuids; new ones are given in this transaction."""
        met = itertools.chain(batch.revisions.values(), (batch.known or {}).values())
        names = {r.uuid: r.index for r in met}
        found = {uuid: self._indices[uuid] for uuid in names if uuid in self._indices}
        new = [{"uuid": uuid, "name": name} for uuid, name in names.items() if uuid not in found]
        if new:
            connection.execute(insert(t.index_ref).on_conflict_do_nothing(), new)
        for some in sought(row["uuid"] for row in new):
            query = sa.select(t.index_ref.c.uuid, t.index_ref.c.id).where(t.index_ref.c.uuid.in_(some))
            found.update((row.uuid, row.id) for row in connection.execute(query))
        return found

    def checkpoint(self, watch: str) -> Checkpoint | None:
        with self._reading() as connection:
            number = self._watch(connection, watch)
            row = _CHECKPOINT.run(connection, number=number).one_or_none()
        return None if row is None else Checkpoint(row.tracker, row.data, row.number)

    def known(self, watch: str) -> Known:
        return SqlKnown(self._engine, self._watch_id(watch), self._where)

    def revisions(self, watch: str, keys: Collection[Key]) -> Mapping[Key, Revision]:
        """The known revisions of ``keys``, as ``Known.revisions`` does for one watch."""
        return self.known(watch).revisions(keys)

    def documents(self, watch: str, keys: Collection[Key]) -> Mapping[Key, bytes]:
        number = self._watch_id(watch)
        packed = {pack_key(key): key for key in keys}
        with self._reading() as connection:
            return {packed[key]: unpack(body) for key, body in _BODIES.of(connection, number, [*packed])}

    def commit(self, watch: str, batch: Commit) -> None:
        number = self._watch_id(watch)
        gone = [pack_key(key) for key in batch.gone]
        packed = {key: pack_key(key) for key in batch.revisions}
        # In the order of keys: rows that lie together are written together.
        bodies = {key: pack(body) for key, body in batch.documents.items()}
        documents = sorted((number, packed[key], body) for key, body in bodies.items())
        rows: Sequence[LogRow] = ()
        with self._writing() as connection:
            indices = self._index_ids(connection, batch)
            bury(connection, number, gone)
            remember(connection, number, batch, packed, gone, indices)
            _DOCUMENTS.write(connection, documents)
            for rows_of in (REVISIONS, _BODIES):
                rows_of.forget(connection, number, gone)
            rows = self._append(connection, number, batch, packed, bodies)
            if batch.passed:
                clear(connection, number, batch.passed)
            if batch.checkpoint is not None:
                kept = batch.checkpoint
                _KEEP.run(connection, watch=number, tracker=kept.tracker, data=kept.data)
            if batch.backfill is not None:
                upsert(connection, t.backfill, [msgspec.structs.asdict(batch.backfill)])
        self._indices.update(indices)
        if batch.entries:
            self._fresh = rows if sum(weight(row.event) for row in rows) <= _MOST_FRESH else ()
            events = [row.event for row in rows if row.sink is None] if self._listeners else ()
            for listener in self._listeners:
                listener(events)
            self.wake()

    def listen(self, listener: Callable[[Sequence[Event]], None]) -> None:
        """From now on ``listener`` gets the events of every commit, once it is done, in the thread that made it."""
        self._listeners.append(listener)

    def _append(
        self,
        connection: sa.Connection,
        number: int,
        batch: Commit,
        packed: Mapping[Key, bytes],
        bodies: Mapping[Key, bytes],
    ) -> Sequence[LogRow]:
        entries = batch.entries
        if batch.low is not None and entries:
            later = {
                row.key
                for row in connection.execute(
                    sa.select(t.log.c.key).where(
                        t.log.c.position > batch.low, t.log.c.watch == number, t.log.c.sink.is_(None)
                    )
                )
            }
            entries = [entry for entry in entries if pack_key(entry.key) not in later]
        if not entries:
            return ()
        rows = [(entry, packed.get(entry.key) or pack_key(entry.key)) for entry in entries]
        same = {
            entry.key: bodies[entry.key]
            for entry in entries
            if entry.key in bodies
            and entry.event.after is not None
            and bytes(entry.event.after) == batch.documents[entry.key]
        }
        return append(connection, number, rows, same)

    def wake(self) -> None:
        """Wakes whoever sleeps in ``wait``."""
        with self._written:
            self._written.notify_all()

    def wait(self, seconds: float) -> None:
        """Sleeps until this process writes to the log, ``seconds`` at most (another process's writes wake nobody)."""
        with self._written:
            self._written.wait(seconds)

    def size(self) -> int:
        """Bytes that the state takes in the database, those that are free to be used again among them."""
        with self._reading() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar() or 0
            return int(pages) * int(connection.exec_driver_sql("PRAGMA page_size").scalar() or 0)

    @property
    def tokens(self) -> SqlTokens:
        """The tokens of readers over HTTP."""
        return SqlTokens(self._engine, self._where)

    @property
    def sinks(self) -> SqlSinks:
        """What the state holds of sinks by their names."""
        return SqlSinks(self._engine, self._where)

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
        self.note_all([(kind, name, data)])

    def note_all(self, notes: Sequence[tuple[str, str, bytes]]) -> None:
        """The same of many parts, each as (kind, name, data), in one transaction."""
        with self._writing() as connection:
            _NOTES.write(connection, notes)

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


def _keeping() -> Ready:
    added = insert(t.checkpoint).values(watch=_P("watch"), tracker=_P("tracker"), data=_P("data"), number=1)
    new = {"tracker": added.excluded.tracker, "data": added.excluded.data, "number": t.checkpoint.c.number + 1}
    return Ready(added.on_conflict_do_update(index_elements=["watch"], set_=new))


_KEEP = _keeping()
