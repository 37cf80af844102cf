"""Matches writes and events: what the cloud wrote, when it was acknowledged, and what was shown."""

from __future__ import annotations

import threading
import time

from esfeed.model.event import Event, View

_SUFFIXES: dict[View | None, str] = {"admin": "_ADMIN", "user": "_USER", None: ""}
_ACKNOWLEDGED_WITHIN = 2.0


class Ledger:
    """Measures delays from acknowledgement to display. The cloud, the threads of the sinks and the show share it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._acknowledged: dict[tuple[str, int | None], float] = {}
        self._awaited: dict[str, int | None] = {}
        self.delays: list[float] = []

    def expect(self, doc_id: str, version: int | None) -> None:
        """Notes, before the write, that an event must follow; ``version`` is ``None`` for a delete."""
        with self._changed:
            self._awaited[doc_id] = version

    def acknowledged(self, doc_id: str, version: int | None) -> None:
        """Notes that the engine has just acknowledged that write."""
        with self._changed:
            self._acknowledged[doc_id, version] = time.monotonic()
            self._changed.notify_all()

    def shown(self, event: Event) -> float | None:
        """Notes that ``event`` is on the screen; returns the seconds since its write, ``None`` if unknown.

        It is unknown for what existed before the feed began, and for writes of others.
        """
        now = time.monotonic()
        doc_id = event.doc_id + _SUFFIXES[event.view]
        version = None if event.op == "deleted" else event.origin.version
        with self._changed:
            if doc_id not in self._awaited:
                return None
            # The feed may be faster than the acknowledgement on its way back to the cloud.
            self._changed.wait_for(lambda: (doc_id, version) in self._acknowledged, _ACKNOWLEDGED_WITHIN)
            written = self._acknowledged.get((doc_id, version))
            if self._awaited[doc_id] == version:
                del self._awaited[doc_id]
                self._changed.notify_all()
            if written is None or event.op == "read":
                return None
            self.delays.append(max(0.0, now - written))
            return self.delays[-1]

    def all_shown(self, within: float) -> bool:
        """Waits up to ``within`` seconds until every expected event is on the screen; returns whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._awaited, within)
