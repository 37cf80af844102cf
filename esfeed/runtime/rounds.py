"""Decides which thread polls the watches that are due. Watches of a cluster share requests and a pool of workers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

import structlog

from esfeed.model.sequences import chunks
from esfeed.runtime.factory import App
from esfeed.runtime.scheduler import NO_THREAD
from esfeed.runtime.workers import Workers

log = structlog.get_logger("esfeed")

_WORKERS = 8
"""Threads for each cluster that poll watches which were read before: an idle poll takes milliseconds."""

_FIRST = 12
"""Threads that read watches for the first time, or again as a whole. That can take hours and must not block others."""

_LOT = 16
"""How many new watches share one request for counters. Few, so that the counters are used before they are old."""


class Rounds:
    """Calls ``poll`` for each watch that is due, in some thread, never twice at once for one watch.

    ``followed``: the watches that were read before.
    """

    def __init__(self, app: App, poll: Callable[[str], None], followed: Iterable[str]) -> None:
        self._app = app
        self._poll = poll
        self._workers = Workers()
        self._lock = threading.Lock()
        self._followed = set(followed)
        self._taken: set[str] = set()
        self._paused: set[str] = set()

    def due(self, names: Sequence[str]) -> None:
        """Polls those watches, except paused ones and those whose last poll still runs."""
        with self._lock:
            names = [name for name in names if name not in self._taken and name not in self._paused]
            self._taken.update(names)
            anew = {name for name in names if name not in self._followed}
            alone = {name for name in names if self._app.trackers[name].reconcile}
        clusters: dict[str, list[str]] = {}
        for name in names:
            clusters.setdefault(self._app.config.watches[name].cluster, []).append(name)
        for cluster, some in clusters.items():
            self._share(cluster, [name for name in some if name not in anew | alone], anew=False)
            self._share(cluster, [name for name in some if name in anew - alone], anew=True)
            asked = [name for name in some if name in alone]
            self._put(cluster, asked, [partial(self._one, name) for name in asked], anew=True)

    def pause(self, name: str) -> None:
        """Stops polling that watch until ``resume``."""
        with self._lock:
            self._paused.add(name)

    def resume(self, name: str) -> None:
        """Polls the watch again when it is due."""
        with self._lock:
            self._paused.discard(name)

    def stop(self) -> None:
        """Starts no further poll."""
        self._workers.stop()

    def wait(self, seconds: Callable[[], float]) -> None:
        """After ``stop``: waits until no poll runs, as long as ``seconds()``, the time left, is positive."""
        self._workers.wait(seconds)

    def _share(self, cluster: str, names: Sequence[str], anew: bool) -> None:
        """Submits polls, in lots that share one request where possible."""
        together, watches = self._app.together[cluster], self._app.config.watches
        may = {name for name in names if together.may_share(watches[name].index)}
        alone = [name for name in names if name not in may]
        shared = [name for name in names if name in may]
        lots: list[list[str]] = []
        for some in chunks(shared, _LOT if anew else max(1, len(shared))):
            by_index: dict[str, list[str]] = {}
            for name in some:
                by_index.setdefault(watches[name].index, []).append(name)
            lots += [[name for index in lot for name in by_index[index]] for lot in together.lots(by_index)]
        jobs = [partial(self._lot, cluster, lot, anew) for lot in lots if len(lot) > 1]
        jobs += [partial(self._one, name) for name in [*alone, *(lot[0] for lot in lots if len(lot) == 1)]]
        self._put(cluster, names, jobs, anew)

    def _put(
        self,
        cluster: str,
        names: Collection[str],
        jobs: Sequence[Callable[[], None]],
        anew: bool,
        before: bool = False,
    ) -> None:
        if not jobs:
            return
        lane = f"poll {cluster} anew" if anew else f"poll {cluster}"
        try:
            self._workers.submit(lane, jobs, _FIRST if anew else _WORKERS, before=before)
        except RuntimeError as error:
            self._release(names)
            log.error("schedule.no_thread", job=lane, error=str(error), hint=NO_THREAD)

    def _lot(self, cluster: str, names: Sequence[str], anew: bool) -> None:
        """Reads the counters of those watches, then submits their polls ahead of waiting jobs."""
        try:
            self._app.share(cluster, names, anew)
        except Exception:
            # Each poll then reads its own counters and reports the error.
            log.debug("counters.not_shared", cluster=cluster, exc_info=True)
        self._put(cluster, names, [partial(self._one, name) for name in names], anew, before=True)

    def _one(self, name: str) -> None:
        try:
            self._poll(name)
        finally:
            self._release([name])

    def _release(self, names: Iterable[str]) -> None:
        with self._lock:
            self._taken.difference_update(names)

    def followed(self, name: str) -> None:
        """Notes that a poll of that watch completed: it has been read as a whole."""
        with self._lock:
            self._followed.add(name)
