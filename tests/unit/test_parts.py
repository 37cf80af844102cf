"""How a backfill is cut: whatever lies where, every document is in exactly one part, and parts are not too large."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from esfeed.backfill.parts import by_date, by_number, in_turn, width
from esfeed.model.reads import FAR, Dates, Ends, Part, Shard, Span, bucket

SHARD = Shard("i", 0, "n")
ALL = Dates("at", 0)
NUMBERS = st.sets(st.integers(0, 200_000), max_size=200) | st.sets(st.integers(0, 300), max_size=200)
DATES = st.lists(
    st.integers(1_700_000_000_000, 1_700_000_000_300) | st.integers(0, FAR - 1) | st.sampled_from([0, 5, FAR - 1]),
    max_size=200,
)


def dates_of(part: Part) -> Ends:
    assert part.dates.since is not None
    return part.dates.since, part.dates.until


def holds(ends: Ends | None, number: int) -> bool:
    assert ends is not None
    return ends[0] <= number and (ends[1] is None or number < ends[1])


def numbered(numbers: set[int], begin: int, most: int) -> list[Part]:
    bits = width(max(numbers, default=0) + 1)
    counts = Counter(number >> bits for number in numbers if number >= begin)
    return [*by_number(ALL, SHARD, counts, bits, begin, most)]


@given(numbers=NUMBERS, begin=st.integers(0, 300), most=st.integers(1, 50))
def test_by_number(numbers: set[int], begin: int, most: int) -> None:
    parts = numbered(numbers, begin, most)
    for number in numbers:
        inside = [part for part in parts if holds(part.numbers, number)]
        assert len(inside) == (number >= begin)
    ends = [part.numbers for part in parts if part.numbers]
    assert ends[0][0] == begin
    assert ends[-1][1] is None
    assert [high for _, high in ends[:-1]] == [low for low, _ in ends[1:]]


def test_full_shards_are_cut_into_parts_that_one_answer_holds() -> None:
    numbers = set(range(50_000))
    for part in numbered(numbers, 0, 1000):
        assert sum(holds(part.numbers, number) for number in numbers) <= 1000


def test_what_is_sparse_is_taken_together() -> None:
    assert len(numbered(set(range(0, 10_000_000, 10_000)), 0, 1000)) <= 2


def counting(dates: Sequence[int], asked: list[int]) -> object:
    def count(spans: Sequence[Span], bits: int) -> dict[int, int]:
        asked.append(len(spans))
        inside = [date for date in dates if any(low <= date < high for low, high in spans)]
        return dict(Counter(bucket(date, bits) for date in inside))

    return count


@given(
    dates=DATES,
    begin=st.integers(-5, 10) | st.sampled_from([1_700_000_000_100, FAR - 2]),
    end=st.none() | st.sampled_from([1_700_000_000_200, FAR + 5]),
    most=st.integers(1, 50),
)
@example(dates=[1_700_000_000_000 + n for n in range(200)], begin=1_700_000_000_077, end=None, most=20)
def test_by_date(dates: list[int], begin: int, end: int | None, most: int) -> None:
    whole = Dates("at", begin, end)
    parts = [*by_date(whole, counting(dates, []), begin, most)]  # type: ignore[arg-type]  # a plain function
    for date in dates:
        inside = [part for part in parts if holds(dates_of(part), date)]
        assert len(inside) == (date >= begin and (end is None or date < end))
    assert parts[0].dates.since == begin
    assert parts[-1].dates.until == end


def test_crowded_dates_are_cut_small_but_for_a_single_moment() -> None:
    dates = [1_700_000_000_000 + n for n in range(10_000)] + [1_800_000_000_000] * 5000
    parts = [*by_date(ALL, counting(dates, []), 0, 500)]  # type: ignore[arg-type]
    sizes = [sum(holds(dates_of(part), date) for date in dates) for part in parts]
    assert sorted(sizes)[-1] == 5000
    assert all(size <= 500 for size in sizes if size != 5000)


def test_shards_take_turns() -> None:
    one, other = (
        iter([Part(n, ALL, Shard(name, 0, "")) for n in range(count)]) for name, count in (("a", 3), ("b", 1))
    )
    assert [part.shard.name for part in in_turn([one, other]) if part.shard] == ["a", "b", "a", "a"]


def test_documents_without_a_date_are_the_last_part() -> None:
    parts = [*by_date(Dates("at", 7, undated=True), counting([8], []), 7, 500)]  # type: ignore[arg-type]
    assert [part.dates for part in parts] == [Dates("at", 7), Dates("at", None, undated=True)]
