"""Remembers what was told deleted for as long as a failover may take the delete back.

The delete of a document is at or below the shard's largest sequence number that the *next* poll counts. Once the mark
has passed that, no failover takes the delete back, and the tombstone goes.
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
    """Leaves tombstones of what is known of ``keys`` (packed), and about to be forgotten."""
    run_many(connection, _LEFT, [(watch, key) for key in keys])


def clear(connection: sa.Connection, watch: int, passed: Mapping[tuple[str, int], Passed]) -> None:
    """Takes away the tombstones that nothing can come of any more, before the checkpoint of the poll is kept.

    ``passed`` has all shards that are followed: what was told of others is over.
    """
    if not any_left(connection, watch):
        return
    run_many(connection, _COUNTED, [(watch, *shard, one.counted) for shard, one in passed.items()])
    run_many(connection, _PASSED, [(watch, *shard, one.mark) for shard, one in passed.items()])
    followed = sa.select(t.index_ref.c.id).where(t.index_ref.c.uuid.in_({uuid for uuid, _ in passed}))
    here = t.tombstone.c.watch == watch
    connection.execute(sa.delete(t.tombstone).where(here, t.tombstone.c.index_ref.not_in(followed)))


def any_left(connection: sa.Connection, watch: int) -> bool:
    """Whether there is any tombstone of a watch."""
    return bool(_ANY.run(connection, watch=watch).scalar())
