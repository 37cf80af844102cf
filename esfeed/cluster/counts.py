"""Counts by spans, in several requests if an engine refuses to make that many buckets in one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from esfeed.cluster import dates, shards
from esfeed.cluster.client import Client
from esfeed.cluster.limits import Limit, Limited, halves
from esfeed.cluster.lots import each
from esfeed.model.reads import FAR, ODD, Dated, Shard, Span, bucket

Count = Callable[[Sequence[Span]], Mapping[int, int]]
_TOO_MUCH = (Limit.BUCKETS, Limit.CLAUSES)


def dated(client: Client, name: str, field: str, spans: Sequence[Span] | None, bits: int) -> Dated:
    """See ``ports.Cluster.dated``."""
    try:
        return dates.dated(client, name, field, spans, bits)
    except Limited as error:
        if error.limit not in _TOO_MUCH:
            raise

    def count(some: Sequence[Span]) -> Mapping[int, int]:
        try:
            return dates.dated(client, name, field, some, bits).buckets
        except Limited:
            if list(some) != [ODD]:
                raise
            # All of these are in one bucket here, but the engine may need any number of buckets for them.
            return {-1: _total(client, name, dates.in_spans(field, some, False))}

    if spans is not None:
        return Dated(_in_parts(count, spans, bits), 0)
    return Dated(_in_parts(count, [ODD, (0, FAR)], bits), _total(client, name, dates.in_spans(field, (), True)))


def _total(client: Client, name: str, query: Mapping[str, Any]) -> int:
    body = {"size": 0, "query": query, **client.versions()}
    return sum(page.total for page in each(name, lambda some: client.search(some, body)))


def histograms(
    client: Client, spans: Mapping[Shard, Sequence[Span]], bits: int, only: Mapping[str, Any] | None = None
) -> Mapping[Shard, Mapping[int, int]]:
    """See ``ports.Cluster.histograms``."""
    try:
        return shards.histograms(client, spans, bits, only)
    except Limited as error:
        if error.limit not in _TOO_MUCH:
            raise

    def of_one(shard: Shard) -> Count:
        return lambda some: shards.histograms(client, {shard: some}, bits, only)[shard]

    return {shard: _in_parts(of_one(shard), wanted, bits) for shard, wanted in spans.items()}


def _in_parts(count: Count, spans: Sequence[Span], bits: int) -> Mapping[int, int]:
    """The counts of ``spans``, which are halved until the engine accepts them.

    A document with several dates is counted at each of them, so each request contributes only buckets within its spans.
    """
    found: Counter[int] = Counter()
    parts = [spans]
    while parts:
        some = parts.pop()
        try:
            counted = count(some)
        except Limited as error:
            both = halves(some, bits)
            if both is None or error.limit not in _TOO_MUCH:
                raise
            parts += both
            continue
        found.update({bucket_: many for bucket_, many in counted.items() if _lies_in(bucket_, some, bits)})
    return found


def _lies_in(bucket_: int, spans: Sequence[Span], bits: int) -> bool:
    return any(bucket(low, bits) <= bucket_ <= bucket(high - 1, bits) for low, high in spans)
