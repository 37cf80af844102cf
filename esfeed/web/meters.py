"""What is measured, for Prometheus: https://prometheus.io/docs/instrumenting/exposition_formats/.

Counters and histograms grow as things happen (:class:`Meters` is an observer of polls and deliveries); what the state
knows better, such as backlogs and sizes, is asked of it when somebody looks.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from esfeed import __version__
from esfeed.app import App
from esfeed.errors import EsfeedError
from esfeed.event import Event
from esfeed.health import SinkHealth, WatchHealth, unpack
from esfeed.observer import Observer
from esfeed.ports import Outcome
from esfeed.report import waiting_since
from esfeed.stalls import stalled
from esfeed.store.outbox import Counts

log = structlog.get_logger("esfeed")

disable_created_metrics()  # type: ignore[no-untyped-call]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
HISTORY = 120
_POLLS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_DELAYS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400)


class Meters(Observer):
    """All measures of a feed that began with this process. Usable from many threads."""

    def __init__(self, app: App) -> None:
        self.registry = CollectorRegistry()
        watch, sink = ["watch"], ["sink"]
        self._events = Counter("esfeed_events", "Events logged.", ["watch", "op"], registry=self.registry)
        self._polls = Histogram(
            "esfeed_poll_duration_seconds", "How long polls took.", watch, buckets=_POLLS, registry=self.registry
        )
        self._poll_failures = Counter("esfeed_poll_failures", "Polls that failed.", watch, registry=self.registry)
        self._requests = Counter(
            "esfeed_cluster_requests", "Requests that the cluster answered.", watch, registry=self.registry
        )
        self._octets = Counter(
            "esfeed_cluster_received_bytes", "Bytes of the cluster's answers.", watch, registry=self.registry
        )
        self._delays = Histogram(
            "esfeed_sink_delay_seconds",
            "From when an event was found until its sink had it.",
            sink,
            buckets=_DELAYS,
            registry=self.registry,
        )
        self._sending = Histogram(
            "esfeed_sink_send_duration_seconds", "How long a sink took for a batch.", sink, buckets=_POLLS,
            registry=self.registry,
        )  # fmt: skip
        self._outcomes = Counter(
            "esfeed_sink_events", "Events that were tried, by what came of it.", ["sink", "outcome"],
            registry=self.registry,
        )  # fmt: skip
        self._retries = Counter(
            "esfeed_sink_retries", "Events that a sink could not take and that are tried again.", sink,
            registry=self.registry,
        )  # fmt: skip
        self._readers = Gauge("esfeed_http_readers", "Readers that wait for events.", ["feed"], registry=self.registry)
        self._out = Counter("esfeed_http_events", "Events sent to readers.", ["feed"], registry=self.registry)
        self._cut_off = Counter(
            "esfeed_http_readers_cut_off", "Readers cut off because they did not read.", registry=self.registry
        )
        self._answers = Counter("esfeed_http_requests", "Requests answered.", ["status"], registry=self.registry)
        Gauge("esfeed_build_info", "The version.", ["version"], registry=self.registry).labels(__version__).set(1)
        ProcessCollector(registry=self.registry)
        self.registry.register(_State(app))
        self._begin(app)
        self._lock = threading.Lock()
        self._reading = {"longpoll": 0, "eventsource": 0}
        self._history: dict[str, deque[tuple[int, int]]] = {name: deque(maxlen=HISTORY) for name in app.config.watches}

    def _begin(self, app: App) -> None:
        """Every series is there from the start, so that an alert on it can tell 0 from nothing."""
        for name in app.config.watches:
            for op in ("created", "updated", "deleted", "read"):
                self._events.labels(name, op)
            for each in (self._polls, self._poll_failures, self._requests, self._octets):
                each.labels(name)
        for name in app.config.sinks:
            for outcome in ("ok", "retry", "rejected"):
                self._outcomes.labels(name, outcome)
            for each in (self._delays, self._sending, self._retries):
                each.labels(name)
        for feed in ("longpoll", "eventsource"):
            self._readers.labels(feed).set(0)
        for feed in ("normal", "longpoll", "eventsource"):
            self._out.labels(feed)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)

    def polled(
        self, watch: str, took: float, requests: int, octets: int, events: Mapping[str, int], error: str
    ) -> None:
        self._polls.labels(watch).observe(took)
        self._requests.labels(watch).inc(requests)
        self._octets.labels(watch).inc(octets)
        if error:
            self._poll_failures.labels(watch).inc()
        for op, count in events.items():
            self._events.labels(watch, op).inc(count)
        if count := sum(events.values()):
            self._remember(watch, int(time.time()), count)

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

    def readers(self, feed: str, more: int) -> None:
        """One reader more (1) or less (-1)."""
        self._readers.labels(feed).inc(more)
        self._reading[feed] = self._reading.get(feed, 0) + more

    def reading(self) -> dict[str, int]:
        """How many readers there are now, by feed."""
        return dict(self._reading)

    def events_out(self, feed: str, count: int) -> None:
        """Events went to a reader."""
        if count:
            self._out.labels(feed).inc(count)

    def cut_off(self) -> None:
        """A reader was cut off."""
        self._cut_off.inc()

    def answered(self, status: int) -> None:
        """A request was answered."""
        self._answers.labels(str(status)).inc()

    def _remember(self, watch: str, second: int, count: int) -> None:
        with self._lock:
            past = self._history[watch]
            if past and past[-1][0] == second:
                past[-1] = second, past[-1][1] + count
            else:
                past.append((second, count))

    def history(self, watch: str) -> list[int]:
        """Events logged in each of the last ``HISTORY`` seconds, the oldest first."""
        begin = int(time.time()) - HISTORY + 1
        found = [0] * HISTORY
        with self._lock:
            for second, count in self._history.get(watch, ()):
                if 0 <= second - begin < HISTORY:
                    found[second - begin] = count
        return found


class _State(Collector):
    """What is asked of the state when somebody looks."""

    def __init__(self, app: App) -> None:
        self._app = app

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        try:
            yield from self._collect()
        except EsfeedError as error:
            log.error("web.state_unreadable", error=str(error))

    def _collect(self) -> Iterator[Metric]:
        store, now = self._app.store, self._app.steady.now().timestamp()
        notes: dict[str, WatchHealth] = {name: unpack(raw, WatchHealth) for name, raw in store.notes("watch").items()}
        stuck = stalled(self._app, notes)
        up = _gauge("esfeed_watch_up", "Whether the last poll went well.", "watch")
        held_up = _gauge(
            "esfeed_watch_stalled", "Whether it was not polled for three intervals, with no error to say why.", "watch"
        )
        lag = _gauge(
            "esfeed_watch_lag_seconds", "Since when the feed last was sure to know all: its last good poll.", "watch"
        )
        behind = _gauge(
            "esfeed_watch_lag_operations", "Operations on the index that the feed is not sure to have seen.", "watch"
        )
        for name in self._app.config.watches:
            health = notes.get(name)
            up.add_metric([name], float(health is not None and not health.error))
            held_up.add_metric([name], float(name in stuck))
            if health is not None and health.since:
                lag.add_metric([name], max(0.0, now - health.since))
            if health is not None and health.behind is not None:
                behind.add_metric([name], health.behind)
        yield from (up, held_up, lag, behind)
        head, first = store.head(), store.first()
        backlog = _gauge("esfeed_sink_backlog", "Log entries behind a sink's cursor.", "sink")
        waiting = _gauge("esfeed_sink_lag_seconds", "How long the first of them has been waiting.", "sink")
        parked = _gauge("esfeed_sink_parked", "Events of a sink that wait for another try.", "sink")
        dead = _gauge("esfeed_sink_dead", "Events that a sink did not take and that are tried no more.", "sink")
        dropped = CounterMetricFamily(
            "esfeed_sink_dropped",
            "Events that a sink will never get: discarded, or gone.",
            labels=["sink"],
        )
        counts, sinks = store.counts(), store.notes("sink")
        for name, section in self._app.config.sinks.items():
            cursor, count = store.cursor(name), counts.get(name, Counts())
            known = unpack(sinks[name], SinkHealth) if name in sinks else SinkHealth(0.0, 0)
            logged = 0 if cursor is None else store.log_count(cursor)
            backlog.add_metric([name], logged if section.persist else known.backlog)
            waiting.add_metric([name], waiting_since(self._app, name))
            parked.add_metric([name], count.parked)
            dead.add_metric([name], count.dead)
            dropped.add_metric([name], count.dropped + known.dropped)
        yield from (backlog, waiting, parked, dead, dropped)
        yield GaugeMetricFamily("esfeed_log_position", "The newest position of the log.", head)
        entries = 0 if first is None else head - first + 1
        yield GaugeMetricFamily("esfeed_log_entries", "Entries that the log holds.", entries)
        yield GaugeMetricFamily("esfeed_log_bytes", "Bytes of the events in the log.", store.log_bytes())
        yield GaugeMetricFamily("esfeed_state_bytes", "Bytes that the state takes.", size(self._app))


def size(app: App) -> int:
    """Bytes of the state: on disk where it is a file, with what is not yet written back into it."""
    path = sa.make_url(app.config.state).database
    if app.config.state.startswith("sqlite") and path:
        return sum(file.stat().st_size for end in ("", "-wal") if (file := Path(path + end)).is_file())
    return app.store.size()


def _gauge(name: str, what: str, label: str) -> Any:
    return GaugeMetricFamily(name, what, labels=[label])
