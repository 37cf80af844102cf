"""Reads that go shard by shard and by ``_seq_no``: what stands above a number, how many stand where.

A shard is read from the copy whose counters were read: ``_shards:N|_only_nodes:ID`` pins it on every engine that has
sequence numbers. https://www.elastic.co/guide/en/elasticsearch/reference/7.17/search-shard-routing.html
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from esfeed.cluster.client import Client
from esfeed.cluster.limits import in_pieces
from esfeed.cluster.lots import each
from esfeed.cluster.responses import SearchResponse, document
from esfeed.errors import ClusterError, NameMoved, many
from esfeed.model.event import Document
from esfeed.model.reads import Ends, Resolved, Shard, Span, Tail

_MOST_SPANS = 400
_BY_NUMBER = [{"_seq_no": {"order": "asc", "unmapped_type": "long"}}]


def preference(shard: Shard) -> str:
    """Reads that shard, from the copy on its node."""
    return f"_shards:{shard.number}|_only_nodes:{shard.node}"


def where(of: Resolved, shard: Shard | None) -> tuple[str, str]:
    """The name to search and the preference to do so with: all that is behind a name, or one shard on its copy."""
    return (of.name, "") if shard is None else (shard.name, preference(shard))


def without_seq_no(client: Client, of: Resolved) -> str:
    """Why these indices cannot be followed by sequence number; empty where they can.

    Found by trying: a version number says nothing of ``index.disable_sequence_numbers`` or of a look-alike.
    """
    if not client.dialect.seq_no:
        return f"{client.engine} has no sequence numbers in its searches"
    numbered = {"range": {"_seq_no": {"gte": 0}}}
    # One search: between two of them writers refresh.
    body = {"size": 0, "query": {"bool": {"must_not": [numbered]}}, **_counted(client)}
    try:
        unseen = _total(client, of, body)
    except ClusterError:
        # Where no search works, or this one does the next time, a bad moment says nothing of sequence numbers.
        _total(client, of, {"size": 0})
        try:
            unseen = _total(client, of, body)
        except ClusterError as error:
            return f"a search by _seq_no fails ({error.message})"
    if unseen:
        return f"a search by _seq_no does not find {many(unseen, 'document')}"
    return ""


def _total(client: Client, of: Resolved, body: Mapping[str, Any]) -> int:
    return sum(page.total for page in each(of.name, lambda some: client.search(some, body)))


def tails(client: Client, of: Resolved, after: Mapping[Shard, int], size: int, source: bool) -> Mapping[Shard, Tail]:
    """Two searches a shard, all in one request: what stands above its number, and how many documents it has."""
    searches = []
    for shard, number in after.items():
        header = {"index": shard.name, "preference": preference(shard)}
        above = {"query": {"range": {"_seq_no": {"gt": number}}}, "sort": _BY_NUMBER, "size": size}
        searches += [
            (header, {**above, "_source": source, **client.versions()}),
            (header, {"size": 0, **_counted(client)}),
        ]
    pages = client.multi_search(searches)
    found = {}
    for index, shard in enumerate(after):
        page, documents_now = pages[2 * index], pages[2 * index + 1].total
        docs, total = documents(page, of, shard), page.total
        while docs and len(docs) < size and page.count < page.total:
            # The shard gives fewer at once than were asked for: more stands above the last one.
            header, body = searches[2 * index]
            above = {"query": {"range": {"_seq_no": {"gt": docs[-1].seq_no}}}}
            (page,) = client.multi_search([(header, {**body, **above, "size": size - len(docs)})])
            docs += documents(page, of, shard)
        found[shard] = Tail(docs, total, documents_now)
    return found


def between(ends: Ends) -> dict[str, Any]:
    """The query for documents with a number between ``ends``."""
    low, high = ends
    return {"range": {"_seq_no": {"gte": low} | ({} if high is None else {"lt": high})}}


def histogram(
    client: Client, shard: Shard, spans: Sequence[Span], bits: int, only: Mapping[str, Any] | None = None
) -> Mapping[int, int]:
    """Documents by ``_seq_no >> bits`` within ``spans``; ``only`` those that a query finds."""
    also = [only] if only else []
    found: dict[int, int] = {}
    buckets = {"histogram": {"field": "_seq_no", "interval": 1 << bits, "min_doc_count": 1}}
    for start in range(0, len(spans), _MOST_SPANS):
        query = {"bool": {"filter": [_within(spans[start : start + _MOST_SPANS]), *also]}}
        body = {"size": 0, "query": query, "aggs": {"numbers": buckets}}
        page = client.search(shard.name, body, preference(shard))
        for bucket in page.aggregations["numbers"]["buckets"]:
            found[int(bucket["key"]) >> bits] = bucket["doc_count"]
    return found


def numbered(client: Client, of: Resolved, shard: Shard, numbers: Collection[int]) -> Sequence[Document]:
    """The documents with those sequence numbers."""

    def ask(some: Sequence[int]) -> SearchResponse:
        body = {"query": {"terms": {"_seq_no": some}}, "size": len(some), **client.versions()}
        return client.search(shard.name, body, preference(shard))

    found: list[Document] = []
    wanted = sorted(numbers)
    for start in range(0, len(wanted), _MOST_SPANS):
        some = wanted[start : start + _MOST_SPANS]
        for page in in_pieces(ask, some):
            found += documents(page, of, shard)
    return found


def documents(page: SearchResponse, of: Resolved, shard: Shard) -> list[Document]:
    """The documents of a page of that shard."""
    uuid = next((one.uuid for one in of.indices if one.name == shard.name), None)
    if uuid is None:
        raise NameMoved(f"{shard.name!r} is not behind {of.name!r} any more", "it is read anew at the next poll")
    within = of.within(shard.name)
    return [document(hit, uuid, within, shard.number) for hit in page.hits.hits]


def _counted(client: Client) -> dict[str, Any]:
    return client.dialect.exact_total


def _within(spans: Sequence[Span]) -> dict[str, Any]:
    return {"bool": {"should": [{"range": {"_seq_no": {"gte": low, "lt": high}}} for low, high in spans]}}
