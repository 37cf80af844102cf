"""A clock that is set: intervals, waits and lags go by the monotonic one."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from esfeed.config.load import parse
from esfeed.delivery.reader import left_of
from esfeed.runtime import clock as clocks
from esfeed.runtime.clock import SystemClock, steady
from esfeed.runtime.factory import App
from esfeed.runtime.health import Alive, WatchHealth, pack
from esfeed.runtime.scheduler import Schedule
from esfeed.runtime.status import report
from esfeed.testing.events import sample_event
from tests.delivery.fakes import START, FakeClock
from tests.support.clients import eventually
from tests.support.clocks import shifted

HOUR = 3600.0


class SetClock(FakeClock):
    """A clock whose time of day somebody sets."""

    def __init__(self) -> None:
        super().__init__()
        self.set_by = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.set_by)


@pytest.mark.parametrize("step", [-HOUR, -60.0, 60.0, HOUR])
def test_intervals_go_on_when_the_clock_is_set(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    """Set by a minute or an hour, to and fro: the next runs come when they would have come."""
    clock = shifted(monkeypatch)
    runs: list[int] = []
    schedule = Schedule(clock)
    schedule.every(0.05, "often", lambda: runs.append(1), at_once=True)
    schedule.start()
    try:
        eventually(lambda: len(runs) > 2)
        clock.by = step
        assert schedule.look() == pytest.approx(step, abs=0.2)
        assert schedule.look() == 0
        count = len(runs)
        eventually(lambda: len(runs) > count + 4)
    finally:
        schedule.stop()


def test_a_machine_that_slept_polls_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits take no account of the sleep, so a job would come late by as much as was left of its interval."""
    slept = [0.0]
    clock = shifted(monkeypatch)
    runs: list[int] = []
    schedule = Schedule(clock, lambda: clock.monotonic() - slept[0])
    schedule.every(HOUR, "seldom", lambda: runs.append(1))
    schedule.start()
    try:
        assert schedule.look() == 0
        slept[0] = 60.0
        assert schedule.look() == pytest.approx(60, abs=0.2)
        eventually(lambda: len(runs) == 1)
        assert schedule.look() == 0
    finally:
        schedule.stop()


def test_the_monotonic_clock_counts_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the age of what was logged before is true after it."""
    monkeypatch.setattr(time, "clock_gettime", {time.CLOCK_BOOTTIME: 160.0, time.CLOCK_MONOTONIC: 100.0}.get)
    assert SystemClock().monotonic() == 160


def test_a_job_that_no_thread_can_be_had_for_runs_at_its_next_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is said; one time without a thread is no reason to end."""
    runs: list[int] = []
    schedule = Schedule(SystemClock())
    start = threading.Thread.start
    refused: list[str] = []

    def starting(thread: threading.Thread) -> None:
        if thread.name == "poll often" and len(refused) < 2:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starting)
    schedule.every(0.05, "often", lambda: runs.append(1), at_once=True)
    schedule.start()
    try:
        eventually(lambda: len(runs) > 1)
        assert len(refused) == 2
    finally:
        schedule.stop()


class Notes:
    """The part of a store that keeps the offset."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def all(self, kind: str) -> dict[str, bytes]:
        return self.kept

    def put(self, kind: str, name: str, data: bytes) -> None:
        self.kept[name] = data

    def put_all(self, notes: Sequence[tuple[str, str, bytes]]) -> None:
        self.kept |= {name: data for _, name, data in notes}


def test_all_processes_have_the_same_steady_clock_until_the_machine_starts_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whenever the clock was set between their starts; after a boot it begins at the time of day."""
    monkeypatch.setattr(clocks, "boot_id", lambda: "one")
    clock, notes = SetClock(), Notes()
    first = steady(clock, notes)
    assert first.now() == START
    clock.set_by, clock.passed = HOUR, 5.0
    second = steady(clock, notes)
    assert first.now() == second.now() == START + timedelta(seconds=5)
    monkeypatch.setattr(clocks, "boot_id", lambda: "two")
    assert steady(clock, notes).now() == START + timedelta(seconds=HOUR + 5)


def test_an_event_of_the_future_does_not_wait_for_it() -> None:
    """Logged before the clock was set back: a batch that fills (linger) would wait as long as that."""
    event = sample_event(time=START.isoformat())
    at = START.timestamp()
    assert left_of(10, event, at + 4) == 6
    assert left_of(10, event, at + 40) == 0
    assert left_of(10, event, at - HOUR) == 0


SETTINGS = """\
state = "sqlite:///{folder}/state.db"
[clusters.main]
hosts = ["http://127.0.0.1:9"]
[watches.often]
index = "a"
[watches.seldom]
index = "b"
interval = "1m"
[watches.hourly]
index = "c"
cron = "0 * * * *"
[watches.refused]
index = "d"
[sinks.audit]
type = "file"
path = "{folder}/audit.jsonl"
"""


def test_a_watch_that_is_not_polled_is_stalled(tmp_path: Path) -> None:
    """After three of its turns, whatever the clock says; not where nothing runs, it fails, or a poll gets answers."""
    clock = SetClock()
    config = parse(SETTINGS.format(folder=tmp_path), tmp_path / "esfeed.toml")

    def states(app: App) -> dict[str, str]:
        return {name: watch["state"] for name, watch in report(app)["watches"].items()}

    with App(config, "run", clock=clock) as app:
        for name in config.watches:
            error = "refused" if name == "refused" else ""
            health = WatchHealth(app.steady.now().timestamp(), 0.1, 1, 1, "seq_no", "", "", {}, error)
            app.store.notes.put("watch", name, pack(health))
        clock.passed = 9 * HOUR
        assert states(app)["often"] == "ok", "no feed runs"
        app.hold()
        app.runner.begin()
        clock.passed += 9
        clock.set_by = -HOUR
        assert states(app) == {"often": "ok", "seldom": "ok", "hourly": "ok", "refused": "failing"}
        assert report(app)["watches"]["often"]["last_poll_seconds_ago"] == 9 * HOUR + 9
        clock.passed += 3
        assert states(app)["often"] == "stalled"
        app.runner.alive("often")
        assert states(app)["often"] == "ok"
        clock.passed += 170
        assert states(app) == {"often": "stalled", "seldom": "stalled", "hourly": "ok", "refused": "failing"}
        clock.passed += 3 * HOUR
        assert states(app)["hourly"] == "stalled"
        app.store.notes.put("alive", "", pack(Alive(datetime.now(UTC).timestamp() + 10 * HOUR)))
        assert states(app)["often"] == "ok"
