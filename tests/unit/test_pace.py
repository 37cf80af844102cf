"""Requests are kept apart."""

from __future__ import annotations

from esfeed.cluster.ratelimit import Pace


class Time:
    """A clock that only sleeping moves, and what was slept."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


def test_requests_leave_evenly() -> None:
    """Five a second: each but the first waits a fifth of a second."""
    time = Time()
    pace = Pace(5, time.sleep, time.monotonic)
    for _ in range(6):
        pace()
    assert round(time.now - 100.0, 6) == 1.0


def test_an_idle_feed_saves_nothing_up() -> None:
    """After a minute without requests the next ones are as far apart as ever."""
    time = Time()
    pace = Pace(2, time.sleep, time.monotonic)
    pace()
    time.now += 60
    pace()
    pace()
    assert time.slept == [0.5]


def test_without_a_bound_nothing_waits() -> None:
    """No number, no waiting."""
    time = Time()
    pace = Pace(None, time.sleep, time.monotonic)
    for _ in range(1000):
        pace()
    assert time.slept == []
