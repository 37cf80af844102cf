"""The log as sinks see it over SQLite: cursors, what is parked or dead, and what the bounds of the log take."""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path

import msgspec
import pytest

from esfeed.errors import StateError
from esfeed.model.event import Event
from esfeed.ports import Commit, Doc, Entry, Parked, Settlement
from esfeed.store.outbox import Counts
from esfeed.store.sql import SqlStore
from esfeed.testing.events import sample_event
from tests.store.test_sql import entry, key, seen

NOW = int(time.time() * 1000)
LOG = 1 << 40


def fill(store: SqlStore, count: int, size: int = 10, at: str = "2026-11-24T10:00:00Z", watch: str = "w") -> None:
    """So many entries of documents ``0`` and on, each with a body that does not shrink."""
    rows = [
        Entry(key(n), sample_event(doc_id=str(n), time=at, op="created", after={"x": noise(n, size)}))
        for n in range(count)
    ]
    for start in range(0, count, 500):
        store.commit(watch, Commit(entries=rows[start : start + 500]))


def noise(n: int, size: int) -> str:
    """Text that hardly shrinks."""
    return random.Random(n).randbytes(size // 2).hex()


def park(store: SqlStore, position: int, sink: str = "s", **more: object) -> Parked:
    """The row of the log at that position, as a dispatcher parks it."""
    (row,) = store.read_log(position - 1, 1)
    one = Parked(sink, position, 1, "no", row.document, "retry", 100.0, 200.0)
    return msgspec.structs.replace(one, **more)


def doc(store: SqlStore, position: int) -> Doc:
    return store.read_log(position - 1, 1)[0].document


def positions(parked: object) -> list[int]:
    return [one.position for one in parked]  # type: ignore[attr-defined]


# --- the log


def test_a_page_of_the_log_is_bounded_by_bytes(store: SqlStore) -> None:
    """As many rows as fit, one at least, however large it is."""
    fill(store, 10, size=1000)
    assert positions(store.read_log(0, 9, 3000)) == [1, 2]
    assert positions(store.read_log(2, 9, 1)) == [3]
    assert len(store.read_log(0, 100)) == 10


def test_documents_are_told_apart(store: SqlStore) -> None:
    """The same key in the same watch is one document; in another it is another."""
    for watch in ("w", "v", "w"):
        store.commit(watch, seen("a"))
    one, other, again = (row.document for row in store.read_log(0, 9))
    assert one == again
    assert one != other


def test_listeners_hear_what_was_committed(store: SqlStore) -> None:
    """With the positions that it has in the log, after it is there; what is for one sink alone is not told."""
    heard: list[Event] = []

    def hear(events: object) -> None:
        assert store.head() == 4
        heard.extend(events)  # type: ignore[call-overload]

    store.commit("w", seen("before"))
    store.listen(hear)
    store.commit("w", Commit(entries=[entry("a"), entry("own", sink="s"), entry("b")]))
    assert [(event.doc_id, event.position) for event in heard] == [("a", 2), ("b", 4)]
    assert [row.event.doc_id for row in store.read_log(0, 9)] == ["before", "a", "own", "b"]


def test_the_size_of_the_log(store: SqlStore, tmp_path: Path) -> None:
    """What is counted is what lies there."""
    fill(store, 100, size=500)
    store.commit("v", seen("a", "b"))
    store.prune(NOW, LOG, {}, rows=30)
    database = sqlite3.connect(tmp_path / "state.db")
    assert database.execute("SELECT SUM(LENGTH(event)) FROM log").fetchone() == (store.log_bytes(),)
    database.close()


# --- cursors and parked events


def test_cursors(store: SqlStore) -> None:
    """A sink never seen has none; a cursor never goes back; what is dropped adds up."""
    assert store.cursor("s") is None
    store.settle("s", Settlement(0))
    assert store.cursor("s") == 0
    store.settle("s", Settlement(6, dropped=2))
    store.settle("s", Settlement(5, dropped=1))
    assert store.cursor("s") == 6
    assert store.counts() == {"s": Counts(dropped=3)}


def test_what_is_parked(store: SqlStore) -> None:
    """With its event, which outlives its row of the log; the latest word counts; what is taken is gone."""
    store.commit("w", seen("a", "b", "c"))
    store.settle("s", Settlement(3, [park(store, 1), park(store, 2, state="waiting", attempts=0)]))
    store.settle("s", Settlement(3, [park(store, 1, attempts=2, error="still no", next_try=300.0, since=999.0)]))
    assert store.prune(NOW, LOG, {"s": ["w"]}).rows == 3
    first, second = store.parked("s")
    assert (first.attempts, first.error, first.state, first.since, first.next_try) == (2, "still no", "retry", 100, 300)
    assert second.state == "waiting"
    assert first.event is None
    assert [row.event.doc_id for row in store.parked_events("s", [1, 2])] == ["a", "b"]
    assert [row.event.position for row in store.parked_events("s", [1, 2])] == [1, 2]
    assert [row.document for row in store.parked_events("s", [1, 2])] == [first.document, second.document]
    assert positions(store.parked_events("s", [1, 2], 1)) == [1]
    assert store.parked("other") == []
    store.settle("s", Settlement(3, taken=[1]))
    assert positions(store.parked("s")) == [2]
    assert store.counts() == {"s": Counts(parked=1)}


def test_what_is_parked_may_bring_its_own_event(store: SqlStore) -> None:
    """What was merged from several is kept as it was merged."""
    store.commit("w", seen("a"))
    merged = sample_event(doc_id="a", id="merged", position=1)
    store.settle("s", Settlement(1, [park(store, 1, event=merged)]))
    (row,) = store.parked_events("s", [1])
    assert row.event.id == "merged"


def test_a_step_is_settled_whole_or_not_at_all(store: SqlStore) -> None:
    """A fault in the last of it takes all of it back."""
    store.commit("w", seen("a", "b"))
    with pytest.raises(StateError):
        store.settle("s", Settlement(2, [park(store, 1), park(store, 2, error=None)]))
    assert store.cursor("s") is None
    assert store.parked("s") == []


def test_dead_events_by_page(store: SqlStore) -> None:
    """Of some sinks, in order, with their events; those that are still tried only when asked for."""
    store.commit("w", seen(*range(6)))
    for sink in ("a", "b"):
        parked = [park(store, n, sink, state="dead") for n in (1, 3, 5)] + [park(store, 2, sink)]
        store.settle(sink, Settlement(6, parked))
    first = store.dead(["a", "b"], limit=4)
    assert [(one.sink, one.position) for one in first] == [("a", 1), ("a", 3), ("a", 5), ("b", 1)]
    assert [one.event.doc_id for one in first if one.event] == ["0", "2", "4", "0"]
    rest = store.dead(["a", "b"], (first[-1].sink, first[-1].position), limit=4)
    assert [(one.sink, one.position) for one in rest] == [("b", 3), ("b", 5)]
    assert positions(store.dead(["a"], live=True)) == [1, 2, 3, 5]
    assert store.dead(["c"]) == []
    one = store.parked_one("b", 3)
    assert one is not None
    assert one.event is not None
    assert store.parked_one("b", 4) is None


def test_redriving(store: SqlStore) -> None:
    """Dead ones are marked, one or all; those behind a newer delivered one only by force; live ones never."""
    store.commit("w", seen("a", "b", "c", "a"))
    store.settle("s", Settlement(4, [park(store, 1, state="dead"), park(store, 2, state="dead"), park(store, 3)]))
    store.settle("s", Settlement(4, newer={doc(store, 4): 4}))
    assert [one.newer for one in store.parked("s")] == [4, None, None]
    assert store.redrive(["s"], 1) == []
    assert store.redrive(["s"], 3) == []
    assert positions(store.redrive(["s", "t"])) == [2]
    assert positions(store.redriven("s")) == [2]
    assert positions(store.redrive(["s"], 1, force=True)) == [1]
    assert [one.state for one in store.redriven("s")] == ["forced", "redriven"]
    assert store.counts()["s"] == Counts(1, 2, 0, 200.0, "no")


def test_a_newer_one_is_noted_for_its_document_alone(store: SqlStore) -> None:
    """Only where it is later, of the same document, and at that sink."""
    store.commit("w", seen("a", "b", "a", "a"))
    for sink in ("s", "t"):
        store.settle(sink, Settlement(4, [park(store, n, sink, state="dead") for n in (1, 2, 4)]))
    store.settle("s", Settlement(4, newer={doc(store, 3): 3}))
    assert [one.newer for one in store.parked("s")] == [3, None, None]
    assert [one.newer for one in store.parked("t")] == [None, None, None]


def test_discarding(store: SqlStore) -> None:
    """Dead ones only, one or all; each counts as dropped."""
    store.commit("w", seen(*range(5)))
    store.settle("s", Settlement(5, [park(store, n, state="dead") for n in (1, 2, 3)] + [park(store, 4)]))
    assert store.discard(["s"], 4) == 0
    assert store.discard(["s"], 2) == 1
    assert store.discard(["s", "t"]) == 2
    assert positions(store.parked("s")) == [4]
    assert store.counts()["s"] == Counts(1, 0, 3, 200.0, "no")
    assert store.cursor("s") == 5


def test_too_many_dead_events(store: SqlStore) -> None:
    """The oldest beyond the bound are dropped and counted; those that are still tried are not."""
    store.commit("w", seen(*range(8)))
    store.settle("s", Settlement(8, [park(store, 1), *(park(store, n, state="dead") for n in range(2, 9))]))
    assert store.forget_dead("s", 7) == 0
    assert store.forget_dead("s", 3) == 4
    assert positions(store.parked("s")) == [1, 6, 7, 8]
    assert store.counts()["s"] == Counts(1, 3, 4, 200.0, "no")


def test_the_parked_event_that_is_tried_next(store: SqlStore) -> None:
    """Its time and its error are what `status` tells; those that wait behind it do not count."""
    store.commit("w", seen(*range(4)))
    tries = [park(store, n, error=f"e{n}", next_try=100.0 - n) for n in (1, 2)]
    store.settle("s", Settlement(4, [*tries, park(store, 3, state="waiting", next_try=1.0)]))
    assert store.counts()["s"] == Counts(3, 0, 0, 98.0, "e2")


# --- the bounds of the log


def test_old_entries_go_first_and_no_more_than_a_few_at_a_time(store: SqlStore) -> None:
    """Those before the time, so many a step; the first that is left says where the log begins."""
    fill(store, 25, at="2026-11-20T10:00:00Z")
    fill(store, 5, at="2099-11-24T10:00:00Z")
    assert store.first() == 1
    steps = [store.prune(NOW, LOG, {}, rows=10) for _ in range(4)]
    assert [(step.rows, step.more) for step in steps] == [(10, True), (10, True), (5, False), (0, False)]
    assert (store.first(), store.head()) == (26, 30)


def test_an_empty_log_has_no_first(store: SqlStore) -> None:
    """All may go; positions go on where they were."""
    assert store.first() is None
    fill(store, 3)
    store.prune(NOW, LOG, {})
    assert (store.first(), store.head(), store.log_count(0), store.log_bytes()) == (None, 3, 0, 0)
    fill(store, 1)
    assert (store.first(), store.log_count(0)) == (4, 1)


def test_a_log_that_is_too_large(store: SqlStore) -> None:
    """The oldest go until the rest fits."""
    fill(store, 100, size=2000, at="2099-11-24T10:00:00Z")
    whole = store.log_bytes()
    store.prune(0, whole, {})
    assert store.first() == 1
    store.prune(0, whole // 2, {})
    assert 0.45 * whole < store.log_bytes() <= whole // 2
    assert 45 < (store.first() or 0) < 55


def test_what_a_slow_sink_loses_is_counted(store: SqlStore) -> None:
    """Entries that it had not had, of its watches, and not those of other sinks; its cursor goes on behind them."""
    fill(store, 10)
    fill(store, 10, watch="v")
    store.commit("w", Commit(entries=[entry("own", sink="slow"), entry("other", sink="quick")]))
    for sink, at in (("slow", 4), ("quick", 22), ("gone", 0)):
        store.settle(sink, Settlement(at))
    pruned = store.prune(NOW, LOG, {"slow": ["w"], "quick": ["w", "v"], "new": ["w"]})
    assert (pruned.rows, pruned.dropped) == (22, {"slow": 7})
    assert store.counts()["slow"].dropped == 7
    assert (store.cursor("slow"), store.cursor("quick"), store.cursor("new")) == (22, 22, None)


def test_parked_events_are_not_lost_with_the_log(store: SqlStore) -> None:
    """Neither those behind the cursor nor those before it are counted as lost: they are kept beside."""
    fill(store, 5)
    store.settle("s", Settlement(1, [park(store, 1), park(store, 3), park(store, 4, state="dead")]))
    assert store.prune(NOW, LOG, {"s": ["w"]}).dropped == {"s": 2}
    assert [row.position for row in store.parked_events("s", [1, 3, 4])] == [1, 3, 4]


def test_a_cursor_that_a_step_settles_too_late(store: SqlStore) -> None:
    """A sink was sending while its entries were dropped: its own, older word moves nothing back, and parks nothing."""
    fill(store, 5)
    store.settle("s", Settlement(0))
    late = park(store, 2)
    store.prune(NOW, LOG, {"s": ["w"]})
    store.settle("s", Settlement(3, [late]))
    assert store.cursor("s") == 5
    assert store.parked("s") == []


def test_space_is_given_back(store: SqlStore, tmp_path: Path) -> None:
    """What is pruned shrinks the file, a little a step, to the reserve; and the reserve is used before it grows."""
    file = tmp_path / "state.db"
    fill(store, 4000, size=8000, at="2026-11-20T10:00:00Z")
    checkpointed(file)
    before = file.stat().st_size
    assert before > 18_000_000
    steps = 0
    while store.prune(NOW, LOG, {}, rows=500).more:
        steps += 1
    for _ in range(5):
        fill(store, 1, at="2026-11-20T10:00:00Z")
        store.prune(NOW, LOG, {})
    checkpointed(file)
    after = file.stat().st_size
    assert steps >= 7
    assert after < 6_000_000
    fill(store, 400, size=8000)
    checkpointed(file)
    assert file.stat().st_size <= after + 100_000


def checkpointed(file: Path) -> None:
    """Brings what is in the write-ahead log into the file."""
    database = sqlite3.connect(file)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
