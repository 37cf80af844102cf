"""Counts of known documents by ranges of ``_seq_no`` and of dates. Each commit updates them, so no poll has to count.

``BITS`` and ``DATE_BITS`` are the stored widths (2**20, 2**16 and 2**12 numbers per bucket; 50 days, 19 hours and 17
minutes). Below the smallest width, an index is fast enough. https://www.sqlite.org/queryplanner.html

A document that is followed by shard counts by its sequence number, any other by its date, or as one without a date.
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
"""Takes the position of a width: the one bucket of all documents without a date."""


Location = tuple[int, int | None, int | None, int | None]
"""(number of the index, shard, sequence number, date) of a known document."""


def locations(connection: sa.Connection, watch: int, keys: Sequence[bytes]) -> dict[bytes, Location]:
    """The locations of the known documents among ``keys`` (packed)."""
    found = _PLACES.of(connection, watch, keys)
    return {key: (index_ref, shard, seq_no, stamp) for key, index_ref, shard, seq_no, stamp in found}


def move(connection: sa.Connection, watch: int, left: Iterable[Location], came: Iterable[Location]) -> None:
    """Subtracts documents from the locations that they ``left``, and adds those that ``came``."""
    numbered: Counter[tuple[int, int, int]] = Counter()
    dated: Counter[int | None] = Counter()
    for sign, all_places in ((-1, left), (1, came)):
        for index_ref, shard, seq_no, stamp in all_places:
            if shard is None:
                dated[None if stamp is None else bucket(stamp, DATE_BITS[-1])] += sign
            elif seq_no is not None:
                numbered[index_ref, shard, seq_no >> BITS[-1]] += sign
    # Each location is counted once, at the smallest width. Its few buckets are then added up for the other widths.
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
                of_dates[bits, part >> (bits - DATE_BITS[-1])] += count  # odd dates stay in -1 at every width
    _add(connection, _NUMBERED, watch, of_shards)
    _add(connection, _DATED, watch, of_dates)


class _Counts:
    """A table with counts (``documents``), by the columns of its key other than the watch."""

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
