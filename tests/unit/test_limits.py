"""What refusals teach, and how reads are cut where little is given at once, by models of such an engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esfeed.cluster.counts import _in_parts
from esfeed.cluster.limits import Limit, Limited, Limits, halves, in_pieces, refusal, without_scroll
from esfeed.cluster.responses import Hit, Hits, SearchResponse, Shards
from esfeed.errors import ClusterError
from esfeed.model.reads import FAR, ODD, Span

WINDOW = (
    "Result window is too large, from + size must be less than or equal to: [{}] but was [1000]. See the scroll api"
)
BATCH = "Batch size is too large, size must be less than or equal to: [500] but was [5000]. Scroll batch sizes cost as"
KEEP = "Keep alive for request (5m) is too large. It must be less than ({}). This limit can be set by changing the"
SAID = [
    (WINDOW.format(500), Limit.WINDOW, "500"),
    (BATCH, Limit.WINDOW, "500"),
    (KEEP.format("1m"), Limit.KEEP_ALIVE, "1m"),
    (KEEP.format("1.6m").replace("request", "scroll"), Limit.KEEP_ALIVE, "1.6m"),
    ("Trying to create too many buckets. Must be less than or equal to: [20] but was [21].", Limit.BUCKETS, "20"),
    (
        "The number of terms [400] used in the Terms Query request has exceeded the allowed maximum of [7]. This max",
        Limit.TERMS,
        "7",
    ),
    ("maxClauseCount is set to 100", Limit.CLAUSES, "100"),
    ("Trying to create too many scroll contexts. Must be less than or equal to: [0]. This", Limit.SCROLLS, "0"),
    (
        "Trying to retrieve too many docvalue_fields. Must be less than or equal to: [0] but was [1].",
        Limit.DOC_VALUES,
        "0",
    ),
]


@pytest.mark.parametrize(("said", "limit", "most"), SAID)
def test_a_limit_is_told_from_other_refusals(said: str, limit: Limit, most: str) -> None:
    error = refusal(f"cluster 'main' answered 400 to /i/_search: illegal_argument_exception {said}", "")
    assert isinstance(error, Limited)
    assert (error.limit, error.allowed) == (limit, most)
    assert limit.value in str(error)


def test_no_limit() -> None:
    error = refusal("cluster 'main' answered 400 to /i/_search: too much of everything [7]", "see its log")
    assert type(error) is ClusterError
    assert error.hint == "see its log"


def limited(said: str) -> Limited:
    error = refusal(said, "")
    assert isinstance(error, Limited)
    return error


def test_what_a_refusal_teaches() -> None:
    """Pages of that name become smaller; nothing else does, and what was asked in vain is not asked again."""
    limits = Limits("5m")
    asked: list[int] = []

    def ask(body: Mapping[str, Any]) -> int:
        asked.append(body["size"])
        if body["size"] > 7:
            raise limited(WINDOW.format(500 if body["size"] > 500 else 7))
        return len(asked)

    assert limits.within("i", {"size": 1000}, ask) == 3
    assert limits.within("i", {"size": 10}, ask) == 4
    assert asked == [1000, 500, 7, 7]
    assert limits.fitted("j", {"size": 1000}) == {"size": 1000}
    assert limits.fitted("i", {"size": 3}) == {"size": 3}
    assert limits.fitted("i", {"query": {}}) == {"query": {}}


def test_a_refusal_that_teaches_nothing_is_an_error() -> None:
    for said in (WINDOW.format(5000), WINDOW.format(0), SAID[4][0]):

        def ask(body: Mapping[str, Any], said: str = said) -> int:
            raise limited(said)

        with pytest.raises(Limited):
            Limits("5m").within("i", {"size": 1000}, ask)


@pytest.mark.parametrize(
    ("most", "kept"), [("1m", "60000ms"), ("1.6m", "96000ms"), ("500ms", "500ms"), ("10s", "10000ms")]
)
def test_scrolls_are_kept_for_as_long_as_may_be(most: str, kept: str) -> None:
    limits = Limits("5m")
    assert limits.taught("i", {}, limited(KEEP.format(most)))
    assert limits.keep == kept
    assert not limits.taught("i", {}, limited(KEEP.format(most)))
    assert not limits.taught("i", {}, limited(KEEP.format("1h")))
    assert not limits.taught("i", {}, limited(KEEP.format("0s")))


def page(numbers: Sequence[int], size: int) -> SearchResponse:
    hits = [Hit("i", str(number), seq_no=number) for number in sorted(numbers)[:size]]
    return SearchResponse(False, Shards(1, 1), Hits(hits, len(numbers)))


@given(st.lists(st.integers(0, 5000) | st.integers(0, 2**40), max_size=120, unique=True), st.integers(1, 20))
def test_without_a_scroll_all_comes_once(numbers: list[int], size: int) -> None:
    requests = 0

    def ask(body: Mapping[str, Any]) -> SearchResponse:
        nonlocal requests
        requests += 1
        query, among = body["query"]["bool"]["filter"]
        assert query == {"match_all": {}}
        low, high = among["range"]["_seq_no"]["gte"], among["range"]["_seq_no"].get("lt", 2**63)
        return page([number for number in numbers if low <= number < high], body["size"])

    pages = [*without_scroll(ask, {"query": {"match_all": {}}, "size": size})]
    assert [hit.seq_no for one in pages for hit in one.hits.hits] == sorted(numbers)
    assert all(one.count and one.total == len(numbers) for one in pages)
    assert requests < 10 + 100 * (1 + len(numbers))


def of_one_number(documents: int, window: int) -> Callable[[Mapping[str, Any]], SearchResponse]:
    def ask(body: Mapping[str, Any]) -> SearchResponse:
        among = body["query"]["bool"]["filter"][-1]["range"]["_seq_no"]
        met = among["gte"] <= 4 < among.get("lt", 2**63)
        return page([4] * documents if met else [], min(body["size"], window))

    return ask


def test_more_documents_of_one_number_than_a_page_has() -> None:
    """Each shard may have one: they come together, or it is an error where not even these are given; and no loop."""
    (one,) = without_scroll(of_one_number(5, 10), {"size": 1})
    assert (one.count, one.total) == (5, 5)
    with pytest.raises(ClusterError, match="5 documents have the same sequence number"):
        [*without_scroll(of_one_number(5, 4), {"size": 3})]


@given(st.lists(st.integers(0, 100), max_size=40, unique=True), st.integers(1, 9), st.integers(1, 9))
def test_items_in_pieces(items: list[int], terms: int, window: int) -> None:
    def ask(some: Sequence[int]) -> SearchResponse:
        if len(some) > terms:
            raise limited(SAID[5][0])
        return page(some, window)

    found = [hit.seq_no for one in in_pieces(ask, items) for hit in one.hits.hits]
    assert sorted(found) == sorted(items)  # type: ignore[type-var]


def counting(stamps: Sequence[int], bits: int, most: int) -> Callable[[Sequence[Span]], Mapping[int, int]]:
    def count(spans: Sequence[Span]) -> Mapping[int, int]:
        found = Counter(one >> bits if 0 <= one < FAR else -1 for one in stamps if any(a <= one < b for a, b in spans))
        if len(found) > most:
            raise limited(SAID[4][0])
        return found

    return count


@given(
    st.lists(st.integers(0, 2000) | st.integers(0, FAR - 1), max_size=60),
    st.sampled_from([0, 3, 10, 32]),
    st.integers(1, 5),
)
def test_counts_in_parts(stamps: list[int], bits: int, most: int) -> None:
    spans = [(0, 1000), (1 << bits << 10, FAR)]
    expected = counting(stamps, bits, 10**6)(spans)
    assert _in_parts(counting(stamps, bits, most), spans, bits) == expected


def test_what_cannot_be_halved() -> None:
    assert halves([], 3) is None
    assert halves([ODD], 3) is None
    assert halves([(8, 16)], 3) is None
    assert halves([(8, 17)], 3) == ([(8, 16)], [(16, 17)])
    assert halves([(0, 8), (8, 16)], 3) == ([(0, 8)], [(8, 16)])
    with pytest.raises(Limited):
        _in_parts(counting([1, 2], 0, 0), [(0, 8)], 0)
