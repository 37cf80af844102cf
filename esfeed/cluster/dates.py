"""Reads by a date field: counts of documents by spans of time, and the documents of a few such spans.

Dates are epoch milliseconds in both directions, so formats and time zones do not matter. A document with several dates
counts in each of their buckets; its stamp is the oldest of them.
https://www.elastic.co/guide/en/elasticsearch/reference/7.17/search-aggregations-bucket-histogram-aggregation.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from esfeed.cluster.client import Client
from esfeed.cluster.limits import Limit, Limited
from esfeed.cluster.lots import each
from esfeed.cluster.responses import Hit, SearchResponse
from esfeed.errors import ClusterError
from esfeed.model.reads import FAR, ODD, Dated, Dates, Span, bucket

_NO_MILLISECONDS = 10**15
_MAX_SPANS = 400
_NONE = 2**63 - 1
"""The sort value of documents without a date."""


def dated(client: Client, name: str, field: str, spans: Sequence[Span] | None, bits: int) -> Dated:
    """Documents by ``stamp >> bits``; see ``ports.Cluster.dated``."""
    buckets: Counter[int] = Counter()
    without = 0
    histogram = {"histogram": {"field": field, "interval": 1 << bits, "min_doc_count": 1}}
    for some in pieces(spans):
        body: dict[str, Any] = {"size": 0, "aggs": {"dates": histogram}}
        if some is None:
            body["aggs"]["without"] = {"missing": {"field": field}}
        else:
            body["query"] = in_spans(field, some, False)
        for page in each(name, partial(client.search, body=body, counted=True)):
            found: Counter[int] = Counter()
            for one in page.aggregations["dates"]["buckets"]:
                found[bucket(int(one["key"]), bits)] += one["doc_count"]
            none = page.aggregations["without"]["doc_count"] if some is None else 0
            if found.total() + none < page.total:
                raise ClusterError(
                    f"counting by {field} found only {found.total() + none} of {page.total} documents",
                    "esfeed discards the answer; the next poll tries again",
                )
            buckets.update(found)
            without += none
    return Dated(buckets, without)


def in_spans(field: str, spans: Sequence[Span], without: bool) -> dict[str, Any]:
    """The query for documents dated within ``spans``, or ``without`` any date."""
    should: list[dict[str, Any]] = [{"range": {field: ends}} for span in spans for ends in _ends(span)]
    if without:
        should.append(_without(field))
    return {"bool": {"should": should}}


def _without(field: str) -> dict[str, Any]:
    return {"bool": {"must_not": {"exists": {"field": field}}}}


def query(dates: Dates) -> dict[str, Any]:
    """The query for the documents with those dates."""
    should: list[dict[str, Any]] = []
    if dates.since is not None:
        until = {} if dates.until is None else {"lt": dates.until}
        should.append({"range": {dates.field: {"gte": dates.since, "format": "epoch_millis", **until}}})
    if dates.undated:
        should.append(_without(dates.field))
    return should[0] if len(should) == 1 else {"bool": {"should": should}}


def stamped(
    client: Client, name: str, body: Mapping[str, Any], field: str, preference: str = "", small: bool = False
) -> Iterator[tuple[SearchResponse, Callable[[Hit], int | None]]]:
    """All pages of a search, each with a function that takes the date in ``field`` from a hit.

    If an index does not return values of fields with its documents, they are sorted by the date, which returns it as
    well. ``small``: the documents probably fit into one page, so this is tried first.
    """
    scroll = partial(client.pages, counted=True) if small else client.scroll
    if not field:
        yield from ((page, none) for page in scroll(name, body, preference))
        return
    try:
        stamp = stamp_of(field)
        for page in scroll(name, {**_with_stamps(client, field), **body}, preference):
            yield page, stamp
        return
    except Limited as error:
        if error.limit is not Limit.DOC_VALUES:
            raise
    sorted_body = {**body, "sort": sort(client, field, "asc")}
    yield from ((page, sorted_by) for page in scroll(name, sorted_body, preference))


def _with_stamps(client: Client, field: str) -> dict[str, Any]:
    """What a search body needs to return the date of each hit as the engine has indexed it."""
    known = client.dialect
    return {known.values_key: [{"field": field, "format": "epoch_millis"} if known.values_format else field]}


def stamp_of(field: str) -> Callable[[Hit], int | None]:
    """A function that takes the date from a hit of a search with ``_with_stamps``."""

    def stamp(hit: Hit) -> int | None:
        values = hit.values(field)
        return min(int(float(value)) for value in values) if values else None

    return stamp if field else none


def sort(client: Client, field: str, order: str) -> list[dict[str, Any]]:
    """The sort of a search by date, over any indices. Documents without a date come last."""
    how = {"numeric_type": "date"} if client.dialect.sort_as_date else {}
    return [{field: {"order": order, "unmapped_type": "date", **how}}]


def sorted_by(hit: Hit) -> int | None:
    """The date of a hit of a search that is sorted by date."""
    value = hit.sorted_by
    return None if value is None or value >= _NONE else milliseconds(value)


def none(hit: Hit) -> int | None:
    """No date: for hits of a search that does not read dates."""


def milliseconds(value: int) -> int:
    """A sort value in milliseconds. That of a ``date_nanos`` is in nanoseconds; no date in milliseconds is so large."""
    return value // 1_000_000 if value > _NO_MILLISECONDS else value


def _ends(span: Span) -> Sequence[dict[str, Any]]:
    low, high = span
    # Some engines cannot read a negative number as a date, and some no number beyond their last date.
    ends: Sequence[dict[str, Any]] = [{"lt": 0}, {"gte": FAR}] if span == ODD else [{"gte": low, "lt": high}]
    return [{**one, "format": "epoch_millis"} for one in ends]


def pieces(spans: Sequence[Span] | None) -> Sequence[Sequence[Span] | None]:
    """Splits ``spans`` into lots that one query can contain."""
    if spans is None:
        return [None]
    return [spans[start : start + _MAX_SPANS] for start in range(0, len(spans), _MAX_SPANS)]
