"""Keeps requests apart, so that a watch asks a cluster for no more than it was allowed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pace:
    """Call it before each request; it waits until that one may leave. ``most_per_second`` ``None``: never.

    Requests are spread evenly: none is saved up while a feed is idle, so a burst never meets the cluster at once.
    """

    def __init__(
        self,
        most_per_second: float | None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._apart = 1.0 / most_per_second if most_per_second else 0.0
        self._sleep = sleep
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._next = 0.0

    def __call__(self) -> None:
        if not self._apart:
            return
        with self._lock:
            now = self._monotonic()
            wait = self._next - now
            self._next = max(now, self._next) + self._apart
        if wait > 0:
            self._sleep(wait)
