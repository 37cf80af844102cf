"""The status of every part of a feed, as plain values for ``esfeed status`` and the dashboard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from esfeed.ports import Counts
from esfeed.runtime.factory import App
from esfeed.runtime.health import SinkHealth, WatchHealth, sink_health, watch_health
from esfeed.runtime.left import left
from esfeed.runtime.stalls import stalled


def report(app: App) -> dict[str, Any]:
    """The full status, ready for JSON. Times are in seconds.

    ``lag_seconds`` of a watch is the possible age of the oldest change not yet seen; of a sink, how long the first log
    entry behind its cursor has been waiting. Raises ``StateError`` if the state cannot be read.
    """
    now = app.steady.now().timestamp()
    sinks = sink_health(app.store.notes)
    watches = watch_health(app.store.notes)
    stuck = stalled(app, watches)
    documents = app.store.watches.documents()
    head, counts = app.store.log.head(), app.store.dead_letters.counts()
    return {
        "running": app.lock.held_by(),
        "state": app.config.state,
        "position": head,
        "watches": {
            name: _watch(watches.get(name), now, name in stuck)
            | {"index": section.index, "documents": documents.get(name, 0)}
            for name, section in app.config.watches.items()
        },
        "left": {name: msgspec.structs.asdict(one) for name, one in left(app).items()},
        "log": {"first": app.store.log.first(), "bytes": app.store.log.size_bytes()},
        "sinks": {
            name: _sink(sinks.get(name), counts.get(name, Counts()), now)
            | {"type": section.type}
            | (_logged(app, name) if section.persist else {"persist": False})
            for name, section in app.config.sinks.items()
        },
    }


def _logged(app: App, name: str) -> dict[str, Any]:
    cursor = app.store.outbox.cursor(name)
    backlog = 0 if cursor is None else app.store.log.count(cursor)
    return {"cursor": cursor, "backlog": backlog, "lag_seconds": round(waiting_since(app, name), 1)}


def _watch(health: WatchHealth | None, now: float, stuck: bool) -> dict[str, Any]:
    if health is None:
        return {"state": "stalled" if stuck else "never polled"}
    return {
        "state": "failing" if health.error else "stalled" if stuck else "ok",
        "error": health.error,
        "tracker": health.tracker,
        "why": health.why,
        "engine": health.engine,
        "last_poll_seconds_ago": round(max(0.0, now - health.at), 1),
        "lag_seconds": round(max(0.0, now - health.since), 1) if health.since else None,
        "lag_operations": health.behind,
        "poll_seconds": round(health.took, 4),
        "poll_requests": health.requests,
        "poll_bytes": health.received_bytes,
        "events": health.events,
    }


def _sink(health: SinkHealth | None, counts: Counts, now: float) -> dict[str, Any]:
    backlog = {"parked": counts.parked, "dead": counts.dead, "dropped": counts.dropped}
    if health is None:
        return {"state": "never used", **backlog}
    waits = max(0.0, (health.retry_at or counts.next_try) - now)
    return {
        "state": "failing" if health.failures else "parked" if counts.parked else "ok",
        "error": health.error or counts.error,
        "last_try_seconds_ago": round(max(0.0, now - health.at), 1),
        "next_try_in_seconds": round(waits, 1),
        "sent": health.sent,
        "backlog": health.backlog,
        **backlog,
        "dropped": counts.dropped + health.dropped,
    }


def waiting_since(app: App, sink: str) -> float:
    """How long the first log entry behind the cursor of a sink has been waiting, in seconds; 0 if there is none."""
    cursor = app.store.outbox.cursor(sink)
    rows = [] if cursor is None else app.store.log.read(cursor, 1)
    if not rows:
        return 0.0
    app.ages.refresh()
    return app.ages.of(rows[0].event)


def held(app: App, sinks: Mapping[str, object], limit: int) -> list[dict[str, Any]]:
    """The parked and dead events of some sinks, by sink and position, up to ``limit``, ready for JSON."""
    return [
        {
            "sink": one.sink,
            "position": one.position,
            "state": one.state,
            "attempts": one.attempts,
            "error": one.error,
            "since": one.since,
            "newer": one.newer,
            "document": one.event.subject if one.event else None,
            "op": one.event.op if one.event else None,
        }
        for one in app.store.dead_letters.page([*sinks], ("", 0), limit, live=True)
    ]
