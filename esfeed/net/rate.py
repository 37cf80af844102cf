"""Spreads requests evenly, so that a target never gets more than its limit."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable


class Rate:
    """A bucket of one token that refills ``per_second`` times a second; ``None``: no limit. Thread-safe.

    Requests are spread evenly. Idle time saves up nothing, so the target never receives a burst.
    """

    def __init__(self, per_second: float | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._apart = 1.0 / per_second if per_second else 0.0
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._next = float("-inf")

    def take(self, limit: float = math.inf) -> tuple[float, bool]:
        """(seconds to wait before the next request, whether it may be sent).

        If the wait exceeds ``limit``, the request may not be sent, and no token is taken.
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
