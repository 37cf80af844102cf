"""Requests are spread evenly."""

from __future__ import annotations

from typing import Any

import pytest

from esfeed.cluster.client import Client
from esfeed.cluster.connection import Connection
from esfeed.net.rate import Rate


class Time:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_requests_leave_evenly() -> None:
    """Five a second: each but the first waits a fifth of a second longer."""
    rate = Rate(5, Time().monotonic)
    assert [rate.take()[0] for _ in range(6)] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])


def test_idle_time_saves_nothing_up() -> None:
    """After a minute without requests the next ones are as far apart as ever."""
    time = Time()
    rate = Rate(2, time.monotonic)
    rate.take()
    time.now += 60
    assert [rate.take() for _ in range(2)] == [(0.0, True), (0.5, True)]


def test_what_would_wait_too_long_takes_no_turn() -> None:
    """A refused request does not delay the next one."""
    rate = Rate(2, Time().monotonic)
    rate.take()
    assert [rate.take(0.4) for _ in range(3)] == [(0.5, False)] * 3
    assert rate.take(0.5) == (0.5, True)


def test_without_a_limit_nothing_waits() -> None:
    """No number, no waiting."""
    rate = Rate(None, Time().monotonic)
    assert {rate.take() for _ in range(1000)} == {(0.0, True)}


def test_a_client_keeps_its_requests_apart() -> None:
    """Each request to a cluster takes its turn. With one in a thousand seconds, no pause is an accident."""
    naps: list[float] = []

    class Link:
        def perform(self, *_: object) -> Any:
            return type("Response", (), {"body": b"{}"})

    connection = Connection("c", ("http://127.0.0.1:9",), most_per_second=0.001)
    client = Client(connection, naps.append, Link())
    for _ in range(3):
        client.request("GET", "/_cluster/health")
    assert [round(nap / 1000) for nap in naps] == [1, 2]
