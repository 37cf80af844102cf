"""Whose turn it is: watches of a dead cluster hold up no others, and those that are due together share a question."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from esfeed.cluster.connection import Connection
from esfeed.cluster.together import SharedCounters
from esfeed.runtime.rounds import Rounds
from tests.support.clients import eventually


class Feed:
    """Watches of two clusters, of which nothing is asked; ``shared`` is what would have been asked together."""

    def __init__(self, **watches: tuple[str, str]) -> None:
        self.config = SimpleNamespace(
            watches={name: SimpleNamespace(cluster=of, index=index) for name, (of, index) in watches.items()}
        )
        self.trackers = {name: SimpleNamespace(reconcile=False) for name in watches}
        link: Any = None
        self.together = {
            name: SharedCounters(Connection(name, ["http://127.0.0.1:9"]), link) for name in ("well", "dead")
        }
        self.shared: list[tuple[str, list[str], bool]] = []
        self.failing = False

    def share(self, cluster: str, names: Sequence[str], anew: bool) -> None:
        self.shared.append((cluster, [*names], anew))
        if self.failing:
            raise ValueError("a mistake")


class Polls:
    """Polls that hang where the cluster is dead."""

    def __init__(self, feed: Feed) -> None:
        self.done: Counter[str] = Counter()
        self.at_once: Counter[str] = Counter()
        self.overlaps = 0
        self.free = threading.Event()
        self._feed = feed
        self._lock = threading.Lock()

    def __call__(self, name: str) -> None:
        with self._lock:
            self.at_once[name] += 1
            self.overlaps += self.at_once[name] > 1
        if self._feed.config.watches[name].cluster == "dead":
            self.free.wait(60)
        with self._lock:
            self.at_once[name] -= 1
            self.done[name] += 1


@pytest.fixture
def feed() -> Feed:
    well = {f"w{n}": ("well", f"index-{n}") for n in range(100)}
    return Feed(**well, **{f"d{n}": ("dead", f"index-{n}") for n in range(100)})


@pytest.fixture
def polls(feed: Feed) -> Iterator[Polls]:
    made = Polls(feed)
    yield made
    made.free.set()


def of(feed: Feed, letter: str) -> list[str]:
    return [name for name in feed.config.watches if name.startswith(letter)]


def rounds(feed: Any, polls: Polls, followed: Sequence[str] = ()) -> Rounds:
    return Rounds(feed, polls, followed)


@pytest.mark.parametrize("known", [True, False])
def test_a_dead_cluster_holds_up_no_other(feed: Feed, polls: Polls, known: bool) -> None:
    """However many of its watches are due; and no watch is polled twice at once, however often it is due."""
    made = rounds(feed, polls, of(feed, "") if known else ())
    for turn in range(3):
        made.due([*of(feed, "d"), *of(feed, "w")])
        eventually(lambda turn=turn: all(polls.done[name] > turn for name in of(feed, "w")))
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("poll ")]
    assert len(threads) < 50
    polls.free.set()
    eventually(lambda: all(polls.done[name] == 1 for name in of(feed, "d")))
    assert not polls.overlaps
    made.due(of(feed, "d"))
    eventually(lambda: all(polls.done[name] == 2 for name in of(feed, "d")))


def test_what_is_due_together_is_asked_for_together(feed: Feed, polls: Polls) -> None:
    """One question for all that a URL can hold; fewer for what is read for the first time, which takes its time."""
    made = rounds(feed, polls, of(feed, "w")[:60])
    made.due(of(feed, "w"))
    eventually(lambda: polls.done.total() == 100)
    sizes = sorted((anew, len(names)) for _, names, anew in feed.shared)
    assert sizes == [(False, 60), (True, 8), (True, 16), (True, 16)]
    assert sorted(name for _, names, _ in feed.shared for name in names) == sorted(of(feed, "w"))
    feed.shared.clear()
    for name in of(feed, "w"):
        made.followed(name)
    made.due(of(feed, "w"))
    eventually(lambda: len(feed.shared) == 1)


def test_what_cannot_be_shared_is_polled_all_the_same() -> None:
    """A pattern, an alias list, one that is alone, one to be reconciled; and where asking together fails."""
    feed = Feed(
        a=("well", "x-*"),
        b=("well", "x,y"),
        c=("well", "<x-{now/d}>"),
        d=("well", "d"),
        e=("well", "e"),
        f=("dead", "f"),
    )
    polls = Polls(feed)
    polls.free.set()
    made = rounds(feed, polls, of(feed, ""))
    feed.failing = True
    made.due(of(feed, ""))
    eventually(lambda: sorted(polls.done) == of(feed, ""))
    assert [names for _, names, _ in feed.shared] == [["d", "e"]]
    feed.trackers["d"].reconcile = True
    made.due(of(feed, ""))
    eventually(lambda: polls.done.total() == 12)
    assert len(feed.shared) == 1


def test_a_paused_watch_is_left_out(feed: Feed, polls: Polls) -> None:
    """Until it is resumed."""
    made = rounds(feed, polls)
    made.pause("w3")
    made.due(["w3", "w4"])
    eventually(lambda: polls.done["w4"])
    made.resume("w3")
    made.due(["w3"])
    eventually(lambda: polls.done["w3"] == 1)


def test_after_stop_none_begins(feed: Feed, polls: Polls) -> None:
    """And nobody waits for those that hang."""
    made = rounds(feed, polls)
    made.due(of(feed, "d"))
    eventually(polls.at_once.total)
    made.stop()
    begun = polls.at_once.total()
    made.wait(lambda: 0.0)
    made.due(of(feed, "w"))
    polls.free.set()
    made.wait(lambda: 60.0)
    assert polls.done.total() == begun
