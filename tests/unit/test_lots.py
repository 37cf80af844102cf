"""Long lists of names cut into several: together they lead to what the list leads to, as engines read lists."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esfeed.cluster.lots import chain, each, encoded, lots
from esfeed.cluster.names import stream_of
from esfeed.errors import ConfigError, NameGone, NothingThere, brief, many

NAMES = ["a", "b", "aa", "ab", "ba", "bb", "abc"]
PATTERNS = ["*", "a*", "*b", "b*a"]
PARTS = st.lists(st.sampled_from([*NAMES, *PATTERNS, "-a", "-a*", "-b", "-*b"]), min_size=1, max_size=12)


def behind(name: str) -> set[str]:
    """What a list leads to, as engines read it: an exclusion takes away from what stands before it."""
    found: set[str] = set()
    patterns = False
    for part in name.split(","):
        if part.startswith("-") and patterns:
            found -= {one for one in NAMES if re.fullmatch(part[1:].replace("*", ".*"), one)}
            continue
        assert not part.startswith("-"), f"an engine takes {part!r} for a name"
        patterns = patterns or "*" in part
        found |= {one for one in NAMES if re.fullmatch(part.replace("*", ".*"), one)}
    return found


@given(PARTS, st.integers(1, 20))
def test_lots_lead_to_the_same(parts: list[str], most: int) -> None:
    """Whatever is excluded, and wherever it is cut: nothing is left out, and nothing comes back."""
    name = ",".join(["*", *parts]) if parts[0].startswith("-") else ",".join(parts)
    try:
        whole = behind(name)
    except AssertionError:
        return
    assert set().union(*map(behind, lots(name, most))) == whole


def test_lots_are_short_enough() -> None:
    """In bytes as they stand in the URL; a list that is short stays one."""
    name = ",".join(f"index-ü-{number:04}-{'x' * 40}" for number in range(300))
    parts = lots(name, 3000)
    assert ",".join(parts) == name
    assert max(len(encoded(part)) for part in parts) <= 3000
    assert len(parts) < 10
    assert lots("a,b*,-bc") == ["a,b*,-bc"]


def test_a_lot_with_nothing_behind_it() -> None:
    """It is no error where another lot has something, unlike a name that is not there."""
    name = ",".join(["x" * 2000, "y" * 2000])

    def read(part: str) -> Iterator[str]:
        if part.startswith("x"):
            raise NothingThere(part)
        yield part

    assert [*chain(name, read)] == ["y" * 2000]
    with pytest.raises(NothingThere):
        [*chain("x", read)]

    def gone(part: str) -> str:
        raise NameGone(part)

    with pytest.raises(NameGone):
        [*each(name, gone)]


@pytest.mark.parametrize(
    ("index", "stream"),
    [
        (".ds-orders-2026.11.29-000001", "orders"),
        (".ds-orders-000012", "orders"),
        (".ds-orders-1234567890-2026.11.29-000001", "orders-1234567890"),
        (".ds-my-orders-2026.11.29-1000000", "my-orders"),
        ("shrink-ab1c-.ds-orders-2026.11.29-000001", "orders"),
        ("orders-000001", ""),
        (".ds-orders", ""),
    ],
)
def test_the_stream_of_a_backing_index(index: str, stream: str) -> None:
    """With a date in its name or without one, whatever digits the stream has in its own."""
    assert stream_of(index) == stream


def test_messages_are_brief() -> None:
    """They neither repeat a long name nor say "1 indices"."""
    assert brief("shop-*") == "shop-*"
    assert len(brief("x" * 10_000)) <= 200
    assert len(str(ConfigError("watches.w.index", "x" * 10_000, "write less"))) < 300
    assert [many(n, "shard") for n in (0, 1, 1200)] == ["0 shards", "1 shard", "1,200 shards"]
    assert many(2, "index", "indices") == "2 indices"
