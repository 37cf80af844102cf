"""Reads that go by a date field: counts of documents by spans of time, and the documents of a few such spans.

Dates travel as epoch milliseconds both ways, so no engine's idea of a format or a time zone matters. A document with
several dates counts in each of their buckets; its stamp is the oldest of them.
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
_MOST_SPANS = 400
_NONE = 2**63 - 1
"""What documents without a date are sorted by."""


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
                    f"of {page.total} documents only {found.total() + none} were counted by {field}",
                    "nothing was taken from it; it is asked again at the next poll",
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
    """The query for the documents of those dates."""
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
    """All pages of a search, and what takes the date in ``field`` out of a hit of each.

    Where an index gives no values of fields beside its documents, they are sorted by it, which gives it as well.
    ``small``: they are likely to fit into one page, so that is tried first.
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
    """What a search body needs to bring the date of each hit as the engine has it indexed."""
    known = client.dialect
    return {known.values_key: [{"field": field, "format": "epoch_millis"} if known.values_format else field]}


def stamp_of(field: str) -> Callable[[Hit], int | None]:
    """What takes the date out of a hit that was asked for ``with_stamps``."""

    def stamp(hit: Hit) -> int | None:
        values = hit.values(field)
        return min(int(float(value)) for value in values) if values else None

    return stamp if field else none


def sort(client: Client, field: str, order: str) -> list[dict[str, Any]]:
    """How a search is sorted by date, over whatever indices; documents without one come last."""
    how = {"numeric_type": "date"} if client.dialect.sort_as_date else {}
    return [{field: {"order": order, "unmapped_type": "date", **how}}]


def sorted_by(hit: Hit) -> int | None:
    """The date of a hit of a search that is sorted by it."""
    value = hit.sorted_by
    return None if value is None or value >= _NONE else milliseconds(value)


def none(hit: Hit) -> int | None:
    """For hits of a search that goes by no date."""


def milliseconds(value: int) -> int:
    """A date's sort value; of ``date_nanos`` it comes in nanoseconds (no date of milliseconds is as large)."""
    return value // 1_000_000 if value > _NO_MILLISECONDS else value


def _ends(span: Span) -> Sequence[dict[str, Any]]:
    low, high = span
    # Some engines cannot read a negative number as a date, some none beyond their last date.
    ends: Sequence[dict[str, Any]] = [{"lt": 0}, {"gte": FAR}] if span == ODD else [{"gte": low, "lt": high}]
    return [{**one, "format": "epoch_millis"} for one in ends]


def pieces(spans: Sequence[Span] | None) -> Sequence[Sequence[Span] | None]:
    """``spans`` in lots that one query can hold."""
    if spans is None:
        return [None]
    return [spans[start : start + _MOST_SPANS] for start in range(0, len(spans), _MOST_SPANS)]
