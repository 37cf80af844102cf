"""Words on parts of a feed: at once where an error changes, else in few transactions."""

from __future__ import annotations

from collections.abc import Sequence

from esfeed.errors import StateError
from esfeed.runtime.health import SinkHealth
from esfeed.runtime.health_writer import HealthWriter
from esfeed.text.decoders import read


class Kept:
    """Transactions, each with the words of it; ``now`` is the time."""

    def __init__(self) -> None:
        self.made: list[dict[str, float]] = []
        self.now = 100.0
        self.failing = False

    def __call__(self, notes: Sequence[tuple[str, str, bytes]]) -> None:
        if self.failing:
            raise StateError("the disk is full")
        self.made.append({name: read(data, SinkHealth).at for _, name, data in notes})


def put(noting: HealthWriter, name: str, at: float, error: str = "") -> None:
    noting.put("sink", name, SinkHealth(at, 0, error), error)


def test_alone_each_word_is_kept_at_once_and_then_once_a_second() -> None:
    """What came in between comes with the next, or when the part rests."""
    kept = Kept()
    noting = HealthWriter(kept, lambda: kept.now)
    put(noting, "a", 1)
    put(noting, "a", 2)
    assert kept.made == [{"a": 1}]
    kept.now += 1
    put(noting, "a", 3)
    put(noting, "a", 4)
    noting.rest("sink", "a")
    noting.rest("sink", "a")
    assert kept.made == [{"a": 1}, {"a": 3}, {"a": 4}]


def test_many_are_kept_together_and_an_error_at_once() -> None:
    """A transaction for all, whenever somebody says so; that nothing changed costs none."""
    kept = Kept()
    noting = HealthWriter(kept, lambda: kept.now)
    noting.patient = True
    for turn in range(3):
        for name in "abc":
            put(noting, name, turn)
    noting.flush()
    noting.flush()
    assert kept.made == [{"a": 2, "b": 2, "c": 2}]
    put(noting, "a", 3)
    put(noting, "b", 3, "refused")
    assert kept.made[1:] == [{"a": 3, "b": 3}]
    put(noting, "b", 4, "refused")
    assert len(kept.made) == 2, "the same error is no news"
    put(noting, "b", 5)
    assert kept.made[2:] == [{"b": 5}]


def test_what_the_state_did_not_take_is_kept_later() -> None:
    """The newest word on each part."""
    kept = Kept()
    noting = HealthWriter(kept, lambda: kept.now)
    noting.patient = kept.failing = True
    put(noting, "a", 1)
    put(noting, "b", 1)
    noting.flush()
    put(noting, "a", 2)
    kept.failing = False
    noting.flush()
    assert kept.made == [{"a": 2, "b": 1}]
