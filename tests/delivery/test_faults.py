"""Delivery over the real store and real targets while things die: kill -9, a full disk, sinks that hang or fail."""

from __future__ import annotations

import json
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from esfeed.clock import SystemClock
from esfeed.delivery.dispatcher import Dispatcher
from esfeed.delivery.target import Target
from esfeed.delivery.terms import Terms
from esfeed.errors import StateError
from esfeed.event import Event
from esfeed.ports import OK, Commit, Entry, Outcome, Settlement, rejected
from esfeed.routing import Router
from esfeed.sinks.file import FileSettings, FileSink
from esfeed.sinks.webhook import WebhookSettings, WebhookSink
from esfeed.store.sql import SqlStore
from esfeed.testing.events import sample_event
from tests.delivery.fakes import FakeSink, bad
from tests.store.test_sql import ROOT, key
from tests.support.hook import Hook

SINKS = ("hook", "file", "merged")


def dispatchers(store: SqlStore, url: str, folder: Path) -> list[Dispatcher]:
    """A webhook, a file, and a file of merged events; all from the beginning of the log."""
    router = Router([], SINKS, ["w"])
    hook = WebhookSink(WebhookSettings.model_validate({"type": "webhook", "url": url, "allow_private": True}))
    sinks: list[Any] = [hook]
    for name in SINKS[1:]:
        raw = {"type": "file", "path": str(folder / f"{name}.jsonl"), "fsync": False}
        sinks.append(FileSink(FileSettings.model_validate(raw)))
    made = []
    for name, sink in zip(SINKS, sinks, strict=True):
        terms = Terms(batch=5, attempts=10_000, coalesce=0.3 if name == "merged" else 0.0)
        made.append(Dispatcher(name, Target(name, sink), router, store, terms, SystemClock(), lambda: 0.999))
        if store.cursor(name) is None:
            store.settle(name, Settlement(0))
    return made


def deliver_for_ever(state: str, url: str, folder: str) -> None:
    """Commits and delivers, step by step, until killed; says so once a round."""
    store = SqlStore(state)
    steps = dispatchers(store, url, Path(folder))
    clock = SystemClock()
    while True:
        n = store.head()
        entries = [
            Entry(
                key(f"d{doc % 9}"),
                sample_event(
                    doc_id=f"d{doc % 9}",
                    watch="w",
                    id=f"id-{doc}",
                    time=clock.now().isoformat().replace("+00:00", "Z"),
                    before={"n": doc - 9},
                    after={"n": doc},
                    changed=("n",),
                ),
            )
            for doc in range(n + 1, n + 4)
        ]
        store.commit("w", Commit(entries=entries))
        for one in steps * 2:
            one.run_once()
        print(n, flush=True)


