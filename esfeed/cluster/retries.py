"""Delays retries of a request to a cluster."""

from __future__ import annotations

import tenacity

from esfeed.errors import Retryable

_LONGEST_WAIT = 60.0
_backoff = tenacity.wait_exponential(multiplier=0.2, max=5.0) + tenacity.wait_random(0, 0.2)


def between_tries(state: tenacity.RetryCallState) -> float:
    """Seconds until the next attempt of a request: as the response said (up to a minute), or backoff with jitter."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Retryable) and error.wait is not None:
        return min(error.wait, _LONGEST_WAIT)
    return float(_backoff(state))
