"""The limits of engines, and how to ask for less at once instead of failing.

Most of these limits are settings of an index or of the cluster that a reader cannot see. But an engine names the limit
when it refuses a request. So the first request is sent as usual, and later ones respect the limit.
https://www.elastic.co/guide/en/elasticsearch/reference/7.17/index-modules.html#dynamic-index-settings
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from esfeed.errors import ClusterError
from esfeed.model.reads import ODD, Span

if TYPE_CHECKING:
    from esfeed.cluster.responses import SearchResponse

_Found = TypeVar("_Found")


class Limit(Enum):
    """A limit, by the setting that defines it."""

    WINDOW = "index.max_result_window"
    KEEP_ALIVE = "search.max_keep_alive"
    BUCKETS = "search.max_buckets"
    TERMS = "index.max_terms_count"
    CLAUSES = "indices.query.bool.max_clause_count"
    SCROLLS = "search.max_open_scroll_context"
    DOC_VALUES = "index.max_docvalue_fields_search"


_SAID = (
    (Limit.WINDOW, re.compile(r"\bsize must be less than or equal to: \[(\d+)\]")),
    (
        Limit.KEEP_ALIVE,
        re.compile(r"(?i)keep alive for .{1,80} It must be less than \((\d+(?:\.\d+)?[a-z]+)\)"),
    ),
    (Limit.BUCKETS, re.compile(r"(?i)too many buckets\. Must be less than or equal to: \[(\d+)\]")),
    (Limit.TERMS, re.compile(r"terms .{1,120} exceeded the allowed maximum of \[(\d+)\]")),
    (Limit.CLAUSES, re.compile(r"(?i)max_?clause_?count\w* is set to \[?(\d+)")),
    (Limit.SCROLLS, re.compile(r"(?i)too many scroll contexts\. Must be less than or equal to: \[(\d+)\]")),
    (Limit.DOC_VALUES, re.compile(r"too many docvalue_fields\. Must be less than or equal to: \[(\d+)\]")),
)


_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class Limited(ClusterError):
    """The cluster refuses to do that much at once. ``allowed`` is its limit: a number, or a time with its unit."""

    def __init__(self, message: str, limit: Limit, allowed: str) -> None:
        super().__init__(message, f"raise {limit.value} on the cluster")
        self.limit = limit
        self.allowed = allowed


def refusal(message: str, hint: str) -> ClusterError:
    """The error of a refused search: ``Limited`` if the text of the engine (in ``message``) names a limit."""
    for limit, said in _SAID:
        if found := said.search(message):
            return Limited(message, limit, found[1])
    return ClusterError(message, hint)


class Limits:
    """The limits of one cluster that refusals have shown. Thread-safe: each thread may be refused once more."""

    def __init__(self, keep: str) -> None:
        self.keep = keep
        self._windows: dict[str, int] = {}

    def fitted(self, name: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """``body``, with a size up to the known limit of ``name``."""
        allowed = self._windows.get(name)
        return body if allowed is None or body.get("size", 0) <= allowed else {**body, "size": allowed}

    def taught(self, name: str, body: Mapping[str, Any], error: Limited) -> bool:
        """Records the limit of a refusal. Returns whether the same search can succeed now."""
        if error.limit is Limit.KEEP_ALIVE:
            allowed = _milliseconds(error.allowed)
            shorter = 0 < allowed < _milliseconds(self.keep)
            self.keep = f"{allowed}ms" if shorter else self.keep
            return shorter
        asked = self.fitted(name, body).get("size", 0)
        if error.limit is not Limit.WINDOW or not 0 < int(error.allowed) < asked:
            return False
        self._windows[name] = int(error.allowed)
        return True

    def within(self, name: str, body: Mapping[str, Any], ask: Callable[[Mapping[str, Any]], _Found]) -> _Found:
        """The result of ``ask`` for a search, repeated with a smaller size if the engine refuses it."""
        while True:
            try:
                return ask(self.fitted(name, body))
            except Limited as error:
                if not self.taught(name, body, error):
                    raise


def _milliseconds(time: str) -> int:
    """The milliseconds of a time as engines write it. They can write "1.5m", which they cannot read."""
    number, unit = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]+)", time).groups()  # type: ignore[union-attr]
    return int(float(number) * _UNITS.get(unit, 0))


def without_scroll(
    ask: Callable[[Mapping[str, Any]], SearchResponse], body: Mapping[str, Any]
) -> Iterator[SearchResponse]:
    """Everything that a search finds, by spans of sequence numbers, without opening a scroll.

    Not a snapshot: a document that is written meanwhile comes (again) with its later number, after all others.
    """
    size = int(body["size"])
    low, step, got, total = 0, size, 0, -1
    while True:
        rest = _numbered(ask, body, low, None) if got + size >= total else None
        if rest is not None and rest.total <= rest.count:
            if rest.count:
                yield _of(rest, got + rest.count)
            return
        total = got + rest.total if rest is not None else total
        page = _numbered(ask, body, low, low + step)
        if page.total > page.count and step == 1:
            # One from each shard, so there are not many; completeness matters more than the page size.
            page = _numbered(ask, {**body, "size": page.total}, low, low + step)
        if page.total > page.count:
            if step == 1:
                raise ClusterError(
                    f"{page.total} documents have the same sequence number, but one page returns only {page.count}",
                    f"set {Limit.WINDOW.value} to more than the number of shards",
                )
            step = max(1, step // 2)
            continue
        if page.count:
            got += page.count
            yield _of(page, max(got, total))
        low += step
        if 2 * page.count <= size:
            step *= 2


def _numbered(
    ask: Callable[[Mapping[str, Any]], SearchResponse], body: Mapping[str, Any], low: int, high: int | None
) -> SearchResponse:
    numbers = {"range": {"_seq_no": {"gte": low} | ({} if high is None else {"lt": high})}}
    also = [body["query"]] if "query" in body else []
    return ask({**body, "query": {"bool": {"filter": [*also, numbers]}}})


def _of(page: SearchResponse, total: int) -> SearchResponse:
    """``page``, as part of a read with ``total`` documents."""
    page.hits.total = total
    return page


def halves(spans: Sequence[Span], bits: int) -> tuple[Sequence[Span], Sequence[Span]] | None:
    """``spans`` in two halves, split at the edge of a bucket of ``bits`` bits; ``None`` if there is only one bucket."""
    if len(spans) > 1:
        middle = len(spans) // 2
        return spans[:middle], spans[middle:]
    if not spans or spans[0] == ODD:
        return None
    low, high = spans[0]
    first, last = low >> bits, (high - 1) >> bits
    if first >= last:
        return None
    middle = (first + last + 1) // 2 << bits
    return [(low, middle)], [(middle, high)]


def in_pieces(ask: Callable[[Sequence[_Found]], SearchResponse], items: Sequence[_Found]) -> Iterator[SearchResponse]:
    """The answers for ``items``, in as many requests as needed. Each item has at most one document."""
    try:
        page = ask(items)
        if page.total <= page.count or len(items) < 2:
            yield page
            return
    except Limited as error:
        if len(items) < 2 or error.limit not in (Limit.TERMS, Limit.CLAUSES):
            raise
    middle = len(items) // 2
    yield from in_pieces(ask, items[:middle])
    yield from in_pieces(ask, items[middle:])
