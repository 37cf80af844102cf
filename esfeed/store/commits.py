"""The progress of watches (``ports.Commits``). Writes each batch in one transaction."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.sqlite import insert

from esfeed.model.event import Key
from esfeed.ports import Checkpoint, Commit, Entry, Known, LogRow
from esfeed.store import schema as t
from esfeed.store.dictionaries import Dictionaries, UnreadableContent
from esfeed.store.keys import pack_key
from esfeed.store.known import REVISIONS, SqlKnown
from esfeed.store.log import LogEntry, SqlLog, append, grow
from esfeed.store.references import detach
from esfeed.store.revisions import remember
from esfeed.store.sessions import Sessions
from esfeed.store.statements import Bulk, ByKey, Ready, sought, upsert
from esfeed.store.tombstones import bury, clear
from esfeed.store.watches import SqlWatches

_log = structlog.get_logger("esfeed")
_P = sa.bindparam
_CHECKPOINT = Ready(
    sa.select(t.checkpoint.c.tracker, t.checkpoint.c.data, t.checkpoint.c.number).where(
        t.checkpoint.c.watch == _P("number")
    )
)
_BODIES = ByKey(t.document, ["key", "body"])
_DOCUMENTS = Bulk(t.document, ["watch", "key", "body", "position"], there="goes")


class SqlCommits:
    """See ``ports.Commits``."""

    def __init__(self, sessions: Sessions, watches: SqlWatches, log: SqlLog, dictionaries: Dictionaries) -> None:
        self._sessions = sessions
        self._watches = watches
        self._log = log
        self._dictionaries = dictionaries
        self._indices: dict[str, int] = {}

    def checkpoint(self, watch: str) -> Checkpoint | None:
        with self._sessions.reading() as connection:
            number = self._watches.find(connection, watch)
            row = _CHECKPOINT.run(connection, number=number).one_or_none()
        return None if row is None else Checkpoint(row.tracker, row.data, row.number)

    def known(self, watch: str) -> Known:
        return SqlKnown(self._sessions, self._watches.number(watch))

    def documents(self, watch: str, keys: Collection[Key]) -> Mapping[Key, bytes]:
        number = self._watches.number(watch)
        packed = {pack_key(key): key for key in keys}
        with self._sessions.reading() as connection:
            rows = [*_BODIES.of(connection, number, [*packed])]
        found: dict[Key, bytes] = {}
        for key, body in rows:
            try:
                found[packed[key]] = self._dictionaries.unpack(body)
            except UnreadableContent as error:
                # As if it were not stored: it is stored anew with the next change of the document.
                _log.warning("state.content_unreadable", watch=watch, id=packed[key].id, error=str(error))
        return found

    def commit(self, watch: str, batch: Commit) -> Sequence[LogRow]:
        number = self._watches.number(watch)
        gone = [pack_key(key) for key in batch.gone]
        packed = {key: pack_key(key) for key in batch.revisions}
        contents = [*batch.documents.values()]
        packer = self._dictionaries.packer(number, contents)
        bodies = dict(zip(batch.documents, packer.pack_all(contents), strict=True))
        with self._sessions.writing() as connection:
            indices = self._index_ids(connection, batch)
            bury(connection, number, gone)
            remember(connection, number, batch, packed, gone, indices)
            rows, references = append(connection, number, _entries(connection, number, batch, packed), bodies, packer)
            changes = {row.document[1]: row for row in rows if row.sink is None}
            overwritten = [packed[key] for key in bodies if batch.known is None or key in batch.known]
            growth = detach(connection, number, [*overwritten, *gone], changes, self._dictionaries.unpack)
            if growth:
                grow(connection, growth)
            # In the order of keys, so that neighboring rows are written together.
            _DOCUMENTS.write(
                connection, sorted((number, packed[key], body, references.get(key)) for key, body in bodies.items())
            )
            for rows_of in (REVISIONS, _BODIES):
                rows_of.forget(connection, number, gone)
            if batch.passed:
                clear(connection, number, batch.passed)
            if batch.checkpoint is not None:
                kept = batch.checkpoint
                _KEEP.run(connection, watch=number, tracker=kept.tracker, data=kept.data)
            if batch.backfill is not None:
                upsert(connection, t.backfill, [msgspec.structs.asdict(batch.backfill)])
        self._indices.update(indices)
        if batch.entries:
            self._log.keep(rows)
        return rows

    def _index_ids(self, connection: sa.Connection, batch: Commit) -> Mapping[str, int]:
        """The numbers of the batch's indices by uuid. This transaction assigns numbers to new ones."""
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


def _entries(connection: sa.Connection, number: int, batch: Commit, packed: Mapping[Key, bytes]) -> Sequence[LogEntry]:
    """The entries to log, without those that a backfill reads too late (see ``Commit.low``).

    ``packed``: the keys of the revisions of the batch.
    """
    made = [
        LogEntry(one, packed.get(one.key) or pack_key(one.key), _same(one, batch.documents)) for one in batch.entries
    ]
    if batch.low is None or not made:
        return made
    since = sa.select(t.log.c.key).where(t.log.c.position > batch.low, t.log.c.watch == number, t.log.c.sink.is_(None))
    later = {*connection.scalars(since)}
    return [one for one in made if one.key not in later]


def _same(entry: Entry, documents: Mapping[Key, bytes]) -> bool:
    """Whether the content of an event is the content to store, to the byte."""
    after = entry.event.after
    return after is not None and bytes(after) == documents.get(entry.key)


def _keeping() -> Ready:
    added = insert(t.checkpoint).values(watch=_P("watch"), tracker=_P("tracker"), data=_P("data"), number=1)
    new = {"tracker": added.excluded.tracker, "data": added.excluded.data, "number": t.checkpoint.c.number + 1}
    return Ready(added.on_conflict_do_update(index_elements=["watch"], set_=new))


_KEEP = _keeping()
