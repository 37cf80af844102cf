"""Finds changed documents by counting: from wide spans of time down to the few spans whose counts differ.

Counts cannot show everything. They stay the same if a document is rewritten at its old date, or if another document
takes its position in a span. So what is found here explains operations, and the tracker reads the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

from esfeed.model.event import Key
from esfeed.model.reads import ODD, Dated, Span
from esfeed.ports import Cluster, Known
from esfeed.trackers.look import Found, Look

LADDER = (32, 26, 20, 14, 10, 6, 3, 0)
"""Widths of buckets, in bits of milliseconds: 50 days, 19 hours, 17 minutes, 16 s, 1 s … 1 ms."""

_FEW = 24
"""A bucket with up to this number of documents is listed instead of counted again."""


class Descent:
    """Compares the counts of one watch by ``field``: those of the engine with those of the known documents."""

    def __init__(self, cluster: Cluster, known: Known, field: str) -> None:
        self._cluster = cluster
        self._known = known
        self._field = field

    def run(self, look: Look) -> Found:
        """Finds what is new, changed or gone among the documents in spans whose counts differ."""
        spans: Sequence[Span] | None = None
        to_list: list[Span] = []
        without = False
        for bits in LADDER:
            shown = self._cluster.dated(look.of, self._field, spans, bits)
            mine = self._known.dated(spans, bits)
            without = without or shown.without != mine.without
            few, spans = _differing(mine, shown, bits)
            to_list += few
            if not spans:
                break
        if not (to_list or without):
            return 0
        return (yield from self._list(look, to_list, without))

    def _list(self, look: Look, spans: Sequence[Span], without: bool) -> Found:
        """Compares the documents of these spans one by one."""
        met: set[Key] = set()
        found = 0
        for page in self._cluster.within(look.of, self._field, spans, without):
            what = look.classify(page.docs)
            met.update(what.met)
            batch = look.resolve_changed(what, content=False)
            found += len(batch.seen)
            if batch.seen or batch.stamps:
                yield batch
        lost = {}
        for some in self._known.within(spans, without):
            lost.update({key: revision for key, revision in some.items() if key not in met})
        return found + (yield from look.resolve_missing(lost, len(lost)))


def _differing(mine: Dated, shown: Dated, bits: int) -> tuple[list[Span], list[Span]]:
    """The spans of the buckets whose counts differ: those to list, and those to count more narrowly."""
    few: list[Span] = []
    many: list[Span] = []
    for bucket in sorted(mine.buckets.keys() | shown.buckets.keys()):
        one, other = mine.buckets.get(bucket, 0), shown.buckets.get(bucket, 0)
        if one == other:
            continue
        span = ODD if bucket < 0 else (bucket << bits, (bucket + 1) << bits)
        (few if bucket < 0 or not bits or max(one, other) <= _FEW else many).append(span)
    return few, many
