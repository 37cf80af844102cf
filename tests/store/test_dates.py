"""Counts of known documents by date: whatever is committed, they are those of the documents themselves."""

from __future__ import annotations

import tempfile
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esfeed.model.event import Key, Revision
from esfeed.model.reads import FAR, ODD, Dated, Span, bucket
from esfeed.ports import Commit
from esfeed.store.state import SqlState

stamps = st.one_of(
    st.none(),
    st.sampled_from([-1, 0, 1, FAR - 1, FAR, 1 << 62, -(1 << 62)]),
    st.integers(1_700_000_000_000, 1_700_000_003_000),
)
placed = st.tuples(stamps, st.sampled_from([None, None, 0]))
"""A date, and a shard for what is followed by its number."""
numbers = st.integers(0, 9)
steps = st.lists(
    st.tuples(
        st.dictionaries(numbers, placed, max_size=5),
        st.dictionaries(numbers, stamps, max_size=3),
        st.sets(numbers, max_size=3),
    ),
    max_size=8,
)
"""What each commit has seen, the new dates that it knows, and what is gone; a document may be in all of them."""


def key(number: int) -> Key:
    return Key("_doc", str(number))


def commit(
    seen: dict[int, tuple[int | None, int | None]],
    dates: dict[int, int | None],
    gone: set[int],
    known: dict[int, tuple[int | None, int | None]],
) -> Commit:
    """What a step commits; ``known`` becomes what should be known after it."""
    known.update(seen)
    known.update({n: (stamp, None) for n, stamp in dates.items() if n in known})
    for n in gone:
        known.pop(n, None)
    revisions = {
        key(n): Revision("u", "i", 1, 5 if shard == 0 else None, b"", shard, stamp)
        for n, (stamp, shard) in seen.items()
    }
    return Commit(revisions, gone=[key(n) for n in gone], stamps={key(n): stamp for n, stamp in dates.items()})


def holds(span: Span, stamp: int) -> bool:
    return bucket(stamp, 0) == -1 if span == ODD else span[0] <= stamp < span[1]


@settings(max_examples=150, deadline=None)
@given(steps)
def test_counts_are_of_what_is_known(script: list[tuple[Any, Any, Any]]) -> None:
    """At each width, kept or counted anew; and the documents of a span are those that it counts."""
    known: dict[int, tuple[int | None, int | None]] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = SqlState(f"sqlite:///{folder}/state.db")
        for step in script:
            store.commits.commit("w", commit(*step, known))
        memory = store.commits.known("w")
        by_date = {n: stamp for n, (stamp, shard) in known.items() if shard is None}
        in_shard = len(known) - len(by_date)
        assert memory.in_shard("u", 0) == in_shard
        for bits in (20, 16, 12, 8):
            assert memory.histogram("u", 0, [(0, 1 << 20)], bits) == ({0: in_shard} if in_shard else {})
        dates = [stamp for stamp in by_date.values() if stamp is not None]
        for bits in (32, 26, 20, 10, 0):
            counted = memory.dated(None, bits)
            if bits in (32, 26, 20):
                assert counted == Dated(Counter(bucket(stamp, bits) for stamp in dates), len(by_date) - len(dates))
            low = (1_700_000_001_000 >> bits) << bits
            spans = [ODD, (low, low + (2 << bits))]
            inside = [stamp for stamp in dates if any(holds(span, stamp) for span in spans)]
            if all(shard is None for _, shard in known.values()):
                assert memory.dated(spans, bits) == Dated(Counter(bucket(stamp, bits) for stamp in inside), 0)
                listed = {one for some in memory.within(spans, True) for one in some}
                assert listed == {key(n) for n, s in by_date.items() if s is None or s in inside}
        store.close()


@pytest.mark.parametrize("count", [999, 1000, 2001])
def test_many_documents_of_one_date_are_listed_whole(count: int, tmp_path: object) -> None:
    """Page by page, each once."""
    store = SqlState(f"sqlite:///{tmp_path}/state.db")
    store.commits.commit("w", Commit({key(n): Revision("u", "i", 1, None, b"", None, 7) for n in range(count)}))
    pages = list(store.commits.known("w").within([(0, 8)], False))
    assert sum(map(len, pages)) == len({one for page in pages for one in page}) == count
    store.close()
