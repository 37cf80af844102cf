"""How long to wait before the next try: exponential, with a limit and jitter. Pure.

The strategies are those of tenacity (https://tenacity.readthedocs.io/en/latest/api.html#wait-functions). The caller
supplies the random number.
"""

from __future__ import annotations

from tenacity import RetryCallState, wait_exponential

LONGEST_ASKED = 3600.0
"""The longest wait in seconds that a target can ask for. esfeed shortens longer requests to this."""

_document = wait_exponential(multiplier=1.0, max=600.0)
_target = wait_exponential(multiplier=0.5, max=60.0)


def for_document(attempts: int, asked: float | None, chance: float) -> float:
    """Seconds until the next try of a document after ``attempts`` failures: 1, 2, 4 … 600, minus up to half as jitter.

    ``chance`` is a random number in [0, 1). ``asked``: the seconds that the target asked for; the result is at least
    that.
    """
    return max(_with_jitter(_document, attempts, chance), min(asked or 0.0, LONGEST_ASKED))


def for_target(failures: int, asked: float | None, chance: float) -> float:
    """Seconds until the next try of a target after ``failures`` consecutive failed steps: 0.5, 1, 2 … 60, minus jitter.

    ``asked``: the seconds that the target asked for; if positive, they replace the computed delay.
    """
    return min(asked, LONGEST_ASKED) if asked else _with_jitter(_target, failures, chance)


def _with_jitter(strategy: wait_exponential, tries: int, chance: float) -> float:
    state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]  # only counts
    state.attempt_number = max(1, tries)
    return float(strategy(state)) * (1.0 - chance / 2)
