"""Writes the revisions of a commit, and keeps the counts consistent with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from esfeed.errors import StateError
from esfeed.model.event import Key
from esfeed.ports import Commit
from esfeed.store import counts
from esfeed.store import schema as t
from esfeed.store.keys import pack_key
from esfeed.store.statements import Bulk, run_many

_ADDED = Bulk(t.revision, ["watch", "key", "index_ref", "version", "seq_no", "digest", "shard", "stamp"], there="stays")
# Only if the row is where the counts subtract it: otherwise all later counts would be wrong.
_CHANGE = (
    "UPDATE revision SET index_ref = ?, version = ?, seq_no = ?, digest = ?, shard = ?, stamp = ? "
    "WHERE watch = ? AND key = ? AND +index_ref = ? AND +shard IS ? AND +seq_no IS ? AND +stamp IS ?"
)
_REDATED = "UPDATE revision SET stamp = ?, shard = NULL WHERE watch = ? AND key = ?"


def remember(
    connection: sa.Connection,
    watch: int,
    batch: Commit,
    packed: Mapping[Key, bytes],
    gone: Sequence[bytes],
    indices: Mapping[str, int],
) -> None:
    """Writes the revisions and dates of ``batch``, and updates the counts, also for the ``gone`` documents.

    The rows of ``gone`` must still exist. ``packed`` are the keys of its revisions, ``indices`` the numbers of all
    indices by uuid. Raises ``StateError`` if the table does not match the ``known`` revisions of the batch.
    """
    # In the order of the table, so that neighboring rows are written together.
    rows = sorted(
        (packed[key], indices[r.uuid], r.version, r.seq_no, r.digest, r.shard, r.stamp)
        for key, r in batch.revisions.items()
    )
    stamps = {pack_key(key): stamp for key, stamp in batch.stamps.items()}
    sought = packed.values() if batch.known is None else ()
    left = counts.locations(connection, watch, [*sought, *gone, *stamps])
    for key, r in (batch.known or {}).items():
        if key in packed:
            left[packed[key]] = (indices[r.uuid], r.shard, r.seq_no, r.stamp)
    # In the order of the commit: first revisions, then dates, then deletes.
    came: dict[bytes, counts.Location] = {row[0]: (row[1], row[5], row[3], row[6]) for row in rows}
    for name, stamp in stamps.items():
        was = came.get(name) or left.get(name)
        if was is not None:
            came[name] = (was[0], None, None, stamp)
    for name in gone:
        came.pop(name, None)
    counts.move(connection, watch, left.values(), came.values())

    added = [(watch, *row) for row in rows if row[0] not in left]
    changed = [(*row[1:], watch, row[0], *left[row[0]]) for row in rows if row[0] in left]
    if _ADDED.write(connection, added) + run_many(connection, _CHANGE, changed) != len(rows):
        raise StateError(
            "another process has changed what is known of this watch meanwhile",
            "let one process alone follow a watch; nothing was kept of this step, and the next poll reads it anew",
        )
    run_many(connection, _REDATED, [(stamp, watch, name) for name, stamp in stamps.items()])
