"""How old the entries of the log are, although the system clock may have been set since they were logged.

An entry carries the time of day at which it was found. If the clock is set an hour forward afterwards, a plain
difference makes the entry an hour too old: the lag of a sink jumps, and the log is pruned too early. So the feed stores
each step of the clock with the position of the log at that moment, and an age leaves out the steps since the entry.
"""

from __future__ import annotations

import contextlib

import msgspec

from esfeed.errors import StateError
from esfeed.model.event import Event, event_time
from esfeed.ports import Clock, Log, Notes
from esfeed.runtime.clock import STEP, boot_id
from esfeed.text.decoders import read

_KIND, _NAME = "clock", "steps"
_LIMIT = 100


class ClockSteps(msgspec.Struct, frozen=True):
    """The steps of the clock that the entries of the log have seen.

    ``apart``: the time of day less the monotonic clock, when the feed last looked, on the boot ``boot``. ``steps``:
    (position of the newest entry before the step, seconds), in the order of the log.
    """

    boot: str = ""
    apart: float = 0.0
    steps: tuple[tuple[int, float], ...] = ()

    def since(self, position: int) -> float:
        """By how many seconds the clock was set after the entry at ``position`` was logged; 0 if it has no position."""
        return sum(seconds for newest, seconds in self.steps if 0 < position <= newest)

    def forward(self) -> float:
        """The most seconds by which a difference of times of day is more than the age of any entry; at least 0."""
        furthest = total = 0.0
        for _, seconds in reversed(self.steps):
            total += seconds
            furthest = max(furthest, total)
        return furthest


class Ages:
    """The ages of log entries, in seconds. Thread-safe. Only the running feed calls ``look``; others ``refresh``."""

    def __init__(self, clock: Clock, notes: Notes, log: Log) -> None:
        self._clock = clock
        self._notes = notes
        self._log = log
        self._boot = boot_id()
        self._stored = False
        self.refresh()

    def refresh(self) -> None:
        """Reads the steps that the feed has stored."""
        raw = self._notes.all(_KIND).get(_NAME)
        self._stored = raw is not None
        self._known = ClockSteps(self._boot, self._apart()) if raw is None else read(raw, ClockSteps)

    def look(self) -> None:
        """Stores a step of the clock since the last call, and forgets those that no entry of the log has seen.

        An entry that was logged between the step and this call counts as older than the step. If the machine started
        anew meanwhile, no step can be known, and none is stored.
        """
        known = self._known
        step = self._pending()
        steps = known.steps if step == 0.0 else (*known.steps, (self._log.head(), step))
        if steps:
            first = self._log.first()
            steps = tuple(one for one in steps if first is not None and first <= one[0])[-_LIMIT:]
        same = self._boot == known.boot and step == 0.0
        found = ClockSteps(self._boot, known.apart if same else self._apart(), steps)
        if found == known and self._stored:
            return
        self._known = found
        # A state that cannot be written reports it elsewhere; this process knows the step all the same.
        with contextlib.suppress(StateError):
            self._notes.put(_KIND, _NAME, msgspec.json.encode(found))
            self._stored = True

    def of(self, event: Event) -> float:
        """How long ago an event of the log was found; at least 0."""
        found = event_time(event)
        if found is None:
            return 0.0
        difference = self._clock.now().timestamp() - found
        return max(0.0, difference - self._known.since(event.position) - self._pending())

    def before(self, seconds: float) -> float:
        """A time of day (epoch seconds): every entry with an earlier one is older than ``seconds``."""
        return self._clock.now().timestamp() - seconds - self._known.forward() - max(0.0, self._pending())

    def _apart(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()

    def _pending(self) -> float:
        """The step of the clock that is not stored yet; 0 if there is none."""
        if not self._boot or self._boot != self._known.boot:
            return 0.0
        step = self._apart() - self._known.apart
        return step if abs(step) >= STEP else 0.0
