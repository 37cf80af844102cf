"""Counts of known documents by ranges of ``_seq_no``, kept up to date by each commit, so that no poll counts anew.

``BITS`` are the widths (2**20, 2**16 and 2**12 numbers a bucket) that are kept; below the smallest the index on
(shard, seq_no) is quick enough. https://www.sqlite.org/queryplanner.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from esfeed.store import schema as t

BITS = (20, 16, 12)
Place = tuple[int, int, int]
"""Where a known document stands: (number of its index, shard, seq_no)."""


def places(connection: sa.Connection, watch: int, keys: Sequence[bytes]) -> list[Place]:
    """Where those of ``keys`` stand that stand anywhere."""
    query = sa.select(t.revision.c.index_ref, t.revision.c.shard, t.revision.c.seq_no).where(
        t.revision.c.watch == watch,
        t.revision.c.key.in_(keys),
        t.revision.c.shard.is_not(None),
        t.revision.c.seq_no.is_not(None),
    )
    return [(row.index_ref, row.shard, row.seq_no) for row in connection.execute(query)]


def move(connection: sa.Connection, watch: int, left: Iterable[Place], came: Iterable[Place]) -> None:
    """Takes documents off the places that they ``left``, and counts those that ``came``."""
    change: Counter[tuple[int, int, int, int]] = Counter()
    for sign, all_places in ((-1, left), (1, came)):
        for index, shard, seq_no in all_places:
            for bits in BITS:
                change[index, shard, bits, seq_no >> bits] += sign
    rows = [
        {"watch": watch, "index_ref": index, "shard": shard, "bits": bits, "bucket": bucket, "documents": count}
        for (index, shard, bits, bucket), count in change.items()
        if count
    ]
    if not rows:
        return
    statement = insert(t.tally)
    more = t.tally.c.documents + statement.excluded.documents
    keys = [column.name for column in t.tally.primary_key]
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_={"documents": more}), rows)
    if any(row["documents"] < 0 for row in rows):
        connection.execute(sa.delete(t.tally).where(t.tally.c.watch == watch, t.tally.c.documents == 0))
