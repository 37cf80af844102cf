"""A bounded number of threads for each lane, so that no lane waits for the work of another."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence

import structlog

log = structlog.get_logger("esfeed")

Job = Callable[[], None]


class Workers:
    """Runs the jobs of each lane in order, up to ``limit`` at a time. Thread-safe.

    Threads start on demand and are kept. They are daemons: one that hangs, for example on a dead cluster, must not keep
    the process from exiting.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: dict[Hashable, _Lane] = {}
        self._over = False

    def submit(self, lane: Hashable, jobs: Sequence[Job], limit: int, *, before: bool = False) -> None:
        """Queues ``jobs`` in that lane, behind the waiting ones, or ahead of them if ``before``.

        Raises ``RuntimeError`` if no thread can start and the lane has none; then none of the waiting jobs run.
        """
        with self._lock:
            if self._over:
                return
            if lane not in self._lanes:
                self._lanes[lane] = _Lane(str(lane))
            found = self._lanes[lane]
        found.submit(jobs, limit, before)

    def stop(self) -> None:
        """Starts no further job, and discards those that wait."""
        with self._lock:
            self._over = True
            lanes = [*self._lanes.values()]
        for lane in lanes:
            lane.stop()

    def wait(self, seconds: Callable[[], float]) -> bool:
        """After ``stop``: waits until no job runs, as long as ``seconds()``, the time left, is positive.

        Returns whether no job runs.
        """
        rest = [lane.wait(seconds) for lane in [*self._lanes.values()]]
        return all(rest)


class _Lane:
    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._threads = self._idle = 0
        self._over = False

    def submit(self, jobs: Sequence[Job], limit: int, before: bool) -> None:
        with self._changed:
            if before:
                self._waiting.extendleft(reversed(jobs))
            else:
                self._waiting.extend(jobs)
            try:
                while self._threads < limit and len(self._waiting) > self._idle:
                    threading.Thread(target=self._work, name=self._name, daemon=True).start()
                    self._threads += 1
                    self._idle += 1  # until it takes its first job
            except RuntimeError:
                if not self._threads:
                    self._waiting.clear()
                    raise
            self._changed.notify(len(jobs))

    def stop(self) -> None:
        with self._changed:
            self._over = True
            self._waiting.clear()
            self._changed.notify_all()

    def wait(self, seconds: Callable[[], float]) -> bool:
        with self._changed:
            while self._idle < self._threads and (left := seconds()) > 0:
                self._changed.wait(left)
            return self._idle >= self._threads

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._over:
                        return
                    self._changed.wait()
                job = self._waiting.popleft()
                self._idle -= 1
            try:
                job()
            except Exception:
                log.error("worker.failed", lane=self._name, exc_info=True)
            with self._changed:
                self._idle += 1
                if self._over:
                    self._changed.notify_all()
