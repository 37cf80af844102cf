"""Metrics of a running feed: counters and histograms of polls and deliveries, for Prometheus.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest
from prometheus_client.process_collector import ProcessCollector

from esfeed import __version__
from esfeed.config.load import Config
from esfeed.model.event import Event
from esfeed.observe.ports import Observer
from esfeed.ports import Outcome

disable_created_metrics()  # type: ignore[no-untyped-call]

HISTORY = 120
_POLLS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_DELAYS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400)


class RunningFeed(Protocol):
    """What the HTTP server requests from the feed itself, in this or another process. Thread-safe; raises nothing."""

    def metrics(self) -> bytes:
        """The metrics of the feed, in the text format of Prometheus; empty if it does not answer."""

    def history(self) -> Mapping[str, Sequence[int]]:
        """Events logged in each of the last ``HISTORY`` seconds, the oldest first, by watch."""

    def alive(self) -> bool:
        """Whether the feed answers."""


class FeedMetrics(Observer):
    """The metrics of a feed since this process began; a ``RunningFeed`` for a server in the same process."""

    def __init__(self, config: Config) -> None:
        self._registry = registry = CollectorRegistry()
        watch, sink = ["watch"], ["sink"]
        self._events = Counter("esfeed_events", "Events logged.", ["watch", "op"], registry=registry)
        self._polls = Histogram(
            "esfeed_poll_duration_seconds", "Duration of polls.", watch, buckets=_POLLS, registry=registry
        )
        self._poll_failures = Counter("esfeed_poll_failures", "Polls that failed.", watch, registry=registry)
        self._requests = Counter(
            "esfeed_cluster_requests", "Requests that the cluster answered.", watch, registry=registry
        )
        self._size_bytes = Counter(
            "esfeed_cluster_received_bytes", "Bytes of the cluster's answers.", watch, registry=registry
        )
        self._delays = Histogram(
            "esfeed_sink_delay_seconds",
            "Time from finding an event to its delivery.",
            sink,
            buckets=_DELAYS,
            registry=registry,
        )
        self._sending = Histogram(
            "esfeed_sink_send_duration_seconds", "Duration of a batch at a sink.", sink, buckets=_POLLS,
            registry=registry,
        )  # fmt: skip
        self._outcomes = Counter(
            "esfeed_sink_events", "Events that were tried, by outcome.", ["sink", "outcome"],
            registry=registry,
        )  # fmt: skip
        self._retries = Counter(
            "esfeed_sink_retries", "Events that a sink did not take and that esfeed retries.", sink,
            registry=registry,
        )  # fmt: skip
        Gauge("esfeed_build_info", "The version.", ["version"], registry=registry).labels(__version__).set(1)
        ProcessCollector(registry=registry)
        self._begin(config)
        self._lock = threading.Lock()
        self._history: dict[str, deque[tuple[int, int]]] = {name: deque(maxlen=HISTORY) for name in config.watches}

    def _begin(self, config: Config) -> None:
        """Creates every series at the start, so that an alert can distinguish 0 from absent."""
        for name in config.watches:
            for op in ("created", "updated", "deleted", "read"):
                self._events.labels(name, op)
            for each in (self._polls, self._poll_failures, self._requests, self._size_bytes):
                each.labels(name)
        for name in config.sinks:
            for outcome in ("ok", "retry", "rejected"):
                self._outcomes.labels(name, outcome)
            for each in (self._delays, self._sending, self._retries):
                each.labels(name)

    def metrics(self) -> bytes:
        return generate_latest(self._registry)

    def alive(self) -> bool:
        return True

    def polled(
        self, watch: str, took: float, requests: int, received_bytes: int, events: Mapping[str, int], error: str
    ) -> None:
        self._polls.labels(watch).observe(took)
        self._requests.labels(watch).inc(requests)
        self._size_bytes.labels(watch).inc(received_bytes)
        if error:
            self._poll_failures.labels(watch).inc()
        for op, count in events.items():
            self._events.labels(watch, op).inc(count)
        if count := sum(events.values()):
            self._remember(watch, int(time.monotonic()), count)

    def sent(
        self, sink: str, events: Sequence[Event], outcomes: Sequence[Outcome], delays: Sequence[float], took: float
    ) -> None:
        self._sending.labels(sink).observe(took)
        for outcome, delay in zip(outcomes, delays, strict=False):
            if outcome.ok:
                self._delays.labels(sink).observe(delay)
            elif outcome.kind == "retry" and outcome.tried:
                self._retries.labels(sink).inc()
            if outcome.tried:
                self._outcomes.labels(sink, outcome.kind).inc()

    def _remember(self, watch: str, second: int, count: int) -> None:
        with self._lock:
            past = self._history[watch]
            if past and past[-1][0] == second:
                past[-1] = second, past[-1][1] + count
            else:
                past.append((second, count))

    def history(self) -> Mapping[str, Sequence[int]]:
        begin = int(time.monotonic()) - HISTORY + 1
        with self._lock:
            past = {watch: [*counted] for watch, counted in self._history.items()}
        return {watch: _by_second(counted, begin) for watch, counted in past.items()}


def _by_second(counted: Sequence[tuple[int, int]], begin: int) -> list[int]:
    found = [0] * HISTORY
    for second, count in counted:
        if 0 <= second - begin < HISTORY:
            found[second - begin] = count
    return found
