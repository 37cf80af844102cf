"""The real clock (``ports.Clock``), and one that ignores changes of the system clock. No other module reads time."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from esfeed.errors import StateError
from esfeed.ports import Clock, Notes
from esfeed.text.decoders import read

STEP = 0.25
"""How many seconds two clocks may drift apart before it counts as a step. A slewed clock drifts by less."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_KIND, _NAME = "clock", "boottime"
_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux: also counts while the machine sleeps. An age must, and a system that has no such clock counts so anyway."""


class SystemClock:
    """See ``ports.Clock``. The monotonic clock goes on while the machine sleeps, unlike that of ``time``."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.clock_gettime(_SINCE_BOOT)


class SteadyClock:
    """A time of day (``ports.Clock``) derived from the monotonic clock: setting the system clock does not move it.

    Use it for ages and delays. It may differ from the time of day by as much as the system clock was set. ``offset``:
    the time of day, in epoch seconds, when the monotonic clock was at 0.
    """

    def __init__(self, clock: Clock, offset: float) -> None:
        self._clock = clock
        self._offset = offset

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._offset + self._clock.monotonic(), UTC)

    def monotonic(self) -> float:
        return self._clock.monotonic()


class _Kept(msgspec.Struct, frozen=True):
    boot: str
    offset: float


def steady(clock: Clock, notes: Notes) -> SteadyClock:
    """The steady clock of a state, the same for all its processes while the machine runs.

    The monotonic clock belongs to the machine, so the first process after a boot stores the offset for all others. If
    the system does not identify the boot, each process has its own offset.
    """
    offset, boot = clock.now().timestamp() - clock.monotonic(), boot_id()
    raw = notes.all(_KIND).get(_NAME)
    kept = read(raw, _Kept) if raw else None
    if kept is not None and boot and kept.boot == boot:
        return SteadyClock(clock, kept.offset)
    # If the note cannot be written (a read-only state), this process uses its own offset.
    with contextlib.suppress(StateError):
        notes.put(_KIND, _NAME, msgspec.json.encode(_Kept(boot, offset)))
    return SteadyClock(clock, offset)


def boot_id() -> str:
    """Differs after each start of the machine; empty if the system does not tell."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
