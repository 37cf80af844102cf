"""Time, and how long work is observed and interrupted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """The source of time; tests use their own."""

    def now(self) -> datetime:
        """The current time, timezone-aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never decrease, for measuring durations."""


Progress = Callable[[int, int], None]
"""Called with (documents read so far, documents expected or 0)."""

Stop = Callable[[], bool]
"""Called between two steps of long work. True means: stop now, in a state from which the work can continue."""
