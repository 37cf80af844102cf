"""Implements ``ports.Cluster`` for every engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from esfeed.cluster import counts, dates, gone, lookups, shards
from esfeed.cluster.client import Client
from esfeed.cluster.connection import Connection
from esfeed.cluster.dialect import Engine
from esfeed.cluster.link import Link
from esfeed.cluster.lots import each, encoded, lots
from esfeed.cluster.mapping import mapped
from esfeed.cluster.names import field_types, resolve
from esfeed.cluster.node import Meter
from esfeed.cluster.responses import Hit, PackedResponse, SearchResponse, document, packed
from esfeed.cluster.stats import read_stats
from esfeed.cluster.together import SharedAnswer
from esfeed.errors import ClusterError, NameMoved
from esfeed.model.event import UNTYPED, Document, Key
from esfeed.model.reads import (
    TAKEN,
    Dated,
    Dates,
    DocumentPage,
    Held,
    Kind,
    Part,
    Resolved,
    Shard,
    Span,
    StatsSnapshot,
    Tail,
    Unread,
)
from esfeed.ports import COUNTERS_AGE

_NO_VERSION = -1
_IDS_PAGE = 1000
_ALIKE = 4
"""How many documents usually share an id at most, under several routings or types. More of them need a scroll."""


class EngineCluster:
    """See ``ports.Cluster``. Uses one :class:`~esfeed.cluster.client.Client`, whose ``link`` others can share."""

    def __init__(
        self, connection: Connection, sleep: Callable[[float], None] = time.sleep, link: Link | None = None
    ) -> None:
        self.name = connection.name
        self._client = Client(connection, sleep, link)
        self._handed: SharedAnswer | None = None
        self._behind: tuple[Resolved, str] | None = None
        self._numbered = ""
        self._docs: int | None = None

    def close(self) -> None:
        """Closes every connection."""
        self._client.close()

    @property
    def meter(self) -> Meter:
        """Counts requests and bytes."""
        return self._client.meter

    @property
    def engine(self) -> Engine:
        """The engine that the cluster reports."""
        return self._client.engine

    @property
    def known_engine(self) -> Engine | None:
        """The engine, if it was read before. Sends no request."""
        return self._client.known_engine

    @property
    def searches_lag(self) -> bool:
        return self._client.dialect.searches_lag

    def hand(self, handed: SharedAnswer | None) -> None:
        """Stores the answer for the next ``counters``, and for a ``uuid``, a ``resolve`` and a ``without_seq_no`` right
        after it. Each is used once, and only within ``COUNTERS_AGE``. ``None`` removes it.
        """
        self._handed = handed
        self._behind, self._numbered = None, ""

    def counters(self, name: str) -> StatsSnapshot:
        handed, self._handed = self._handed, None
        self._behind, self._numbered = None, ""
        if handed is None or handed.name != name or time.monotonic() - handed.at > COUNTERS_AGE:
            reading = read_stats(self._client, name)
            self._docs = reading.docs
            return reading
        if handed.requests:
            self.meter.add(handed.received_bytes, handed.requests)
        if isinstance(handed.answer, ClusterError):
            raise handed.answer
        self._behind, self._docs = handed.behind, handed.answer.docs
        self._numbered = name if handed.numbered else ""
        return handed.answer

    def uuid(self) -> str:
        return gone.cluster_uuid(self._client) if self._behind is None else self._behind[1]

    def resolve(self, name: str, watch: str) -> Resolved:
        behind, self._behind = self._behind, None
        return resolve(self._client, name, watch) if behind is None or behind[0].name != name else behind[0]

    def check_gone(self, of: Resolved, held: Collection[Held]) -> None:
        gone.check(self._client, of, held)

    def refresh(self, name: str) -> None:
        for some in lots(name):
            self._client.request("POST", f"/{encoded(some)}/_refresh")

    def field_types(self, name: str) -> Mapping[str, str]:
        return field_types(self._client, name)

    def mapped(self, name: str) -> Mapping[str, Mapping[str, str]]:
        return mapped(self._client, name)

    def newest(self, name: str, field: str) -> int | None:
        # Sorts instead of using a max aggregation: OpenSearch 3 sets `terminated_early` for those without a reason.
        body = {
            "query": {"range": {field: {"lte": "now"}}},
            "sort": dates.sort(self._client, field, "desc"),
            "size": 1,
            "_source": False,
        }
        hits = [hit for page in each(name, lambda some: self._client.search(some, body)) for hit in page.hits.hits]
        return max((dates.milliseconds(hit.sorted_by) for hit in hits), default=None)

    def window(self, of: Resolved, field: str, since: int, size: int) -> Iterator[DocumentPage]:
        body = {
            "query": dates.query(Dates(field, since)),
            "sort": dates.sort(self._client, field, "asc"),
            "size": size,
            **self._client.versions(),
        }
        for answer in self._client.pages(of.name, body):
            yield _page(answer, of, dates.sorted_by)

    def part(self, of: Resolved, part: Part, size: int) -> Generator[DocumentPage, None, None]:
        filters = [dates.query(part.dates)]
        if part.shard is not None and part.numbers is not None:
            filters.append(shards.between(part.numbers))
        body = {"query": {"bool": {"filter": filters}}, "sort": ["_doc"], "size": size, **self._client.versions()}
        shard, field = part.shard, part.dates.field
        name, preference = shards.where(of, shard)
        for answer in self._client.pages(name, body, preference, True, partial(packed, field=field)):
            yield _unread(answer, of, field)

    def everything(
        self, of: Resolved, source: bool, size: int, shard: Shard | None = None, field: str = ""
    ) -> Iterator[DocumentPage]:
        body = {"sort": ["_doc"], "size": size, "_source": source, **self._client.versions()}
        name, preference = shards.where(of, shard)
        # One search is a snapshot, too, if all documents fit into it.
        small = self._docs is not None and self._docs <= size // 2
        for answer, stamp in dates.stamped(self._client, name, body, field, preference, small):
            if shard is None:
                yield _page(answer, of, stamp)
            else:
                yield DocumentPage(shards.documents(answer, of, shard), answer.total)

    def dated(self, of: Resolved, field: str, spans: Sequence[Span] | None, bits: int) -> Dated:
        return counts.dated(self._client, of.name, field, spans, bits)

    def within(self, of: Resolved, field: str, spans: Sequence[Span], without: bool) -> Iterator[DocumentPage]:
        body = {"sort": ["_doc"], "size": _IDS_PAGE, "_source": False, **self._client.versions()}
        for some in dates.pieces(spans) or [()]:
            query = dates.in_spans(field, some or (), without)
            for answer, stamp in dates.stamped(self._client, of.name, {"query": query, **body}, field):
                yield _page(answer, of, stamp)
            without = False

    def without_seq_no(self, of: Resolved) -> str:
        numbered, self._numbered = self._numbered, ""
        if numbered == of.name:
            return ""
        return shards.without_seq_no(self._client, of)

    def tails(self, of: Resolved, after: Mapping[Shard, int], size: int, source: bool) -> Mapping[Shard, Tail]:
        return shards.tails(self._client, of, after, size, source)

    def histograms(
        self, of: Resolved, spans: Mapping[Shard, Sequence[Span]], bits: int, only: Dates | None = None
    ) -> Mapping[Shard, Mapping[int, int]]:
        return counts.histograms(self._client, spans, bits, dates.query(only) if only else None)

    def numbered(self, of: Resolved, shard: Shard, numbers: Collection[int]) -> Sequence[Document]:
        return shards.numbered(self._client, of, shard, numbers)

    def shown(
        self, of: Resolved, keys: Collection[Key], source: bool, shard: Shard | None = None
    ) -> Sequence[Document]:
        wanted = set(keys)
        found: list[Document] = []
        name, preference = shards.where(of, shard)
        for answer in self._client.pages(name, self._by_id(wanted, source), preference):
            docs = _page(answer, of).docs if shard is None else shards.documents(answer, of, shard)
            found += [doc for doc in docs if doc.key in wanted]
        return found

    def shown_by_shard(self, of: Resolved, keys: Mapping[Shard, Collection[Key]]) -> Sequence[Document]:
        wanted = {shard: set(some) for shard, some in keys.items() if some}
        searches = [(shards.header(shard), self._by_id(some, False)) for shard, some in wanted.items()]
        found: list[Document] = []
        for (shard, some), answer in zip(wanted.items(), self._client.searches(searches), strict=True):
            if answer.count < answer.total:  # the shard returns fewer at once than requested
                found += self.shown(of, some, False, shard)
            else:
                found += [doc for doc in shards.documents(answer, of, shard) if doc.key in some]
        return found

    def _by_id(self, keys: Collection[Key], source: bool) -> dict[str, Any]:
        ids = {"query": {"ids": {"values": sorted({key.id for key in keys})}}}
        return {**ids, "size": _ALIKE * len(keys), "_source": source, **self._client.versions()}

    def lookup(
        self, of: Resolved, wanted: Sequence[tuple[str, Key]], copy: Shard | None = None
    ) -> Sequence[Document | None]:
        names = {one.uuid: one.name for one in of.indices}
        preference = f"_prefer_nodes:{copy.node}" if copy and copy.node else ""
        hits = lookups.mget(self._client, [(names[uuid], key) for uuid, key in wanted], preference)
        return [_looked_up(hit, uuid, key) for hit, (uuid, key) in zip(hits, wanted, strict=True)]


def _looked_up(hit: Hit, uuid: str, key: Key) -> Document | None:
    """The document of a hit; ``TAKEN`` if it is another one. An id has one document per shard, whatever its routing.

    A document that the engine fails to return (2.x: a number beyond 64 bits, before it is refreshed) exists, with an
    unknown version.
    """
    if hit.error is not None:
        return Document(key, hit.index, uuid, _NO_VERSION)
    if not hit.found:
        return None
    if (hit.routing or hit.parent) != key.routing:
        return Document(key, hit.index, uuid, TAKEN)
    return Document(key, hit.index, uuid, hit.version, hit.seq_no, parent=hit.parent)


def _page(answer: SearchResponse, of: Resolved, stamp: Callable[[Hit], int | None] = dates.none) -> DocumentPage:
    location = _locations(of)
    return DocumentPage(
        [document(hit, *location(hit.index), None, stamp(hit)) for hit in answer.hits.hits], answer.total
    )


def _unread(answer: SearchResponse, of: Resolved, field: str) -> DocumentPage:
    """The page of a response to a read of a part. Its documents stay undecoded if possible."""
    if not isinstance(answer, PackedResponse):
        return _page(answer, of)
    location = _locations(of)
    kinds = [Kind(kind or UNTYPED, index, *location(index)) for index, kind in answer.found.kinds]
    return DocumentPage(Unread(answer.found, kinds, field, lambda: _page(answer.opened(), of).docs), answer.total)


def _locations(of: Resolved) -> Callable[[str], tuple[str, str | None]]:
    """Maps an index to its uuid and the ``within`` of its keys. Raises ``NameMoved`` for an unknown index."""
    places = {one.name: (one.uuid, of.within(one.name)) for one in of.indices}

    def location(index: str) -> tuple[str, str | None]:
        if index not in places:
            raise NameMoved(f"{of.name!r} now leads to {index!r} as well", "the next poll reads it again")
        return places[index]

    return location
