"""The log as sinks see it over SQLite: cursors, what is parked or dead, and what the bounds of the log take."""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path

import msgspec
import pytest

from esfeed.errors import StateError
from esfeed.ports import Commit, Counts, Doc, Entry, Parked, Settlement
from esfeed.store.state import SqlState
from esfeed.testing.events import sample_event
from tests.store.test_sql import entry, key, seen

NOW = int(time.time() * 1000)
LOG = 1 << 40


def fill(store: SqlState, count: int, size: int = 10, at: str = "2026-11-24T10:00:00Z", watch: str = "w") -> None:
    """So many entries of documents ``0`` and on, each with a body that does not shrink."""
    rows = [
        Entry(key(n), sample_event(doc_id=str(n), time=at, op="created", after={"x": noise(n, size)}))
        for n in range(count)
    ]
    for start in range(0, count, 500):
        store.commits.commit(watch, Commit(entries=rows[start : start + 500]))


def noise(n: int, size: int) -> str:
    """Text that hardly shrinks."""
    return random.Random(n).randbytes(size // 2).hex()


def park(store: SqlState, position: int, sink: str = "s", **more: object) -> Parked:
    """The row of the log at that position, as a dispatcher parks it."""
    (row,) = store.log.read(position - 1, 1)
    one = Parked(sink, position, 1, "no", row.document, "retry", 100.0, 200.0)
    return msgspec.structs.replace(one, **more)


def doc(store: SqlState, position: int) -> Doc:
    return store.log.read(position - 1, 1)[0].document


def positions(parked: object) -> list[int]:
    return [one.position for one in parked]  # type: ignore[attr-defined]


# --- the log


def test_a_page_of_the_log_is_bounded_by_bytes(store: SqlState) -> None:
    """As many rows as fit, one at least, however large it is."""
    fill(store, 10, size=1000)
    assert positions(store.log.read(0, 9, 3000)) == [1, 2]
    assert positions(store.log.read(2, 9, 1)) == [3]
    assert len(store.log.read(0, 100)) == 10


def test_documents_are_told_apart(store: SqlState) -> None:
    """The same key in the same watch is one document; in another it is another."""
    for watch in ("w", "v", "w"):
        store.commits.commit(watch, seen("a"))
    one, other, again = (row.document for row in store.log.read(0, 9))
    assert one == again
    assert one != other


def test_a_commit_returns_what_it_logged(store: SqlState) -> None:
    """With the positions that it has in the log, and the sink that a row is for."""
    store.commits.commit("w", seen("before"))
    rows = store.commits.commit("w", Commit(entries=[entry("a"), entry("own", sink="s"), entry("b")]))
    assert [(row.event.doc_id, row.position, row.sink) for row in rows] == [
        ("a", 2, None),
        ("own", 3, "s"),
        ("b", 4, None),
    ]
    assert [row.event.position for row in rows] == [2, 3, 4]
    assert [row.event.doc_id for row in store.log.read(0, 9)] == ["before", "a", "own", "b"]


def test_the_size_of_the_log(store: SqlState, tmp_path: Path) -> None:
    """What is counted is what lies there."""
    fill(store, 100, size=500)
    store.commits.commit("v", seen("a", "b"))
    store.retention.prune(NOW, LOG, {}, rows=30)
    database = sqlite3.connect(tmp_path / "state.db")
    assert database.execute("SELECT SUM(LENGTH(event)) FROM log").fetchone() == (store.log.size_bytes(),)
    database.close()


# --- cursors and parked events


def test_cursors(store: SqlState) -> None:
    """A sink never seen has none; a cursor never goes back; what is dropped adds up."""
    assert store.outbox.cursor("s") is None
    store.outbox.settle("s", Settlement(0))
    assert store.outbox.cursor("s") == 0
    store.outbox.settle("s", Settlement(6, dropped=2))
    store.outbox.settle("s", Settlement(5, dropped=1))
    assert store.outbox.cursor("s") == 6
    assert store.dead_letters.counts() == {"s": Counts(dropped=3)}


def test_what_is_parked(store: SqlState) -> None:
    """With its event, which outlives its row of the log; the latest word counts; what is taken is gone."""
    store.commits.commit("w", seen("a", "b", "c"))
    store.outbox.settle("s", Settlement(3, [park(store, 1), park(store, 2, state="waiting", attempts=0)]))
    store.outbox.settle("s", Settlement(3, [park(store, 1, attempts=2, error="still no", next_try=300.0, since=999.0)]))
    assert store.retention.prune(NOW, LOG, {"s": ["w"]}).rows == 3
    first, second = store.outbox.parked("s")
    assert (first.attempts, first.error, first.state, first.since, first.next_try) == (2, "still no", "retry", 100, 300)
    assert second.state == "waiting"
    assert first.event is None
    assert [row.event.doc_id for row in store.outbox.parked_events("s", [1, 2])] == ["a", "b"]
    assert [row.event.position for row in store.outbox.parked_events("s", [1, 2])] == [1, 2]
    assert [row.document for row in store.outbox.parked_events("s", [1, 2])] == [first.document, second.document]
    assert positions(store.outbox.parked_events("s", [1, 2], 1)) == [1]
    assert store.outbox.parked("other") == []
    store.outbox.settle("s", Settlement(3, taken=[1]))
    assert positions(store.outbox.parked("s")) == [2]
    assert store.dead_letters.counts() == {"s": Counts(parked=1)}


def test_what_is_parked_may_bring_its_own_event(store: SqlState) -> None:
    """What was merged from several is kept as it was merged."""
    store.commits.commit("w", seen("a"))
    merged = sample_event(doc_id="a", id="merged", position=1)
    store.outbox.settle("s", Settlement(1, [park(store, 1, event=merged)]))
    (row,) = store.outbox.parked_events("s", [1])
    assert row.event.id == "merged"


def test_a_step_is_settled_whole_or_not_at_all(store: SqlState) -> None:
    """A fault in the last of it takes all of it back."""
    store.commits.commit("w", seen("a", "b"))
    with pytest.raises(StateError):
        store.outbox.settle("s", Settlement(2, [park(store, 1), park(store, 2, error=None)]))
    assert store.outbox.cursor("s") is None
    assert store.outbox.parked("s") == []


def test_dead_events_by_page(store: SqlState) -> None:
    """Of some sinks, in order, with their events; those that are still tried only when asked for."""
    store.commits.commit("w", seen(*range(6)))
    for sink in ("a", "b"):
        parked = [park(store, n, sink, state="dead") for n in (1, 3, 5)] + [park(store, 2, sink)]
        store.outbox.settle(sink, Settlement(6, parked))
    first = store.dead_letters.page(["a", "b"], limit=4)
    assert [(one.sink, one.position) for one in first] == [("a", 1), ("a", 3), ("a", 5), ("b", 1)]
    assert [one.event.doc_id for one in first if one.event] == ["0", "2", "4", "0"]
    rest = store.dead_letters.page(["a", "b"], (first[-1].sink, first[-1].position), limit=4)
    assert [(one.sink, one.position) for one in rest] == [("b", 3), ("b", 5)]
    assert positions(store.dead_letters.page(["a"], live=True)) == [1, 2, 3, 5]
    assert store.dead_letters.page(["c"]) == []
    one = store.dead_letters.get("b", 3)
    assert one is not None
    assert one.event is not None
    assert store.dead_letters.get("b", 4) is None


def test_redriving(store: SqlState) -> None:
    """Dead ones are marked, one or all; those behind a newer delivered one only by force; live ones never."""
    store.commits.commit("w", seen("a", "b", "c", "a"))
    store.outbox.settle(
        "s", Settlement(4, [park(store, 1, state="dead"), park(store, 2, state="dead"), park(store, 3)])
    )
    store.outbox.settle("s", Settlement(4, newer={doc(store, 4): 4}))
    assert [one.newer for one in store.outbox.parked("s")] == [4, None, None]
    assert store.dead_letters.redrive(["s"], 1) == []
    assert store.dead_letters.redrive(["s"], 3) == []
    assert positions(store.dead_letters.redrive(["s", "t"])) == [2]
    assert positions(store.outbox.redriven("s")) == [2]
    assert positions(store.dead_letters.redrive(["s"], 1, force=True)) == [1]
    assert [one.state for one in store.outbox.redriven("s")] == ["forced", "redriven"]
    assert store.dead_letters.counts()["s"] == Counts(1, 2, 0, 200.0, "no")


def test_a_newer_one_is_noted_for_its_document_alone(store: SqlState) -> None:
    """Only where it is later, of the same document, and at that sink."""
    store.commits.commit("w", seen("a", "b", "a", "a"))
    for sink in ("s", "t"):
        store.outbox.settle(sink, Settlement(4, [park(store, n, sink, state="dead") for n in (1, 2, 4)]))
    store.outbox.settle("s", Settlement(4, newer={doc(store, 3): 3}))
    assert [one.newer for one in store.outbox.parked("s")] == [3, None, None]
    assert [one.newer for one in store.outbox.parked("t")] == [None, None, None]


def test_discarding(store: SqlState) -> None:
    """Dead ones only, one or all; each counts as dropped."""
    store.commits.commit("w", seen(*range(5)))
    store.outbox.settle("s", Settlement(5, [park(store, n, state="dead") for n in (1, 2, 3)] + [park(store, 4)]))
    assert store.dead_letters.discard(["s"], 4) == 0
    assert store.dead_letters.discard(["s"], 2) == 1
    assert store.dead_letters.discard(["s", "t"]) == 2
    assert positions(store.outbox.parked("s")) == [4]
    assert store.dead_letters.counts()["s"] == Counts(1, 0, 3, 200.0, "no")
    assert store.outbox.cursor("s") == 5


def test_too_many_dead_events(store: SqlState) -> None:
    """The oldest beyond the bound are dropped and counted; those that are still tried are not."""
    store.commits.commit("w", seen(*range(8)))
    store.outbox.settle("s", Settlement(8, [park(store, 1), *(park(store, n, state="dead") for n in range(2, 9))]))
    assert store.dead_letters.trim("s", 7) == 0
    assert store.dead_letters.trim("s", 3) == 4
    assert positions(store.outbox.parked("s")) == [1, 6, 7, 8]
    assert store.dead_letters.counts()["s"] == Counts(1, 3, 4, 200.0, "no")


def test_the_parked_event_that_is_tried_next(store: SqlState) -> None:
    """Its time and its error are what `status` tells; those that wait behind it do not count."""
    store.commits.commit("w", seen(*range(4)))
    tries = [park(store, n, error=f"e{n}", next_try=100.0 - n) for n in (1, 2)]
    store.outbox.settle("s", Settlement(4, [*tries, park(store, 3, state="waiting", next_try=1.0)]))
    assert store.dead_letters.counts()["s"] == Counts(3, 0, 0, 98.0, "e2")


# --- the bounds of the log


def test_old_entries_go_first_and_no_more_than_a_few_at_a_time(store: SqlState) -> None:
    """Those before the time, so many a step; the first that is left says where the log begins."""
    fill(store, 25, at="2026-11-20T10:00:00Z")
    fill(store, 5, at="2099-11-24T10:00:00Z")
    assert store.log.first() == 1
    steps = [store.retention.prune(NOW, LOG, {}, rows=10) for _ in range(4)]
    assert [(step.rows, step.more) for step in steps] == [(10, True), (10, True), (5, False), (0, False)]
    assert (store.log.first(), store.log.head()) == (26, 30)


def test_an_empty_log_has_no_first(store: SqlState) -> None:
    """All may go; positions go on where they were."""
    assert store.log.first() is None
    fill(store, 3)
    store.retention.prune(NOW, LOG, {})
    assert (store.log.first(), store.log.head(), store.log.count(0), store.log.size_bytes()) == (None, 3, 0, 0)
    fill(store, 1)
    assert (store.log.first(), store.log.count(0)) == (4, 1)


def test_a_log_that_is_too_large(store: SqlState) -> None:
    """The oldest go until the rest fits."""
    fill(store, 100, size=2000, at="2099-11-24T10:00:00Z")
    whole = store.log.size_bytes()
    store.retention.prune(0, whole, {})
    assert store.log.first() == 1
    store.retention.prune(0, whole // 2, {})
    assert 0.45 * whole < store.log.size_bytes() <= whole // 2
    assert 45 < (store.log.first() or 0) < 55


def test_what_a_slow_sink_loses_is_counted(store: SqlState) -> None:
    """Entries that it had not had, of its watches, and not those of other sinks; its cursor goes on behind them."""
    fill(store, 10)
    fill(store, 10, watch="v")
    store.commits.commit("w", Commit(entries=[entry("own", sink="slow"), entry("other", sink="quick")]))
    for sink, at in (("slow", 4), ("quick", 22), ("gone", 0)):
        store.outbox.settle(sink, Settlement(at))
    pruned = store.retention.prune(NOW, LOG, {"slow": ["w"], "quick": ["w", "v"], "new": ["w"]})
    assert (pruned.rows, pruned.dropped) == (22, {"slow": 7})
    assert store.dead_letters.counts()["slow"].dropped == 7
    assert (store.outbox.cursor("slow"), store.outbox.cursor("quick"), store.outbox.cursor("new")) == (22, 22, None)


def test_parked_events_are_not_lost_with_the_log(store: SqlState) -> None:
    """Neither those behind the cursor nor those before it are counted as lost: they are kept beside."""
    fill(store, 5)
    store.outbox.settle("s", Settlement(1, [park(store, 1), park(store, 3), park(store, 4, state="dead")]))
    assert store.retention.prune(NOW, LOG, {"s": ["w"]}).dropped == {"s": 2}
    assert [row.position for row in store.outbox.parked_events("s", [1, 3, 4])] == [1, 3, 4]


def test_a_cursor_that_a_step_settles_too_late(store: SqlState) -> None:
    """A sink was sending while its entries were dropped: its own, older word moves nothing back, and parks nothing."""
    fill(store, 5)
    store.outbox.settle("s", Settlement(0))
    late = park(store, 2)
    store.retention.prune(NOW, LOG, {"s": ["w"]})
    store.outbox.settle("s", Settlement(3, [late]))
    assert store.outbox.cursor("s") == 5
    assert store.outbox.parked("s") == []


def test_space_is_given_back(store: SqlState, tmp_path: Path) -> None:
    """What is pruned shrinks the file, a little a step, to the reserve; and the reserve is used before it grows."""
    file = tmp_path / "state.db"
    fill(store, 4000, size=8000, at="2026-11-20T10:00:00Z")
    checkpointed(file)
    before = file.stat().st_size
    assert before > 18_000_000
    steps = 0
    while store.retention.prune(NOW, LOG, {}, rows=500).more:
        steps += 1
    for _ in range(5):
        fill(store, 1, at="2026-11-20T10:00:00Z")
        store.retention.prune(NOW, LOG, {})
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
