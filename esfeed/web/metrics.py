"""Metrics besides the work of the feed: readers and answers, and backlogs and sizes from the state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from esfeed.errors import EsfeedError
from esfeed.ports import Counts
from esfeed.runtime.factory import App
from esfeed.runtime.health import SinkHealth, sink_health, watch_health
from esfeed.runtime.stalls import stalled
from esfeed.runtime.status import waiting_since
from esfeed.web.feed_metrics import RunningFeed

log = structlog.get_logger("esfeed")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class HttpMetrics:
    """The metrics of a server, combined with those of the ``feed`` and of its state. Thread-safe."""

    def __init__(self, app: App, feed: RunningFeed) -> None:
        self._feed = feed
        self._registry = registry = CollectorRegistry()
        self._readers = Gauge("esfeed_http_readers", "Readers that wait for events.", ["feed"], registry=registry)
        self._out = Counter("esfeed_http_events", "Events sent to readers.", ["feed"], registry=registry)
        self._cut_off = Counter(
            "esfeed_http_readers_cut_off", "Readers disconnected because they did not read.", registry=registry
        )
        self._answers = Counter("esfeed_http_requests", "Requests answered.", ["status"], registry=registry)
        self._up = Gauge("esfeed_up", "Whether the feed process answers.", registry=registry)
        ProcessCollector(namespace="esfeed_http", registry=registry)
        registry.register(_State(app))
        self._reading = {"longpoll": 0, "eventsource": 0}
        for kind in ("longpoll", "eventsource"):
            self._readers.labels(kind).set(0)
        for kind in ("normal", "longpoll", "eventsource"):
            self._out.labels(kind)

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        text = self._feed.metrics()
        self._up.set(float(bool(text)))
        return text + generate_latest(self._registry)

    def readers(self, feed: str, more: int) -> None:
        """Counts a reader: ``more`` is 1 or -1."""
        self._readers.labels(feed).inc(more)
        self._reading[feed] = self._reading.get(feed, 0) + more

    def reading(self) -> dict[str, int]:
        """The number of current readers, by feed."""
        return dict(self._reading)

    def events_out(self, feed: str, count: int) -> None:
        """Counts events that were sent to a reader."""
        if count:
            self._out.labels(feed).inc(count)

    def cut_off(self) -> None:
        """Counts a reader that was cut off."""
        self._cut_off.inc()

    def answered(self, status: int) -> None:
        """Counts an answer by status."""
        self._answers.labels(str(status)).inc()


class _State(Collector):
    """Metrics that are read from the state on demand."""

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
        notes = watch_health(store.notes)
        stuck = stalled(self._app, notes)
        up = _gauge("esfeed_watch_up", "Whether the last poll succeeded.", "watch")
        held_up = _gauge(
            "esfeed_watch_stalled", "Whether three intervals passed without a poll and without an error.", "watch"
        )
        lag = _gauge("esfeed_watch_lag_seconds", "Time since the last successful poll.", "watch")
        behind = _gauge(
            "esfeed_watch_lag_operations", "Operations on the index that the feed may not have seen.", "watch"
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
        head, first = store.log.head(), store.log.first()
        backlog = _gauge("esfeed_sink_backlog", "Log entries behind a sink's cursor.", "sink")
        waiting = _gauge("esfeed_sink_lag_seconds", "How long the first of them has waited.", "sink")
        parked = _gauge("esfeed_sink_parked", "Events of a sink that wait for a retry.", "sink")
        dead = _gauge("esfeed_sink_dead", "Events that a sink did not take and that esfeed no longer retries.", "sink")
        dropped = CounterMetricFamily(
            "esfeed_sink_dropped",
            "Events that a sink will never receive: discarded, or removed from the log.",
            labels=["sink"],
        )
        counts, sinks = store.dead_letters.counts(), sink_health(store.notes)
        for name, section in self._app.config.sinks.items():
            cursor, count = store.outbox.cursor(name), counts.get(name, Counts())
            known = sinks.get(name, SinkHealth(0.0, 0))
            logged = 0 if cursor is None else store.log.count(cursor)
            backlog.add_metric([name], logged if section.persist else known.backlog)
            waiting.add_metric([name], waiting_since(self._app, name))
            parked.add_metric([name], count.parked)
            dead.add_metric([name], count.dead)
            dropped.add_metric([name], count.dropped + known.dropped)
        yield from (backlog, waiting, parked, dead, dropped)
        yield GaugeMetricFamily("esfeed_log_position", "The newest position of the log.", head)
        entries = 0 if first is None else head - first + 1
        yield GaugeMetricFamily("esfeed_log_entries", "Entries in the log.", entries)
        yield GaugeMetricFamily("esfeed_log_bytes", "Bytes of the events in the log.", store.log.size_bytes())
        yield GaugeMetricFamily("esfeed_state_bytes", "Size of the state in bytes.", size(self._app))


def size(app: App) -> int:
    """The size of the state in bytes: of its files for SQLite, with the write-ahead log."""
    path = sa.make_url(app.config.state).database
    if app.config.state.startswith("sqlite") and path:
        return sum(file.stat().st_size for end in ("", "-wal") if (file := Path(path + end)).is_file())
    return app.store.size_bytes()


def _gauge(name: str, what: str, label: str) -> Any:
    return GaugeMetricFamily(name, what, labels=[label])
