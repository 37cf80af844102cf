"""Reads by shard and ``_seq_no``: the documents above a number, and counts by ranges of numbers.

A shard is read from the copy whose counters were read. ``_shards:N|_only_nodes:ID`` selects it on every engine with
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
from esfeed.model.sequences import chunks

_MAX_SPANS = 400
_BY_NUMBER = [{"_seq_no": {"order": "asc", "unmapped_type": "long"}}]


def preference(shard: Shard) -> str:
    """Selects that shard, on the copy of its node."""
    return f"_shards:{shard.number}|_only_nodes:{shard.node}"


def header(shard: Shard) -> Mapping[str, Any]:
    """The header of a search of that shard among several."""
    return {"index": shard.name, "preference": preference(shard)}


def where(of: Resolved, shard: Shard | None) -> tuple[str, str]:
    """The name and the preference for a search: of everything behind a name, or of one shard on its copy."""
    return (of.name, "") if shard is None else (shard.name, preference(shard))


def without_seq_no(client: Client, of: Resolved) -> str:
    """A text: why these indices cannot be followed by sequence number; empty if they can.

    Found by trying: the version does not show ``index.disable_sequence_numbers``, or an engine that only looks alike.
    """
    if not client.dialect.seq_no:
        return f"{client.engine} has no sequence numbers in its searches"
    numbered = {"range": {"_seq_no": {"gte": 0}}}
    # One search, because writers can cause a refresh between two.
    body = {"size": 0, "query": {"bool": {"must_not": [numbered]}}, **_counted(client)}
    try:
        unseen = _total(client, of, body)
    except ClusterError:
        # If no search works, or this one works the next time, the error does not come from sequence numbers.
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
    """Two searches for each shard, in one request: the documents above its number, and how many documents it has."""
    searches = []
    for shard, number in after.items():
        above = {"query": {"range": {"_seq_no": {"gt": number}}}, "sort": _BY_NUMBER, "size": size}
        searches += [
            (header(shard), {**above, "_source": source, **client.versions()}),
            (header(shard), {"size": 0, **_counted(client)}),
        ]
    pages = client.multi_search(searches)
    found = {}
    for index, shard in enumerate(after):
        page, documents_now = pages[2 * index], pages[2 * index + 1].total
        docs, total = documents(page, of, shard), page.total
        while docs and len(docs) < size and page.count < page.total:
            # The shard returns fewer at once than requested: more documents follow the last one.
            head, body = searches[2 * index]
            above = {"query": {"range": {"_seq_no": {"gt": docs[-1].seq_no}}}}
            (page,) = client.multi_search([(head, {**body, **above, "size": size - len(docs)})])
            docs += documents(page, of, shard)
        found[shard] = Tail(docs, total, documents_now)
    return found


def between(ends: Ends) -> dict[str, Any]:
    """The query for documents with a sequence number between ``ends``."""
    low, high = ends
    return {"range": {"_seq_no": {"gte": low} | ({} if high is None else {"lt": high})}}


def histograms(
    client: Client, spans: Mapping[Shard, Sequence[Span]], bits: int, only: Mapping[str, Any] | None = None
) -> Mapping[Shard, Mapping[int, int]]:
    """The number of documents of each shard by ``_seq_no >> bits`` within its ``spans``; ``only`` those that a query
    finds.
    """
    also = [only] if only else []
    buckets = {"histogram": {"field": "_seq_no", "interval": 1 << bits, "min_doc_count": 1}}
    shards: list[Shard] = []
    searches: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    for shard, all_spans in spans.items():
        for some in chunks(all_spans, _MAX_SPANS):
            query = {"bool": {"filter": [_within(some), *also]}}
            shards.append(shard)
            searches.append((header(shard), {"size": 0, "query": query, "aggs": {"numbers": buckets}}))
    found: dict[Shard, dict[int, int]] = {shard: {} for shard in spans}
    for shard, page in zip(shards, client.searches(searches), strict=True):
        for bucket in page.aggregations["numbers"]["buckets"]:
            found[shard][int(bucket["key"]) >> bits] = bucket["doc_count"]
    return found


def numbered(client: Client, of: Resolved, shard: Shard, numbers: Collection[int]) -> Sequence[Document]:
    """The documents with those sequence numbers."""

    def ask(some: Sequence[int]) -> SearchResponse:
        body = {"query": {"terms": {"_seq_no": some}}, "size": len(some), **client.versions()}
        return client.search(shard.name, body, preference(shard))

    found: list[Document] = []
    wanted = sorted(numbers)
    for start in range(0, len(wanted), _MAX_SPANS):
        some = wanted[start : start + _MAX_SPANS]
        for page in in_pieces(ask, some):
            found += documents(page, of, shard)
    return found


def documents(page: SearchResponse, of: Resolved, shard: Shard) -> list[Document]:
    """The documents of a page of that shard."""
    uuid = next((one.uuid for one in of.indices if one.name == shard.name), None)
    if uuid is None:
        raise NameMoved(f"{shard.name!r} is no longer behind {of.name!r}", "the next poll reads it again")
    within = of.within(shard.name)
    return [document(hit, uuid, within, shard.number) for hit in page.hits.hits]


def _counted(client: Client) -> dict[str, Any]:
    return client.dialect.exact_total


def _within(spans: Sequence[Span]) -> dict[str, Any]:
    return {"bool": {"should": [{"range": {"_seq_no": {"gte": low, "lt": high}}} for low, high in spans]}}
