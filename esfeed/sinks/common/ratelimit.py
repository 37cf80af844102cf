"""Spreads requests evenly, so that a target is never asked for more than it allows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Rate:
    """A bucket of one token that fills ``per_second`` times a second; ``None``: it is never empty. For any thread."""

    def __init__(self, per_second: float | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._apart = 1.0 / per_second if per_second else 0.0
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._next = float("-inf")

    def take(self, limit: float) -> tuple[float, bool]:
        """The seconds to wait before the next request may leave, and whether it may.

        Where that is more than ``limit`` it may not, and nothing is taken.
        """
        if not self._apart:
            return 0.0, True
        with self._lock:
            now = self._monotonic()
            wait = max(0.0, self._next - now)
            if wait > limit:
                return wait, False
            self._next = max(now, self._next) + self._apart
            return wait, True
