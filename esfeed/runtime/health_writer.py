"""Writes the latest health of each watch and sink into the state, for ``esfeed status``: few transactions, however many
watches there are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import structlog

from esfeed.errors import EsfeedError
from esfeed.runtime.health import SinkHealth, WatchHealth, pack

log = structlog.get_logger("esfeed")

_EVERY = 1.0
Keep = Callable[[Sequence[tuple[str, str, bytes]]], None]
Part = tuple[str, str]
"""Its kind, ``watch`` or ``sink``, and its name."""


class HealthWriter:
    """Health that is not written yet. Usable from many threads.

    ``keep`` writes notes, each (kind, name, data), in one transaction. A note with another error than the one before is
    urgent: it is written at once, and all others with it. The others are written at once too, but for each part up to
    once a second; with ``patient`` set, the caller calls ``flush`` each second instead.
    """

    def __init__(self, keep: Keep, monotonic: Callable[[], float]) -> None:
        self.patient = False
        self._keep = keep
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._waiting: dict[Part, WatchHealth | SinkHealth] = {}
        self._errors: dict[Part, str] = {}
        self._noted: dict[Part, float] = {}
        self._wanted = self._writing = False

    def put(self, kind: str, name: str, health: WatchHealth | SinkHealth, error: str, at_once: bool = False) -> None:
        """Takes the newest health of a part; a new ``error`` makes it urgent."""
        part = kind, name
        with self._lock:
            urgent = at_once or self._errors.get(part, "") != error
            self._errors[part] = error
            self._waiting[part] = health
            due = not self.patient and self._monotonic() - self._noted.get(part, float("-inf")) >= _EVERY
        if urgent or due:
            self.flush()

    def rest(self, kind: str, name: str) -> None:
        """Writes the newest health of a part that rests from now on, if that is not done yet."""
        if not self.patient and (kind, name) in self._waiting:
            self.flush()

    def flush(self) -> None:
        """Writes all that is not written yet: in the thread that writes already, if there is one."""
        with self._lock:
            self._wanted = True
            if self._writing:
                return
            self._writing = True
        while True:
            with self._lock:
                if not (self._wanted and self._waiting):
                    self._wanted = self._writing = False
                    return
                self._wanted = False
                some, self._waiting = self._waiting, {}
            self._write(some)

    def _write(self, some: dict[Part, WatchHealth | SinkHealth]) -> None:
        try:
            self._keep([(*part, pack(health)) for part, health in some.items()])
        except EsfeedError as fault:
            # The state is what fails: the poll or delivery tells of it, the health is not worth a second error.
            log.debug("health.not_noted", parts=len(some), error=str(fault))
            with self._lock:
                self._waiting = some | self._waiting
            return
        except BaseException:
            with self._lock:
                self._writing = False
            raise
        now = self._monotonic()
        with self._lock:
            self._noted.update(dict.fromkeys(some, now))
