"""Sinks with ``persist = false``: from the commit to the target, once, within bounds that are counted."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from esfeed.cli.deliveries import delivering
from esfeed.config.load import build
from esfeed.delivery import memory_dispatcher as module
from esfeed.delivery.memory_dispatcher import MemoryDispatcher
from esfeed.delivery.options import DeliveryOptions
from esfeed.delivery.target import Target
from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Event
from esfeed.ports import OK, Commit, LogRow, Outcome, rejected, retry
from esfeed.routing.router import Route, Router, compile_where
from esfeed.runtime.factory import App
from esfeed.testing.events import sample_event
from tests.delivery.fakes import NAME, FakeClock, FakeSink, bad, once
from tests.store.test_sql import entry


class Bench:
    """A straight sink over fakes."""

    def __init__(self, sink: FakeSink | None = None, where: str | None = None, batch: int = 3, **options: Any) -> None:
        self.sink, self.clock = sink or FakeSink(), FakeClock()
        routes = [Route(0, frozenset([NAME]), frozenset(), compile_where(where))] if where else []
        router = Router(routes, [NAME], ["w"])
        clock: Any = self.clock
        self.steps = MemoryDispatcher(
            NAME, Target(NAME, self.sink), router, DeliveryOptions(batch=batch, **options), clock, lambda: 0.0
        )
        self.count = 0
        self.dropped = 0

    def hear(self, *docs: str) -> None:
        rows = []
        for doc in docs:
            self.count += 1
            stamp = self.clock.stamp()
            event = sample_event(position=self.count, doc_id=doc, watch="w", time=stamp)
            rows.append(LogRow(self.count, event, None))
        self.steps.hear(rows)

    def run(self, seconds: float = 0.0) -> None:
        until = self.clock.passed + seconds
        while True:
            told = self.steps.run_once()
            self.dropped += told.dropped
            if told.idle or (told.wait and self.clock.passed + told.wait > until):
                self.clock.passed = max(self.clock.passed, until)
                return
            self.clock.passed += told.wait or 0.0


def test_all_is_sent_in_order() -> None:
    """Batch by batch, routed."""
    bench = Bench(where="id != 'c'")
    bench.hear(*"abcde")
    bench.run()
    assert bench.sink.sends == [[1, 2, 4], [5]]
    assert bench.dropped == 0


def test_what_is_not_taken_is_dropped() -> None:
    """Failed or rejected: it is counted, not tried again; what was never tried is."""
    sink = FakeSink(once(p1=rejected("no"), p3=retry("busy")), one_fault=True)
    bench = Bench(sink, batch=10)
    bench.hear(*"abcde")
    bench.run(5)
    assert bench.sink.positions == [2, 4, 5]
    assert bench.dropped == 2


def test_a_target_that_is_down() -> None:
    """What was not tried waits for it in memory, with growing pauses; as much as fits, the newest."""

    class Down(FakeSink):
        def open(self) -> None:
            super().open()
            if bench.clock.passed < 600:
                raise Retryable("refused")

    bench = Bench(Down())
    bench.hear("a")
    bench.run(599)
    assert len(bench.sink.calls) < 40
    bench.run(70)
    assert bench.sink.positions == [1]


def test_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """By count and by bytes: the oldest go, and are counted."""
    monkeypatch.setattr(module, "MAX_EVENTS", 5)
    bench = Bench(batch=10)
    bench.hear(*"abcdefgh")
    assert bench.steps.backlog == 5
    bench.run()
    assert (bench.sink.positions, bench.dropped) == ([4, 5, 6, 7, 8], 3)
    monkeypatch.setattr(module, "MAX_BYTES", 1200)
    bench.hear(*"abcd")
    bench.run()
    assert (bench.sink.positions[5:], bench.dropped) == ([11, 12], 5)


def test_the_rest_of_the_terms() -> None:
    """`ttl`, `batch_bytes` and `linger` hold here, too."""
    bench = Bench(ttl=60.0, batch_bytes=1000, linger=2.0, batch=3)
    bench.hear("old")
    bench.clock.passed += 61
    bench.hear("a", "b")
    bench.run()
    assert bench.sink.sends == [[2, 3]]
    assert bench.dropped == 1
    bench.hear("c", "d", "e")
    bench.run()
    assert bench.sink.sends[1:] == [[4, 5]]
    bench.run(2)
    assert bench.sink.sends[2:] == [[6]]


def test_an_expression_without_an_answer() -> None:
    """That event is dropped and counted; others go."""
    bench = Bench(where="id == 'b' || int(id) == 1")
    bench.hear("a", "b")
    bench.run()
    assert (bench.sink.positions, bench.dropped) == ([2], 1)


def test_a_target_that_asks_for_time_or_raises() -> None:
    """It is left alone as long as it asked."""
    bench = Bench(FakeSink(once(p1=retry("429", 30.0), p4=Retryable("gone"))), batch=1)
    bench.hear("a", "b")
    bench.run(29)
    assert bench.sink.sends == [[1]]
    bench.run(2)
    assert bench.sink.positions == [2]
    bench.hear("c", "d", "e")
    bench.run(10)
    assert (bench.sink.positions, bench.dropped) == ([2, 3, 5], 2)
    assert bench.sink.calls == ["open", "close", "open"]


def test_a_wrong_setting_or_answer() -> None:
    """It is named with the sink."""

    class Shut(FakeSink):
        def open(self) -> None:
            raise ConfigError("url", "x", "no")

    bench = Bench(Shut())
    bench.hear("a")
    with pytest.raises(ConfigError, match=r"sinks\.target\.url"):
        bench.steps.run_once()

    class Odd(FakeSink):
        def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
            return [OK] * 3

    bench = Bench(Odd())
    bench.hear("a")
    with pytest.raises(ConfigError, match="answered 3 of 1"):
        bench.steps.run_once()


def test_threads_commit_while_it_sends() -> None:
    """Nothing is lost or doubled, and every document is in order."""
    bench = Bench(FakeSink(bad("none")), batch=7)
    threads = [
        threading.Thread(
            target=lambda name=name: [
                bench.steps.hear([LogRow(n, sample_event(position=n, doc_id=name, watch="w"), None)])
                for n in range(1, 301)
            ]
        )
        for name in "abc"
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) or bench.steps.backlog:
        bench.steps.run_once()
    for name in "abc":
        assert [event.position for event in bench.sink.got if event.doc_id == name] == list(range(1, 301))


def test_from_commit_to_file(tmp_path: Path) -> None:
    """An app serves it while it commits, without a cursor or anything parked; a new process begins with nothing."""
    settings: dict[str, Any] = {
        "state": f"sqlite:///{tmp_path}/state.db",
        "clusters": {"main": {"hosts": ["http://127.0.0.1:1"]}},
        "watches": {"w": {"index": "x"}},
        "sinks": {
            "light": {"type": "file", "path": f"{tmp_path}/light.jsonl", "persist": False},
            "kept": {"type": "file", "path": f"{tmp_path}/kept.jsonl"},
        },
    }
    for begin in (0, 50):
        with App(build(settings), "poll") as app:
            assert app.backlog("light") == 0
            with delivering(app, app.dispatchers if begin else ["light"], 30.0) as stuck:
                for n in range(begin, begin + 50):
                    batch = Commit(entries=[entry(n, watch="w", id=f"e{n}")])
                    app.notifier.publish(app.store.commits.commit("w", batch))
            assert stuck == []
            assert app.store.outbox.cursor("light") is None
            assert app.store.dead_letters.counts().keys() == {"kept"}
    for name in ("light", "kept"):
        lines = (tmp_path / f"{name}.jsonl").read_text().splitlines()
        assert [line.count(f'"id":"e{n}"') for n, line in enumerate(lines)] == [1] * 100, name
        assert all(f'"position":{n + 1}' in line for n, line in enumerate(lines))
