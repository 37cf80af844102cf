"""Divides a backfill into parts of one request each, in an order in which it can resume. Pure.

If the engine numbers its operations, a part is a range of sequence numbers of a shard. Documents that were written in
sequence are adjacent on disk, whatever their dates, so such a part is one sequential read. A document that is written
meanwhile moves behind all remaining parts, into the last one, which is open-ended. Otherwise a part is a span of time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from esfeed.model.reads import FAR, Dates, Ends, Part, Shard, Span

_BUCKETS_BITS = 12
_LEAST_BITS = 12
_DATE_BITS = (32, 26, 20, 14, 8, 2)
_AT_ONCE = 100

Count = Callable[[Sequence[Span], int], Mapping[int, int]]
"""Counts the documents in some spans by ``number >> bits`` (or date)."""

Counted = tuple[int, int, int]
"""(first number, number behind the last, documents between them)."""


def width(numbers: int) -> int:
    """The bits by which to count that many numbers: at most a few thousand buckets."""
    return max(_LEAST_BITS, numbers.bit_length() - _BUCKETS_BITS)


def by_number(
    dates: Dates, shard: Shard, counts: Mapping[int, int], bits: int, begin: int, limit: int
) -> Iterator[Part]:
    """The parts of a shard from number ``begin`` on. ``counts``: documents by ``number >> bits``.

    No two documents of a shard have the same number, so a full bucket can be divided evenly.
    """
    counted: list[Counted] = []
    for bucket, documents in sorted(counts.items()):
        low, high = max(begin, bucket << bits), (bucket + 1) << bits
        step = -(-(high - low) // -(-documents // limit)) if documents else high - low
        pieces = range(low, high, max(1, step))
        counted += [(at, min(high, at + step), -(-documents // len(pieces))) for at in pieces]
    for numbers, documents in _merged(counted, begin, limit):
        yield Part(documents, dates, shard, numbers)


def by_date(dates: Dates, count: Count, begin: int, limit: int) -> Iterator[Part]:
    """The parts of ``dates`` from ``begin`` on; documents without a date are the last part.

    Dates cluster, so a full bucket is counted again in smaller ones; one moment with more than ``limit`` stays one
    part.
    """
    end = dates.until
    first, last = max(begin, 0), FAR if end is None else min(end, FAR)
    full: list[Span] = [(first, last)]
    counted: list[Counted] = []
    for bits in _DATE_BITS:
        found: dict[int, int] = {}
        for start in range(0, len(full), _AT_ONCE):
            found.update(count(full[start : start + _AT_ONCE], bits))
        buckets = [
            (max(first, bucket << bits), min(last, (bucket + 1) << bits), documents)
            for bucket, documents in found.items()
        ]
        full = [(low, high) for low, high, documents in buckets if documents > limit]
        counted += [one for one in buckets if one[2] <= limit or bits == _DATE_BITS[-1]]
    for (low, high), documents in _merged(sorted(counted), begin, limit):
        yield Part(documents, Dates(dates.field, low, end if high is None else high))
    if dates.undated:
        yield Part(0, Dates(dates.field, None, None, True))


def in_turn(shards: Sequence[Iterator[Part]]) -> Iterator[Part]:
    """The parts of all shards, in turns, so that the load is spread over the shards."""
    for some in itertools.zip_longest(*shards):
        yield from (part for part in some if part is not None)


def _merged(counted: Sequence[Counted], begin: int, limit: int) -> Iterator[tuple[Ends, int]]:
    """Merges neighbours up to ``limit`` documents; without gaps, from ``begin`` on, and the last is open-ended."""
    low, held = begin, 0
    for at, _, documents in counted:
        if held and held + documents > limit:
            yield (low, at), held
            low, held = at, 0
        held += documents
    yield (low, None), held
