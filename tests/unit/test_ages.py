"""Ages of log entries: by how long ago they were logged, whatever the clock was set to since."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from esfeed.config.load import parse
from esfeed.model.event import Key
from esfeed.observe.ports import Observer
from esfeed.ports import Commit, Entry, Settlement
from esfeed.runtime import ages, clock
from esfeed.runtime.ages import Ages, ClockSteps
from esfeed.runtime.factory import App
from esfeed.runtime.status import report, waiting_since
from esfeed.testing.events import sample_event
from tests.delivery.fakes import FakeClock
from tests.unit.test_clock import HOUR, SETTINGS, SetClock

DAY = 24 * HOUR


@pytest.fixture
def time_of_day(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    boot(monkeypatch, "one")
    return SetClock()


def boot(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for module in (ages, clock):
        monkeypatch.setattr(module, "boot_id", lambda: name)


@contextmanager
def process(folder: Path, time_of_day: FakeClock) -> Iterator[App]:
    """One of those that share a state: the feed, or a command beside it."""
    with App(parse(SETTINGS.format(folder=folder), folder / "esfeed.toml"), "run", clock=time_of_day) as app:
        yield app


def logs(app: App, doc: str) -> None:
    """The feed logs an event now."""
    time = app.clock.now().isoformat(timespec="milliseconds")
    event = sample_event(doc_id=doc, watch="often", time=time)
    app.store.commits.commit("often", Commit(entries=[Entry(Key("_doc", doc), event)]))


@pytest.mark.parametrize("step", [-HOUR, -60.0, 60.0, HOUR])
def test_the_lag_of_a_sink_ignores_a_clock_that_is_set(tmp_path: Path, time_of_day: SetClock, step: float) -> None:
    """Before the feed notices it, and after; as the feed tells it, and another process; and for entries after it."""
    with process(tmp_path, time_of_day) as feed, process(tmp_path, time_of_day) as other:
        feed.store.outbox.settle("audit", Settlement(0))
        feed.runner.begin()
        time_of_day.passed += 10
        logs(feed, "before")
        time_of_day.passed += 5
        time_of_day.set_by += step
        assert waiting_since(feed, "audit") == pytest.approx(5)
        assert waiting_since(other, "audit") == pytest.approx(5)
        feed.ages.look()
        time_of_day.passed += 2
        logs(feed, "after")
        time_of_day.passed += 1
        assert waiting_since(feed, "audit") == pytest.approx(8)
        assert waiting_since(other, "audit") == pytest.approx(8)
        assert report(other)["sinks"]["audit"] == {
            "state": "never used",
            "type": "file",
            "parked": 0,
            "dead": 0,
            "dropped": 0,
            "cursor": 0,
            "backlog": 2,
            "lag_seconds": 8.0,
        }
        feed.store.outbox.settle("audit", Settlement(1))
        assert waiting_since(other, "audit") == pytest.approx(1)
        time_of_day.set_by = 0.0
        feed.ages.look()
        assert waiting_since(other, "audit") == pytest.approx(1)


def test_a_clock_that_is_set_while_no_feed_runs(tmp_path: Path, time_of_day: SetClock) -> None:
    """The next feed notices it at its start."""
    with process(tmp_path, time_of_day) as feed:
        feed.store.outbox.settle("audit", Settlement(0))
        feed.runner.begin()
        logs(feed, "a")
    time_of_day.set_by -= HOUR
    with process(tmp_path, time_of_day) as feed:
        time_of_day.passed += 3
        feed.runner.begin()
        assert waiting_since(feed, "audit") == pytest.approx(3)


def test_after_a_boot_no_step_is_known(tmp_path: Path, time_of_day: SetClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The monotonic clock begins anew: what the difference is now counts from here on. Earlier steps stay true."""
    with process(tmp_path, time_of_day) as feed:
        feed.store.outbox.settle("audit", Settlement(0))
        feed.runner.begin()
        logs(feed, "a")
        time_of_day.set_by += HOUR
        feed.ages.look()
    boot(monkeypatch, "two")
    time_of_day.passed -= 500  # and the machine was off for 510 s
    time_of_day.set_by += 1010
    with process(tmp_path, time_of_day) as feed:
        assert waiting_since(feed, "audit") == pytest.approx(510)
        feed.runner.begin()
        assert waiting_since(feed, "audit") == pytest.approx(510)
        time_of_day.set_by -= HOUR
        assert waiting_since(feed, "audit") == pytest.approx(510)


def test_a_clock_that_is_set_forward_does_not_prune_the_log(tmp_path: Path, time_of_day: SetClock) -> None:
    """By a year, say, as a machine does whose battery is empty; entries go once they are as old as ``ttl`` says."""
    with process(tmp_path, time_of_day) as feed:
        feed.store.outbox.settle("audit", Settlement(0))
        feed.runner.begin()
        logs(feed, "before")
        time_of_day.set_by += 365 * DAY
        feed.runner.prune()
        time_of_day.passed += DAY
        logs(feed, "after")
        feed.runner.prune()
        assert feed.store.log.first() == 1
        time_of_day.passed += 6 * DAY + 1
        feed.runner.prune()
        assert feed.store.log.first() == 2
        time_of_day.passed += DAY
        feed.runner.prune()
        assert feed.store.log.first() is None


class Watching(Observer):
    """What an observer is told of deliveries."""

    def __init__(self) -> None:
        self.delays: list[float] = []

    def sent(self, sink: str, events: object, outcomes: object, delays: object, took: float) -> None:
        self.delays += delays  # type: ignore[operator]


def test_the_delay_of_a_delivery_ignores_a_clock_that_is_set(tmp_path: Path, time_of_day: SetClock) -> None:
    """As the histogram ``esfeed_sink_delay_seconds`` shows it."""
    watching = Watching()
    with process(tmp_path, time_of_day) as feed:
        feed.observers.append(watching)
        feed.store.outbox.settle("audit", Settlement(0))
        feed.runner.begin()
        logs(feed, "a")
        time_of_day.passed += 4
        time_of_day.set_by += HOUR
        assert feed.runner.deliver("audit").sent == 1
    assert watching.delays == [pytest.approx(4)]


def test_steps_add_up_over_the_entries_that_saw_them() -> None:
    """Each entry by those after it; an event without a position saw none."""
    steps = ClockSteps("one", 0.0, ((10, -60.0), (20, 100.0), (30, -10.0)))
    assert [steps.since(position) for position in (0, 5, 10, 11, 20, 21, 30, 31)] == [0, 30, 30, 90, 90, -10, -10, 0]
    assert steps.forward() == 90
    assert ClockSteps("one", 0.0, ((10, -60.0),)).forward() == 0


def test_steps_that_no_entry_has_seen_are_forgotten(tmp_path: Path, time_of_day: SetClock) -> None:
    """Otherwise the note would grow for ever on a machine whose clock is often set."""
    with process(tmp_path, time_of_day) as feed:
        made = Ages(time_of_day, feed.store.notes, feed.store.log)
        for _ in range(3):
            time_of_day.set_by += HOUR
            made.look()
        assert made.before(0) == time_of_day.now().timestamp()
        logs(feed, "a")
        time_of_day.set_by += HOUR
        made.look()
        assert made.before(0) == (time_of_day.now() - timedelta(hours=1)).timestamp()
