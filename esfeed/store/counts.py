"""Counts of known documents by ranges of ``_seq_no`` and of dates, kept up to date by each commit, so that no poll
counts anew.

``BITS`` and ``DATE_BITS`` are the widths that are kept (2**20, 2**16 and 2**12 numbers a bucket; 50 days, 19 hours and
17 minutes); below the smallest an index is quick enough. https://www.sqlite.org/queryplanner.html

A document that is followed shard by shard counts by its number, any other by its date, or as one without a date.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from esfeed.model.reads import bucket
from esfeed.store import schema as t
from esfeed.store.statements import ByKey, Ready

_PLACES = ByKey(t.revision, ["key", "index_ref", "shard", "seq_no", "stamp"])

BITS = (20, 16, 12)
DATE_BITS = (32, 26, 20)
NO_DATE = -1
"""Stands for a width: the one bucket of all documents without a date."""


Location = tuple[int, int | None, int | None, int | None]
"""Where a known document stands: the number of its index, its shard, its sequence number, its date."""


def locations(connection: sa.Connection, watch: int, keys: Sequence[bytes]) -> dict[bytes, Location]:
    """Where those of ``keys`` (packed) stand that are known."""
    found = _PLACES.of(connection, watch, keys)
    return {key: (index_ref, shard, seq_no, stamp) for key, index_ref, shard, seq_no, stamp in found}


def move(connection: sa.Connection, watch: int, left: Iterable[Location], came: Iterable[Location]) -> None:
    """Takes documents off the places that they ``left``, and counts those that ``came``."""
    numbered: Counter[tuple[int, int, int]] = Counter()
    dated: Counter[int | None] = Counter()
    for sign, all_places in ((-1, left), (1, came)):
        for index_ref, shard, seq_no, stamp in all_places:
            if shard is None:
                dated[None if stamp is None else bucket(stamp, DATE_BITS[-1])] += sign
            elif seq_no is not None:
                numbered[index_ref, shard, seq_no >> BITS[-1]] += sign
    # Each place is counted at the smallest width, once; there are few buckets to add up to the others.
    of_shards: Counter[tuple[int, ...]] = Counter()
    for (index_ref, shard, at), count in numbered.items():
        for bits in BITS:
            of_shards[index_ref, shard, bits, at >> (bits - BITS[-1])] += count
    of_dates: Counter[tuple[int, ...]] = Counter()
    for part, count in dated.items():
        if part is None:
            of_dates[NO_DATE, 0] += count
        else:
            for bits in DATE_BITS:
                of_dates[bits, part >> (bits - DATE_BITS[-1])] += count  # the odd one, -1, is -1 at every width
    _add(connection, _NUMBERED, watch, of_shards)
    _add(connection, _DATED, watch, of_dates)


class _Counts:
    """A table of counts, ``documents``, by what else its key has beside the watch."""

    def __init__(self, table: sa.Table) -> None:
        keys = [column.name for column in table.primary_key]
        added = insert(table).values({name: sa.bindparam(name) for name in (*keys, "documents")})
        more = {"documents": table.c.documents + added.excluded.documents}
        self.columns = keys[1:]
        self.add = Ready(added.on_conflict_do_update(index_elements=keys, set_=more))
        self.tidy = Ready(sa.delete(table).where(table.c.watch == sa.bindparam("watch"), table.c.documents == 0))


_NUMBERED, _DATED = _Counts(t.tally), _Counts(t.dated)


def _add(connection: sa.Connection, counts: _Counts, watch: int, change: Counter[tuple[int, ...]]) -> None:
    rows = [
        {"watch": watch, **dict(zip(counts.columns, group, strict=True)), "documents": count}
        for group, count in change.items()
        if count
    ]
    counts.add.run_each(connection, rows)
    if any(count < 0 for count in change.values()):
        counts.tidy.run(connection, watch=watch)
