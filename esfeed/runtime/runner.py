"""Polls, delivers and prunes, one step at a time, and stores the health after each.

The daemon and the commands differ only in when they call a step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import structlog

from esfeed.errors import EsfeedError, ReaderGone, Unforeseen
from esfeed.observe.hooks import together
from esfeed.ports import Progress, Stop
from esfeed.runtime.health import Alive, SinkHealth, WatchHealth, pack, watch_health
from esfeed.runtime.health_writer import HealthWriter

if TYPE_CHECKING:
    from esfeed.changes.watcher import Poll
    from esfeed.cluster.adapter import EngineCluster
    from esfeed.delivery.dispatcher import Delivery
    from esfeed.runtime.factory import App

log = structlog.get_logger("esfeed")

_PRUNE_FOR = 1.0
_MAX_DEAD = 10_000


class Runner:
    """The steps of a feed. One thread at a time for each watch and each sink."""

    def __init__(self, app: App) -> None:
        self._app = app
        # Opens the state on first use only.
        self.health = HealthWriter(lambda notes: app.store.notes.put_all(notes), app.clock.monotonic)  # noqa: PLW0108
        self._well: dict[str, float] = {}
        self._reconciled: dict[str, float] = {}
        self._sent: dict[str, int] = {}
        self._lost: dict[str, int] = {}

    def begin(self) -> None:
        """Builds everything that polls need, and stores the start time: before that, no watch counts as late."""
        # Build them now: otherwise many threads would each start to build them.
        _ = self._app.watchers, self._app.together, self._engines_before
        self._app.ages.look()
        self._app.store.notes.put("alive", "", pack(Alive(self._at())))

    def alive(self, watch: str) -> None:
        """Stores that the running poll of a watch still gets answers."""
        self._app.store.notes.put("alive", watch, pack(Alive(self._at())))

    def poll(self, name: str, stop: Stop = lambda: False, progress: Progress = lambda read, total: None) -> Poll:
        """Polls a watch once and stores its health, also after an error. Raises the errors of the watcher."""
        with together(observer.polling(name) for observer in self._app.observers):
            return self._poll(name, stop, progress)

    def _poll(self, name: str, stop: Stop, progress: Progress) -> Poll:
        cluster = self._app.clusters[name]
        requests, received_bytes = cluster.meter.totals()
        began = self._app.clock.monotonic()
        error, wished, events = "", self._app.trackers[name].reconcile, {}
        try:
            poll = self._app.watchers[name].run_once(stop, progress)
            events = poll.events
            self._well[name] = self._at()
            if wished and not poll.stopped:
                self._reconciled[name] = self._well[name]
        except EsfeedError as fault:
            error = str(fault)
            raise
        except Exception as fault:
            unforeseen = Unforeseen(f"the poll of {name!r}", fault)
            error = str(unforeseen)
            raise unforeseen from fault
        finally:
            requests_now, received_now = cluster.meter.totals()
            health = WatchHealth(
                self._at(),
                self._app.clock.monotonic() - began,
                requests_now - requests,
                received_now - received_bytes,
                self._app.trackers[name].name,
                self._app.trackers[name].why,
                self._engine(name, cluster),
                events,
                error,
                self._well.get(name, 0.0),
                self._reconciled.get(name, 0.0),
                None if error else self._behind(name),
            )
            for observer in self._app.observers:
                observer.polled(name, health.took, health.requests, health.received_bytes, health.events, error)
            cluster.hand(None)
            self.health.put("watch", name, health, error, at_once=wished)
        return poll

    def _behind(self, name: str) -> int | None:
        try:
            return self._app.trackers[name].behind(self._app.watchers[name].checkpoint)
        except EsfeedError:
            return None

    def _engine(self, watch: str, cluster: EngineCluster) -> str:
        """The last known engine: an idle poll does not request it."""
        if cluster.known_engine is not None:
            return str(cluster.known_engine)
        return self._engines_before.get(watch, "")

    @cached_property
    def _engines_before(self) -> Mapping[str, str]:
        return {name: one.engine for name, one in watch_health(self._app.store.notes).items()}

    def reconcile(self, name: str, allow_mass_delete: bool) -> None:
        """Makes a watch reconcile at its next poll. ``allow_mass_delete`` also accepts a different cluster."""
        self._app.trackers[name].reconcile = True
        self._app.trackers[name].accept = allow_mass_delete
        self._app.watchers[name].allow_mass_delete = allow_mass_delete

    def deliver(self, name: str) -> Delivery:
        """Runs one step of a sink and stores its health. Raises the errors of the dispatcher."""
        try:
            delivery = self._app.dispatchers[name].run_once()
        except ReaderGone:
            raise
        except EsfeedError as error:
            self._note_sink(name, str(error), 0.0, failing=True)
            raise
        self._lost[name] = self._lost.get(name, 0) + delivery.dropped
        if delivery.dropped:
            log.warning("sink.dropped", sink=name, events=delivery.dropped, error=delivery.error)
        if delivery.idle and not delivery.dropped:
            self.health.rest("sink", name)
            return delivery
        self._sent[name] = self._sent.get(name, 0) + delivery.sent
        self._note_sink(name, delivery.error, delivery.wait or 0.0, bool(delivery.error and delivery.wait))
        if delivery.sent:
            log.debug("sink.delivered", sink=name, events=delivery.sent)
        if delivery.parked:
            log.warning("sink.parked", sink=name, documents=delivery.parked, error=delivery.parked_error)
        if delivery.dead:
            log.error("sink.dead", sink=name, events=delivery.dead, error=delivery.dead_error, hint="see `esfeed dead`")
        return delivery

    def _note_sink(self, name: str, error: str, wait: float, failing: bool) -> None:
        from esfeed.delivery.memory_dispatcher import MemoryDispatcher

        now = self._at()
        found = self._app.dispatchers[name]
        straight = (self._lost.get(name, 0), found.backlog) if isinstance(found, MemoryDispatcher) else (0, 0)
        retry_at = now + wait if wait else 0.0
        health = SinkHealth(now, self._sent.get(name, 0), error, int(failing), retry_at, *straight)
        self.health.put("sink", name, health, error)

    def prune(self, stop: Stop = lambda: False) -> None:
        """Prunes the log to ``ttl`` and ``max_log``, for up to a second, and logs what sinks lose."""
        fed = {name: self._app.router.watches(name) for name, one in self._app.config.sinks.items() if one.persist}
        self._app.ages.look()
        before = int(self._app.ages.before(self._app.config.ttl) * 1000)
        until = self._app.clock.monotonic() + _PRUNE_FOR
        dropped: Counter[str] = Counter()
        while True:
            pruned = self._app.store.retention.prune(before, self._app.config.max_log, fed)
            dropped.update(pruned.dropped)
            if not pruned.more or stop() or self._app.clock.monotonic() > until:
                break
        for name, entries in dropped.items():
            log.warning(
                "log.dropped",
                sink=name,
                entries=entries,
                hint="correct the sink (see `esfeed status`), or set a larger ttl or max_log",
            )
        for name in fed:
            gone = self._app.store.dead_letters.trim(name, _MAX_DEAD)
            if gone:
                log.warning(
                    "dead.dropped",
                    sink=name,
                    events=gone,
                    hint="redrive or discard dead events in time",
                )

    def _at(self) -> float:
        return self._app.steady.now().timestamp()
