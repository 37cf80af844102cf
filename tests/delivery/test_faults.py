"""Delivery over the real store while things fail: a full disk, a restart, sinks that hang (kill -9: test_kills.py)."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from esfeed.delivery.dispatcher import Dispatcher
from esfeed.delivery.options import DeliveryOptions
from esfeed.delivery.target import Target
from esfeed.errors import StateError
from esfeed.model.event import Event
from esfeed.ports import Clock, Commit, Entry, Outcome, Settlement, rejected
from esfeed.routing.router import Router
from esfeed.runtime.clock import SystemClock
from esfeed.store.state import SqlState
from esfeed.testing.events import sample_event
from tests.delivery.fakes import FakeClock, FakeSink, bad
from tests.store.test_sql import key
from tests.support.clients import eventually

_PRUNES, _ROWS = 20, 25


def finish(steps: Dispatcher, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        told = steps.run_once()
        if told.idle and told.wait is None:
            return
        time.sleep(min(told.wait or 0.0, 0.2))
    raise AssertionError(f"{steps.name} has not come to an end: {told}")


# --- the state


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlState]:
    store = SqlState(f"sqlite:///{tmp_path}/state.db")
    yield store
    store.close()


def fill(store: SqlState, docs: Sequence[str]) -> None:
    now = SystemClock().now().isoformat().replace("+00:00", "Z")
    entries = [Entry(key(doc), sample_event(doc_id=doc, watch="w", time=now)) for doc in docs]
    store.commits.commit("w", Commit(entries=entries))


def dispatcher(store: SqlState, name: str, sink: Any, clock: Clock | None = None, **options: Any) -> Dispatcher:
    if store.outbox.cursor(name) is None:
        store.outbox.settle(name, Settlement(0))
    return Dispatcher(
        name,
        Target(name, sink),
        Router([], [name], ["w"]),
        store.log,
        store.outbox,
        DeliveryOptions(**options),
        clock or SystemClock(),
    )


def test_a_full_disk_under_the_state(store: SqlState) -> None:
    """Delivery goes on failing with the reason, sends nothing twice, and settles all once there is room again."""
    limit = 100_000

    @sa.event.listens_for(store.sessions.engine, "checkout")
    def bound(connection: Any, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {limit}")

    fill(store, [f"d{n}" for n in range(300)])
    sink = FakeSink(lambda event: rejected("no") if event.position % 3 == 0 else None)
    steps = dispatcher(store, "s", sink, batch=200)
    limit = 1
    # What is parked needs a page more than there is.
    large = sample_event(doc_id="d0", watch="w", after={"x": random.randbytes(50_000).hex()})
    with pytest.raises(StateError, match="full"):
        store.commits.commit("w", Commit(entries=[Entry(key("d0"), large)]))
    for _ in range(5):
        with pytest.raises(StateError, match="full"):
            steps.run_once()
    assert all(position % 3 == 0 for sent in sink.sends[1:] for position in sent)
    limit = 100_000
    finish(steps)
    assert Counter(sink.positions) == Counter(n for n in range(1, 301) if n % 3)
    assert [one.position for one in store.outbox.parked("s")] == list(range(3, 301, 3))
    assert store.outbox.cursor("s") == 300


def test_restart_with_parked_documents(store: SqlState) -> None:
    """Over the real store: who waits is known to the next process, and the log may have been pruned meanwhile."""
    sink, clock = FakeSink(bad("p")), FakeClock()
    fill(store, ["a", "p", "b", "p"])
    dispatcher(store, "s", sink, clock).run_once()
    assert sink.positions == [1, 3]
    store.retention.prune(int(time.time() * 1000) + 60_000, 1 << 40, {"s": ["w"]})
    assert store.log.first() is None
    fill(store, ["p", "c"])
    again = dispatcher(store, "s", sink, clock)
    sink.word = lambda event: None
    again.run_once()
    assert sink.positions == [1, 3, 6]
    clock.passed += 3600
    finish(again)
    assert sink.positions == [1, 3, 6, 2, 4, 5]
    assert store.dead_letters.counts()["s"].dropped == 0


def test_pruning_beside_a_slow_sink(store: SqlState) -> None:
    """Rows go while it sends; each is delivered or counted as dropped, and the sink ends up at the head."""
    turns, pruned = threading.Semaphore(0), threading.Event()

    class Slow(FakeSink):
        """Each fifth batch lets rows be deleted beside it; the first one waits until they are gone."""

        def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
            if len(self.sends) % 5 == 0:
                turns.release()
            outcomes = super().send(events)
            assert pruned.wait(60)
            return outcomes

    def prune() -> None:
        for _ in range(_PRUNES):
            turns.acquire()
            store.retention.prune(0, store.log.size_bytes() * 3 // 4, {"s": ["w"]}, rows=_ROWS)
            pruned.set()

    sink = Slow()
    steps = dispatcher(store, "s", sink, batch=10)
    fill(store, [f"d{n}" for n in range(1500)])
    thread = threading.Thread(target=prune, daemon=True)
    thread.start()
    finish(steps)
    turns.release(_PRUNES)
    thread.join()
    assert store.outbox.cursor("s") == 1500
    dropped = store.dead_letters.counts()["s"].dropped
    assert _ROWS - 10 <= dropped <= _ROWS * _PRUNES
    assert len(set(sink.positions)) == len(sink.positions)
    # A batch that was being sent while its rows were dropped counts as both.
    assert 1500 <= len(sink.got) + dropped <= 1500 + 10 * _PRUNES


# --- sinks beside one another


def test_ten_sinks_of_which_one_hangs_and_one_fails(store: SqlState) -> None:
    """The other eight deliver as if those two were not there: each batch whole, and before the next one is there."""
    released = threading.Event()

    class Hanging(FakeSink):
        def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
            outcomes = super().send(events)
            released.wait()
            return outcomes

    good, hanging, failing = [FakeSink() for _ in range(8)], Hanging(), FakeSink(lambda event: Outcome("retry", "500"))
    with served(store, [*good, hanging, failing]):
        for n in range(20):
            fill(store, [f"d{n}-{doc}" for doc in range(10)])
            eventually(lambda end=10 * (n + 1): all(len(sink.got) == end for sink in good), 60.0, 0.01)
            eventually(lambda: hanging.sends and failing.sends, 60.0)
        assert len(hanging.sends) == 1, "it hung all the while"
        released.set()
    assert [sink.sends for sink in good] == [[list(range(n, n + 10)) for n in range(1, 201, 10)]] * 8


@contextmanager
def served(store: SqlState, sinks: Sequence[FakeSink]) -> Iterator[None]:
    """Delivers to each of ``sinks`` in a thread of its own, from now on, until the context ends."""
    over = threading.Event()

    def serve(steps: Dispatcher) -> None:
        while not over.is_set():
            told = steps.run_once()
            over.wait(0.01 if told.idle else min(told.wait or 0.0, 0.2))

    steps = [dispatcher(store, f"s{number}", sink) for number, sink in enumerate(sinks)]
    threads = [threading.Thread(target=serve, args=[each], daemon=True) for each in steps]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
    for thread in threads:
        thread.join()
