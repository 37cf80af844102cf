"""How long a first reading waits for proof, and what it knows then: against counters that are played, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec
import pytest

from esfeed.model.reads import ShardStats, StatsSnapshot
from esfeed.trackers.initial_sync import EVERY, begin, looks
from tests.delivery.fakes import FakeClock

LARGE = 5_000_000


def shard(highest: int, refreshes: int, node: str = "n") -> ShardStats:
    """All operations up to the highest number are done on every copy."""
    return ShardStats(highest + 1, f"{node}/t", ((node, refreshes),), node, highest, highest)


class Played:
    """Counters that go on by one step each time they are read; ``waited`` counts the waits."""

    def __init__(self, *steps: Mapping[str, ShardStats], docs: int = LARGE) -> None:
        self._steps: Iterator[StatsSnapshot] = (
            StatsSnapshot(dict(step), {"i": "u"}, docs) for step in self._lasting(steps)
        )
        self.waited = 0.0

    def _lasting(self, steps: tuple[Mapping[str, ShardStats], ...]) -> Iterator[Mapping[str, ShardStats]]:
        yield from steps
        while True:
            yield steps[-1]

    def __call__(self) -> StatsSnapshot:
        return next(self._steps)

    def sleep(self, seconds: float) -> None:
        self.waited += seconds


def marked(played: Played, refresh: float = 1.0) -> dict[str, int]:
    """Runs it; the marks by shard."""
    _, marks = begin(played(), refresh, played, played.sleep, FakeClock())
    return {name: mark.mark for name, mark in marks.items()}


def busy(name: str = "i/0", per_refresh: int = 2) -> Callable[[int], dict[str, ShardStats]]:
    """A shard that takes an operation at each step, and is refreshed at every second one."""
    return lambda step: {name: shard(100 + step, step // per_refresh)}


def test_two_refreshes_prove_where_it_began() -> None:
    """The mark is what all copies had when it was first looked at, and it waits no longer than that takes."""
    played = Played(*map(busy(), range(40)))
    assert marked(played)["i/0"] >= 100
    assert played.waited <= 3.0


def test_a_shard_at_rest_is_not_waited_for() -> None:
    """Nothing was counted for longer than a refresh takes: there is none to wait for."""
    played = Played({"i/0": shard(100, 7)})
    assert marked(played) == {"i/0": -1}
    assert played.waited == pytest.approx(1.0 + EVERY)


def test_one_shard_at_rest_and_one_that_is_not() -> None:
    """Each by its own rule; the wait is for the slower one."""
    played = Played(*({**busy("i/1")(step), "i/0": shard(5, 1)} for step in range(40)))
    marks = marked(played)
    assert marks["i/0"] == -1
    assert marks["i/1"] >= 100


def test_refreshes_that_do_not_come_are_not_waited_for_longer_than_they_may_save() -> None:
    """Operations go on, but no refresh is counted."""
    played = Played(*({"i/0": shard(100 + step, 3)} for step in range(100)))
    assert marked(played) == {"i/0": -1}
    assert played.waited == pytest.approx(4.0)


@pytest.mark.parametrize(("docs", "refresh"), [(0, 1.0), (90_000, 1.0), (LARGE, float("inf")), (LARGE, 300.0)], ids=str)
def test_no_wait_where_reading_again_costs_less(docs: int, refresh: float) -> None:
    """A small index, one that nobody refreshes, one that is refreshed every five minutes: read at once."""
    played = Played(*map(busy(), range(40)), docs=docs)
    assert marked(played, refresh) == {"i/0": -1}
    assert played.waited == 0


def test_another_primary_begins_anew() -> None:
    """What was counted on the copy before proves nothing of this one: its refreshes are counted from its own first."""
    steps = [*map(busy(), range(3)), *({"i/0": shard(110 + step, 50 + step // 2, "m")} for step in range(30))]
    played = Played(*steps)
    now, marks = begin(played(), 1.0, played, played.sleep, FakeClock())
    assert now.shards["i/0"].node == "m"
    assert marks["i/0"].mark >= 110


def test_a_shard_that_comes_meanwhile_and_one_that_goes() -> None:
    """An index that is made or deleted while it waits: the marks are of the shards of the last look at the counters."""
    steps = [busy()(step) for step in range(2)] + [busy("i/1")(step) for step in range(2, 30)]
    played = Played(*steps)
    now, marks = begin(played(), 1.0, played, played.sleep, FakeClock())
    assert now.shards.keys() == marks.keys() == {"i/1"}


def test_the_numbers_of_looks_are_bounded() -> None:
    """A wait costs less than what it spares, whatever the size and the interval."""
    for docs in (10**5, 10**6, 10**7, 10**8):
        for refresh in (0.1, 1.0, 10.0, 60.0, 600.0):
            assert looks(docs, refresh) * EVERY <= docs * 40e-6 + EVERY


def test_the_counters_to_go_by_are_the_last_ones() -> None:
    """What the look is compared with later is what was counted before it began, not when the wait began."""
    played = Played(*map(busy(), range(40)))
    first = played()
    now, marks = begin(first, 1.0, played, played.sleep, FakeClock())
    assert now.shards["i/0"].ops > first.shards["i/0"].ops
    assert msgspec.structs.asdict(marks["i/0"])["looked"] is None
