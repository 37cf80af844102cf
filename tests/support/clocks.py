"""A clock that a test sets, as an operator or NTP sets the machine's."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest
from apscheduler.schedulers import base  # type: ignore[import-untyped]  # it has no py.typed

from esfeed.runtime.clock import SystemClock


class Shifted(SystemClock):
    """The real clock, set by so many seconds."""

    by = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.by)


def shifted(monkeypatch: pytest.MonkeyPatch) -> Shifted:
    """A new one, which is what APScheduler, too, takes for the time of day."""
    clock = Shifted()

    class Now(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return clock.now().astimezone(tz)

    monkeypatch.setattr(base, "datetime", Now)
    return clock
