"""Past the log: what a backfill tells of a target that has nothing else to do, where no feed runs.

Nothing is tried again here, and no failure is judged: what is not taken goes through the log, and all after it, until
the dispatcher has brought that.
"""

from __future__ import annotations

from collections.abc import Sequence

from esfeed.delivery.page import fitting
from esfeed.delivery.target import Target
from esfeed.delivery.terms import Terms
from esfeed.errors import Retryable
from esfeed.event import Event
from esfeed.ports import Entry, Stop, Store
from esfeed.routing import RouteFailed, Router


class Direct:
    """Brings events to one sink, whose dispatcher has to be at rest meanwhile. ``sent`` counts those that it took."""

    def __init__(self, name: str, target: Target, router: Router, store: Store, terms: Terms) -> None:
        self._name = name
        self._target = target
        self._router = router
        self._store = store
        self._terms = terms
        self.sent = 0

    def bring(self, entries: Sequence[Entry], stop: Stop) -> Sequence[Entry]:
        """Sends ``entries`` that are in no log, in order; returns those that have to go through it after all.

        Raises ``ConfigError`` and ``ReaderGone``.
        """
        if not self._clear():
            return entries
        left: list[Entry] = []
        shaped: list[tuple[Entry, Event]] = []
        for entry in entries:
            try:
                event = self._router.shape(self._name, entry.event)
            except RouteFailed:
                left.append(entry)
            else:
                if event is not None:
                    shaped.append((entry, event))
        done, failed = 0, False
        while done < len(shaped) and not failed and not stop():
            some = shaped[done : done + self._terms.batch]
            some = some[: fitting([event for _, event in some], self._terms.batch_bytes)]
            done += len(some)
            untaken = self._send(some)
            self.sent += len(some) - len(untaken)
            left += untaken
            failed = bool(untaken)
        return [*left, *(entry for entry, _ in shaped[done:])]

    def _clear(self) -> bool:
        """Whether nothing of this sink lies before these events, or could be sent again after them."""
        if self._terms.coalesce or self._store.parked(self._name):
            return False
        return not self._store.read_log(self._store.cursor(self._name) or 0, 1)

    def _send(self, some: Sequence[tuple[Entry, Event]]) -> list[Entry]:
        try:
            self._target.open()
            outcomes = self._target.send([event for _, event in some])
        except Retryable:
            return [entry for entry, _ in some]
        return [entry for (entry, _), outcome in zip(some, outcomes, strict=True) if not outcome.ok]
