"""How long to wait before the next try: twice as long each time, up to a bound, with jitter. Pure.

The shape is tenacity's (https://tenacity.readthedocs.io/en/latest/api.html#wait-functions); the chance comes in.
"""

from __future__ import annotations

from tenacity import RetryCallState, wait_exponential

LONGEST_ASKED = 3600.0
"""The most seconds that a target's own word on when to come back is believed."""

_document = wait_exponential(multiplier=1.0, max=600.0)
_target = wait_exponential(multiplier=0.5, max=60.0)


def for_document(attempts: int, asked: float | None, chance: float) -> float:
    """Seconds until a document is tried again after ``attempts`` failed ones: 1, 2, 4 … 600, less up to half of it.

    ``chance`` is in [0, 1). ``asked``: what the target asked for, which is kept where it is longer.
    """
    return max(_with_jitter(_document, attempts, chance), min(asked or 0.0, LONGEST_ASKED))


def for_target(failures: int, asked: float | None, chance: float) -> float:
    """Seconds until a whole target is tried again after ``failures`` steps that failed: 0.5, 1, 2 … 60, less jitter.

    ``asked``: what the target asked for, which is kept instead where it is more than nothing.
    """
    return min(asked, LONGEST_ASKED) if asked else _with_jitter(_target, failures, chance)


def _with_jitter(strategy: wait_exponential, tries: int, chance: float) -> float:
    state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]  # only counts
    state.attempt_number = max(1, tries)
    return float(strategy(state)) * (1.0 - chance / 2)
