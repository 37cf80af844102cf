"""Builds the parts of a feed from its settings: clusters, watchers, dispatchers, all over one state.

A part is imported when it is first built. A command that only reads the state needs no client of a cluster, and one
that polls from cron starts a new process each time.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import structlog

from esfeed.config import plugins
from esfeed.config.load import Config, WatchSettings
from esfeed.config.types import SinkSection
from esfeed.delivery.options import DeliveryOptions
from esfeed.errors import EsfeedError, Unforeseen
from esfeed.observe.hooks import ObservedSink
from esfeed.observe.ports import Observer
from esfeed.ports import Clock, Sink, State
from esfeed.routing.router import Router
from esfeed.runtime.ages import Ages
from esfeed.runtime.clock import SteadyClock, SystemClock, steady
from esfeed.runtime.notifier import LocalNotifier
from esfeed.runtime.runner import Runner
from esfeed.store.lock import StateLock

if TYPE_CHECKING:
    from esfeed.changes.watcher import Watcher
    from esfeed.cluster.adapter import EngineCluster
    from esfeed.cluster.link import Link
    from esfeed.cluster.together import SharedCounters
    from esfeed.delivery.direct_writer import DirectWriter
    from esfeed.delivery.dispatcher import Dispatcher
    from esfeed.delivery.memory_dispatcher import MemoryDispatcher
    from esfeed.delivery.target import Target
    from esfeed.routing.tally import Tally
    from esfeed.trackers.auto import AutoTracker

log = structlog.get_logger("esfeed")


class App:
    """A feed. Use it as a context. ``purpose`` is the command; ``StateError`` names it when the state is held.

    ``eager``: see :class:`~esfeed.trackers.options.TrackerOptions`. Add to ``observers`` before the first use.
    """

    def __init__(
        self,
        config: Config,
        purpose: str,
        *,
        eager: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.config = config
        self.clock: Clock = clock or SystemClock()
        self._eager = eager
        self.observers: list[Observer] = []
        self._interrupt = threading.Event()
        self._purpose = purpose
        self.notifier = LocalNotifier()
        self.runner = Runner(self)
        self._stack = ExitStack()
        self._links: dict[str, Link] = {}

    def __enter__(self) -> App:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def interruptible(self, by: threading.Event) -> None:
        """From now on, every sleep between two tries ends when ``by`` is set."""
        self._interrupt = by

    def sleep(self, seconds: float) -> None:
        """Waits, but less if the process must stop."""
        self._interrupt.wait(seconds)

    def hold(self) -> None:
        """Locks the state for this process. Raises ``StateError`` that names the holder."""
        self._stack.enter_context(self.lock)

    def running(self) -> bool:
        """Whether another process holds the state to run the feed, and not just briefly."""
        return self.lock.holds("run")

    @cached_property
    def lock(self) -> StateLock:
        """The lock file beside the state."""
        import sqlalchemy as sa

        database = sa.make_url(self.config.state).database or ""
        return StateLock(Path(f"{database}.lock"), self._purpose)

    @cached_property
    def store(self) -> State:
        """The state, opened and migrated on first use."""
        from esfeed.store.state import open_state

        store = open_state(self.config.state)
        self._stack.callback(store.close)
        return store

    @cached_property
    def steady(self) -> SteadyClock:
        """The clock for stored times: setting the system clock does not move it, and all processes share it."""
        return steady(self.clock, self.store.notes)

    @cached_property
    def ages(self) -> Ages:
        """How old the entries of the log are."""
        return Ages(self.clock, self.store.notes, self.store.log)

    @cached_property
    def clusters(self) -> Mapping[str, EngineCluster]:
        """The cluster of each watch, by watch: a separate object each, so that cost is counted and limited by watch.

        Makes no request before it is used.
        """
        return {name: self._cluster(settings) for name, settings in self.config.watches.items()}

    def _cluster(self, watch: WatchSettings) -> EngineCluster:
        from esfeed.cluster.adapter import EngineCluster

        settings = self.config.clusters[watch.cluster]
        reach = settings.connection(watch.cluster, watch.max_requests_per_second, watch.max_page_bytes)
        return EngineCluster(reach, self.sleep, self._link(watch.cluster))

    def _link(self, cluster: str) -> Link:
        """The connections to a cluster, by the name of the cluster. All its watches share them."""
        from esfeed.cluster.link import Link

        if cluster not in self._links:
            self._links[cluster] = Link(self.config.clusters[cluster].connection(cluster))
            self._stack.callback(self._links[cluster].close)
        return self._links[cluster]

    @cached_property
    def together(self) -> Mapping[str, SharedCounters]:
        """By the name of the cluster: reads the counters of many watches in one request."""
        from esfeed.cluster.together import SharedCounters

        made = {}
        for name, settings in self.config.clusters.items():
            made[name] = SharedCounters(settings.connection(name), self._link(name), self.sleep)
        return made

    def share(self, cluster: str, names: Sequence[str], anew: bool = False) -> None:
        """Reads the counters of those watches of that cluster in one request; none of them may be polling.

        The next poll of each watch then needs no request for them, if it comes soon. ``anew``: the watches were never
        read, so what is behind their names is requested, too.
        """
        index = {name: self.config.watches[name].index for name in names}
        handed = {one.name: one for one in self.together[cluster].read([*dict.fromkeys(index.values())], anew)}
        for name in names:
            if (found := handed.pop(index[name], None)) is not None:
                self.clusters[name].hand(found)
                handed[index[name]] = found._replace(requests=0, received_bytes=0)

    def engines(self) -> Iterator[tuple[str, EngineCluster]]:
        """Each cluster once, by its own name, to check whether it answers."""
        from esfeed.cluster.adapter import EngineCluster

        for name, settings in self.config.clusters.items():
            cluster = EngineCluster(settings.connection(name), self.sleep)
            with contextlib.closing(cluster):
                yield name, cluster

    @cached_property
    def trackers(self) -> Mapping[str, AutoTracker]:
        """The trackers by watch."""
        self.store.watches.register(self.config.watches)
        return {name: self._tracker(name, settings) for name, settings in self.config.watches.items()}

    def _tracker(self, name: str, settings: WatchSettings) -> AutoTracker:
        from esfeed.trackers.auto import AutoTracker
        from esfeed.trackers.options import TrackerOptions

        options = TrackerOptions(
            name,
            settings.index,
            settings.timestamp_field,
            settings.overlap,
            settings.initial == "now",
            settings.max_page_bytes,
            settings.refresh,
            settings.verify,
            self._eager,
            assumed=settings.tracker == "auto" and "timestamp_field" not in settings.model_fields_set,
        )
        cluster = self.clusters[name]
        return AutoTracker(settings.tracker, cluster, self.store.commits.known(name), options, self.steady, self.sleep)

    @cached_property
    def watchers(self) -> Mapping[str, Watcher]:
        """The watchers by watch."""
        return {name: self._watcher(name, settings) for name, settings in self.config.watches.items()}

    def _watcher(self, name: str, settings: WatchSettings) -> Watcher:
        from esfeed.changes.watcher import Watch, Watcher

        watch = Watch(
            name,
            settings.cluster,
            settings.timestamp_field,
            settings.initial == "now",
            settings.keep_documents,
            settings.mass_delete_limit,
            split_batches=not self._eager and len(self.config.watches) > 1,
            alone=not self._eager,
        )
        profile, store = plugins.profile(settings.profile), self.store
        return Watcher(watch, self.trackers[name], profile, store.commits, store.log, self.notifier, self.clock)

    @cached_property
    def router(self) -> Router:
        """The compiled routes."""
        return self.config.router()

    @cached_property
    def dispatchers(self) -> Mapping[str, Dispatcher | MemoryDispatcher]:
        """The dispatchers by sink: from a cursor in the log, or from memory."""
        return {name: self._dispatcher(name, settings) for name, settings in self.config.sinks.items()}

    @cached_property
    def targets(self) -> Mapping[str, Target]:
        """The target of each sink, not yet open."""
        from esfeed.delivery.target import Target

        return {name: Target(name, self._watched(name)) for name in self.config.sinks}

    def direct(self, name: str, watch: str, tally: Tally) -> DirectWriter:
        """Sends documents of a watch to a sink past the log, while the dispatcher of the sink is idle."""
        from esfeed.delivery.direct_writer import DirectWriter

        event_factory = self.watchers[watch].event_factory
        return DirectWriter(
            name,
            watch,
            self.targets[name],
            self.router,
            self.store.log,
            self.store.outbox,
            delivery_options(self.config.sinks[name]),
            event_factory,
            tally,
        )

    def _dispatcher(self, name: str, settings: SinkSection) -> Dispatcher | MemoryDispatcher:
        from esfeed.delivery.dispatcher import Dispatcher
        from esfeed.delivery.memory_dispatcher import MemoryDispatcher

        made: Dispatcher | MemoryDispatcher
        if settings.persist:
            made = Dispatcher(
                name,
                self.targets[name],
                self.router,
                self.store.log,
                self.store.outbox,
                delivery_options(settings),
                self.clock,
                steady=self.steady,
            )
        else:
            made = MemoryDispatcher(name, self.targets[name], self.router, delivery_options(settings), self.clock)
            self.notifier.subscribe(made.hear)
        made.start()
        self._stack.callback(made.close)
        return made

    def backlog(self, name: str) -> int:
        """How many log entries lie behind the cursor of a sink; without the log, how many events are in memory."""
        from esfeed.delivery.memory_dispatcher import MemoryDispatcher

        found = self.dispatchers[name]
        if isinstance(found, MemoryDispatcher):
            return found.backlog
        return self.store.log.count(self.store.outbox.cursor(name) or 0)

    def sink(self, name: str) -> Sink:
        """A new sink with those settings, not yet open."""
        settings = self.config.sinks[name]
        try:
            made: Sink = plugins.sink_class(settings.type)(settings)
        except EsfeedError:
            raise
        except Exception as error:
            raise Unforeseen(f"the sink {name!r}", error) from error
        return made

    def _watched(self, name: str) -> Sink:
        made = self.sink(name)
        return ObservedSink(name, made, self.observers, self.clock, self.ages.of) if self.observers else made


def delivery_options(settings: SinkSection) -> DeliveryOptions:
    """The delivery options from the settings of a sink."""
    return DeliveryOptions(
        settings.batch,
        settings.batch_bytes,
        settings.linger,
        settings.attempts,
        settings.ttl,
        settings.coalesce,
    )
