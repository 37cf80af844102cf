"""Long lists of names cut into several: together they lead to what the list leads to, as engines read lists."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esfeed.cluster.lots import chain, each, encoded, lots
from esfeed.errors import NameGone, NothingThere

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
