"""The real clock (``ports.Clock``). Everything that needs the time is given one; nothing else asks the system."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """See ``ports.Clock``."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()
