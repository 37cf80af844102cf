"""The real clock (``ports.Clock``), and one that nobody sets. Nothing else asks the system for the time."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from esfeed.errors import StateError
from esfeed.ports import Clock, Notes
from esfeed.text.decoders import read

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_KIND = "clock"


class SystemClock:
    """See ``ports.Clock``."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class SteadyClock:
    """Time of day that goes by the monotonic clock (``ports.Clock``): setting the system's clock does not move it.

    For how long ago something was, and how long to wait; it may differ from the time of day by what that was set by.
    ``offset``: the time of day, in epoch seconds, when the monotonic clock was at 0.
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
    """The steady clock of a state: the same one for all its processes, as long as the machine runs.

    The monotonic clock is the machine's, so the first process after a boot notes the offset for all others. Where the
    system does not say which boot it is, each process has an offset of its own.
    """
    offset, boot = clock.now().timestamp() - clock.monotonic(), _boot()
    raw = notes.all(_KIND).get(_KIND)
    kept = read(raw, _Kept) if raw else None
    if kept is not None and boot and kept.boot == boot:
        return SteadyClock(clock, kept.offset)
    # Without the note (a state that is read-only) this process goes by its own.
    with contextlib.suppress(StateError):
        notes.put(_KIND, _KIND, msgspec.json.encode(_Kept(boot, offset)))
    return SteadyClock(clock, offset)


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
