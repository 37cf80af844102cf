"""Remembers reported deletes for as long as a failover can take them back.

The sequence number of a delete is at or below the largest number of the shard that the *next* poll counts. Once the
watermark has passed that number, no failover takes the delete back, and the tombstone is removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from esfeed.ports import Passed
from esfeed.store import schema as t
from esfeed.store.statements import Ready, run_many

_ANY = Ready(sa.select(sa.exists().where(t.tombstone.c.watch == sa.bindparam("watch"))))
_POLL = "(SELECT coalesce(max(number), 0) FROM checkpoint WHERE watch = ?1)"
_LEFT = (
    "INSERT OR REPLACE INTO tombstone (watch, key, index_ref, shard, version, seq_no, poll) "
    f"SELECT watch, key, index_ref, shard, version, seq_no, {_POLL} FROM revision "
    "WHERE watch = ?1 AND key = ?2 AND shard IS NOT NULL AND seq_no IS NOT NULL"
)
_OF_SHARD = "watch = ?1 AND index_ref = (SELECT id FROM index_ref WHERE uuid = ?2) AND shard = ?3"
_COUNTED = f"UPDATE tombstone SET number = ?4 WHERE {_OF_SHARD} AND number IS NULL AND poll < {_POLL}"
_PASSED = f"DELETE FROM tombstone WHERE {_OF_SHARD} AND number <= ?4"


def bury(connection: sa.Connection, watch: int, keys: Sequence[bytes]) -> None:
    """Leaves tombstones of the documents with those ``keys`` (packed), before their rows are deleted."""
    run_many(connection, _LEFT, [(watch, key) for key in keys])


def clear(connection: sa.Connection, watch: int, passed: Mapping[tuple[str, int], Passed]) -> None:
    """Removes the tombstones of deletes that can no longer be taken back, before the checkpoint of the poll is stored.

    ``passed`` has all followed shards; tombstones of other shards are removed.
    """
    if not any_left(connection, watch):
        return
    run_many(connection, _COUNTED, [(watch, *shard, one.counted) for shard, one in passed.items()])
    run_many(connection, _PASSED, [(watch, *shard, one.mark) for shard, one in passed.items()])
    followed = sa.select(t.index_ref.c.id).where(t.index_ref.c.uuid.in_({uuid for uuid, _ in passed}))
    here = t.tombstone.c.watch == watch
    connection.execute(sa.delete(t.tombstone).where(here, t.tombstone.c.index_ref.not_in(followed)))


def any_left(connection: sa.Connection, watch: int) -> bool:
    """Whether a watch has any tombstone."""
    return bool(_ANY.run(connection, watch=watch).scalar())