def test_kill_9_between_claim_send_and_settle(tmp_path: Path) -> None:
    """30 times at any moment, with documents that fail half of the time: nothing is lost, order is kept, ids repeat."""
    chosen = random.Random()
    state = f"sqlite:///{tmp_path}/state.db"

    def word(event: dict[str, Any]) -> int | None:
        return 500 if event["data"]["id"] in ("d3", "d4") and chosen.random() < 0.5 else None

    with Hook(word) as hook:
        code = "import sys; from tests.delivery.test_faults import deliver_for_ever; deliver_for_ever(*sys.argv[1:])"
        for _ in range(30):
            command = [sys.executable, "-c", code, state, hook.url, str(tmp_path)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
                assert process.stdout
                for _ in range(chosen.randrange(1, 12)):
                    assert process.stdout.readline(), "it ended by itself"
                time.sleep(chosen.random() / 20)
                process.send_signal(signal.SIGKILL)
        hook.word = lambda event: None
        store = SqlStore(state)
        for one in dispatchers(store, hook.url, tmp_path):
            finish(one)
        got = {"hook": hook.got}
    for name in SINKS[1:]:
        got[name] = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
    head = store.head()
    assert head > 60
    assert {name: store.cursor(name) for name in SINKS} == dict.fromkeys(SINKS, head)
    assert all(store.parked(name) == [] for name in SINKS)
    store.close()
    for name in ("hook", "file"):
        first = {event["id"]: event["data"]["position"] for event in reversed(got[name])}
        assert sorted(first.values()) == list(range(1, head + 1)), name
        assert all(first[event["id"]] == event["data"]["position"] for event in got[name])
    for name, events in got.items():
        seen: dict[str, int] = {}
        states: dict[str, int] = {}
        for event in events:
            doc = event["data"]["id"]
            if event["id"] not in seen:
                seen[event["id"]] = 1
                assert states.get(doc, -99) < event["data"]["after"]["n"], f"{name}: {doc} went back"
                states[doc] = event["data"]["after"]["n"]
        assert states == {f"d{n % 9}": n for n in range(head - 8, head + 1)}, name
    assert len(got["merged"]) < len(got["file"])


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
def store(tmp_path: Path) -> Iterator[SqlStore]:
    store = SqlStore(f"sqlite:///{tmp_path}/state.db")
    yield store
    store.close()


def fill(store: SqlStore, docs: Sequence[str]) -> None:
    now = SystemClock().now().isoformat().replace("+00:00", "Z")
    entries = [Entry(key(doc), sample_event(doc_id=doc, watch="w", time=now)) for doc in docs]
    store.commit("w", Commit(entries=entries))


def dispatcher(store: SqlStore, name: str, sink: Any, **terms: Any) -> Dispatcher:
    if store.cursor(name) is None:
        store.settle(name, Settlement(0))
    return Dispatcher(name, Target(name, sink), Router([], [name], ["w"]), store, Terms(**terms), SystemClock())


def test_a_full_disk_under_the_state(store: SqlStore) -> None:
    """Delivery goes on failing with the reason, sends nothing twice, and settles all once there is room again."""
    limit = 100_000

    @sa.event.listens_for(store._engine, "checkout")
    def bound(connection: Any, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {limit}")

    fill(store, [f"d{n}" for n in range(300)])
    sink = FakeSink(lambda event: rejected("no") if event.position % 3 == 0 else None)
    steps = dispatcher(store, "s", sink, batch=200)
    limit = 1
    # What is parked needs a page more than there is.
    large = sample_event(doc_id="d0", watch="w", after={"x": random.randbytes(50_000).hex()})
    with pytest.raises(StateError, match="full"):
        store.commit("w", Commit(entries=[Entry(key("d0"), large)]))
    for _ in range(5):
        with pytest.raises(StateError, match="full"):
            steps.run_once()
    assert all(position % 3 == 0 for sent in sink.sends[1:] for position in sent)
    limit = 100_000
    finish(steps)
    assert Counter(sink.positions) == Counter(n for n in range(1, 301) if n % 3)
    assert [one.position for one in store.parked("s")] == list(range(3, 301, 3))
    assert store.cursor("s") == 300


def test_restart_with_parked_documents(store: SqlStore) -> None:
    """Over the real store: who waits is known to the next process, and the log may have been pruned meanwhile."""
    sink = FakeSink(bad("p"))
    fill(store, ["a", "p", "b", "p"])
    dispatcher(store, "s", sink).run_once()
    assert sink.positions == [1, 3]
    store.prune(int(time.time() * 1000) + 60_000, 1 << 40, {"s": ["w"]})
    assert store.first() is None
    fill(store, ["p", "c"])
    again = dispatcher(store, "s", sink)
    sink.word = lambda event: None
    finish(again)
    assert sink.positions == [1, 3, 6, 2, 4, 5]
    assert store.counts()["s"].dropped == 0


def test_pruning_beside_a_slow_sink(store: SqlStore) -> None:
    """Rows go while it sends; each is delivered or counted as dropped, and the sink ends up at the head."""

    class Slow(FakeSink):
        def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
            time.sleep(0.01)
            self.got += events
            return [OK] * len(events)

    sink = Slow()
    steps = dispatcher(store, "s", sink, batch=10)
    stop = threading.Event()

    def prune() -> None:
        while not stop.wait(0.02):
            store.prune(0, store.log_bytes() * 3 // 4, {"s": ["w"]}, rows=25)

    fill(store, [f"d{n}" for n in range(1500)])
    thread = threading.Thread(target=prune)
    thread.start()
    finish(steps)
    stop.set()
    thread.join()
    assert store.cursor("s") == 1500
    dropped = store.counts()["s"].dropped
    assert 0 < dropped < 1500
    assert len(set(sink.positions)) == len(sink.positions)
    # A batch that was being sent while its rows were dropped counts as both.
    assert 1500 <= len(sink.got) + dropped <= 1500 + 10 * 60


# --- sinks beside one another


def test_ten_sinks_of_which_one_hangs_and_one_fails(store: SqlStore) -> None:
    """The other eight deliver as if those two were not there: everything, and no later than without them."""
    alone = delays(store, [FakeSink() for _ in range(8)])
    hanging = threading.Event()

    class Hanging(FakeSink):
        def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
            hanging.wait(30)
            return [OK] * len(events)

    good = [FakeSink() for _ in range(8)]
    beside = delays(store, good, Hanging(), FakeSink(lambda event: Outcome("retry", "500")))
    hanging.set()
    assert all(len(sink.got) == 200 for sink in good)
    # Generous, as tests share a machine: a sink that was held would wait for half a minute.
    assert statistics.median(beside) < 3 * statistics.median(alone) + 1.0
    assert max(beside) < 20.0


def delays(store: SqlStore, sinks: Sequence[FakeSink], *others: FakeSink) -> list[float]:
    """Seconds from the commit of each of 200 events to each of ``sinks``."""
    begin, over = store.head(), threading.Event()
    committed: dict[int, float] = {}
    found: list[float] = []

    def serve(name: str, sink: FakeSink) -> None:
        steps = dispatcher(store, name, sink)
        while not over.is_set():
            told = steps.run_once()
            now = time.monotonic()
            if sink in sinks and told.sent:
                found.extend(now - committed[event.position] for event in sink.got[-told.sent :])
            if told.idle:
                store.wait(0.1)
            else:
                over.wait(told.wait or 0.0)

    threads = []
    for number, sink in enumerate([*sinks, *others]):
        name = f"s{begin}-{number}"
        store.settle(name, Settlement(begin))
        threads.append(threading.Thread(target=serve, args=[name, sink], daemon=True))
        threads[-1].start()
    for n in range(20):
        committed |= dict.fromkeys(range(begin + n * 10 + 1, begin + n * 10 + 11), time.monotonic())
        fill(store, [f"d{n}-{doc}" for doc in range(10)])
        time.sleep(0.03)
    until = time.monotonic() + 30
    while any(len(sink.got) < 200 for sink in sinks) and time.monotonic() < until:
        time.sleep(0.02)
    over.set()
    return found
