"""Limits the rate of requests of a watch to a cluster, and delays retries."""

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
    """Call it before each request; it waits until the request may leave. ``most_per_second = None``: no limit.

    Requests are spread evenly. An idle feed saves up nothing, so the cluster never receives a burst.
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
    """Seconds until the next attempt of a request: as the response said (up to a minute), otherwise growing, with
    jitter.
    """
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Retryable) and error.wait is not None:
        return min(error.wait, _LONGEST_WAIT)
    return float(_backoff(state))


def retry_after(value: str | None) -> float | None:
    """The seconds of a ``Retry-After`` header, in both of its forms (RFC 9110, 10.2.3)."""
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    if when.tzinfo is None:  # "-0000" means UTC, from an unknown time zone
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
