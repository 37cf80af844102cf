"""Keeps requests apart, so that a watch asks a cluster for no more than it was allowed, and tries apart."""

from __future__ import annotations

import email.utils
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import tenacity

from esfeed.errors import Retryable

_LONGEST_WAIT = 60.0
_backoff = tenacity.wait_exponential(multiplier=0.2, max=5.0) + tenacity.wait_random(0, 0.2)


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


def between_tries(state: tenacity.RetryCallState) -> float:
    """Seconds until a request is tried again: as the answer said (a minute at most), else more with each try."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Retryable) and error.wait is not None:
        return min(error.wait, _LONGEST_WAIT)
    return float(_backoff(state))


def retry_after(value: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header, in either form (RFC 9110, 10.2.3)."""
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    if when.tzinfo is None:  # "-0000": UTC, without a word on where it came from
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
