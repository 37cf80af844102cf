"""Time, and how long work is watched and left off."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time as the house sees it; tests bring their own."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back, for measuring."""


Progress = Callable[[int, int], None]
"""Told (documents read so far, documents expected or 0)."""

Stop = Callable[[], bool]
"""Asked between two steps of long work; true means: leave off now, in a state from which one can go on."""
