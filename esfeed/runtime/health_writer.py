"""Writes the latest health of watches and sinks into the state, in few transactions, for ``esfeed status``."""

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
"""The kind, ``watch`` or ``sink``, and the name."""


class HealthWriter:
    """Buffers health that is not written yet. Thread-safe.

    ``keep`` writes notes, each (kind, name, data), in one transaction. A note whose error differs from the previous one
    is urgent: it is written at once, together with all others. Other notes are written at once too, but only once a
    second for each part. If ``patient`` is set, the caller calls ``flush`` every second instead.
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
        """Writes the newest health of a part that becomes idle, if it is not written yet."""
        if not self.patient and (kind, name) in self._waiting:
            self.flush()

    def flush(self) -> None:
        """Writes everything that is not written yet. If another thread is writing, that thread does it."""
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
            # The state fails, and the poll or delivery reports it. The health does not deserve a second error.
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
