"""Keeps the latest word on each watch and sink in the state, for ``esfeed status`` and whoever looks: few transactions,
however many watches there are.
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


class Noting:
    """What is not written down yet. Usable from many threads.

    ``keep`` writes words, each as (kind, name, data), in one transaction. A word that is urgent, as it tells of another
    error than the one before, is written at once, and all others with it. Those others are written at once too, but for
    each part once a second at most; once ``patient`` is set, whoever set it calls ``flush`` each second instead.
    """

    def __init__(self, keep: Keep, monotonic: Callable[[], float]) -> None:
        self.patient = False
        self._keep = keep
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._unsaid: dict[Part, WatchHealth | SinkHealth] = {}
        self._errors: dict[Part, str] = {}
        self._noted: dict[Part, float] = {}
        self._wanted = self._writing = False

    def put(self, kind: str, name: str, health: WatchHealth | SinkHealth, error: str, at_once: bool = False) -> None:
        """Takes the newest word on a part; ``error`` is what tells whether it is urgent."""
        part = kind, name
        with self._lock:
            urgent = at_once or self._errors.get(part, "") != error
            self._errors[part] = error
            self._unsaid[part] = health
            due = not self.patient and self._monotonic() - self._noted.get(part, float("-inf")) >= _EVERY
        if urgent or due:
            self.flush()

    def say(self, kind: str, name: str) -> None:
        """Writes down the newest word on a part that rests from now on, if it was not yet."""
        if not self.patient and (kind, name) in self._unsaid:
            self.flush()

    def flush(self) -> None:
        """Writes down all that was not yet: in the thread that is at it already, where there is one."""
        with self._lock:
            self._wanted = True
            if self._writing:
                return
            self._writing = True
        while True:
            with self._lock:
                if not (self._wanted and self._unsaid):
                    self._wanted = self._writing = False
                    return
                self._wanted = False
                some, self._unsaid = self._unsaid, {}
            self._write(some)

    def _write(self, some: dict[Part, WatchHealth | SinkHealth]) -> None:
        try:
            self._keep([(*part, pack(health)) for part, health in some.items()])
        except EsfeedError as fault:
            # The state is what fails: the poll or delivery tells of it, these notes are not worth a second error.
            log.debug("health.not_noted", parts=len(some), error=str(fault))
            with self._lock:
                self._unsaid = some | self._unsaid
            return
        except BaseException:
            with self._lock:
                self._writing = False
            raise
        now = self._monotonic()
        with self._lock:
            self._noted.update(dict.fromkeys(some, now))
