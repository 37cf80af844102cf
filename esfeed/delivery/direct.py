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
from esfeed.event import Document, Event
from esfeed.ports import Entry, Stop, Store
from esfeed.routing import RouteFailed, Router
from esfeed.telling import Teller


class Direct:
    """Brings documents of one watch to one sink, whose dispatcher has to be at rest meanwhile."""

    def __init__(
        self, name: str, watch: str, target: Target, router: Router, store: Store, terms: Terms, teller: Teller
    ) -> None:
        self._name = name
        self._target = target
        self._router = router
        self._store = store
        self._terms = terms
        self._teller = teller
        self._plain = router.passes_whole(name, watch) and target.takes_lines("cloudevents")

    def bring(self, docs: Sequence[Document], first: int, stop: Stop) -> Sequence[Entry]:
        """Tells of ``docs`` from position ``first`` on, in order; returns what has to go through the log after all.

        Raises ``ConfigError`` and ``ReaderGone``.
        """
        if not self._clear():
            return self._teller.reads(docs, first)
        lines = self._teller.lines(docs, first) if self._plain else None
        if lines is None:
            return self._send_all(self._teller.reads(docs, first), stop)
        done = self._write(lines)
        return self._teller.reads(docs[done:], first + done) if done < len(docs) else ()

    def _write(self, lines: Sequence[bytes]) -> int:
        """How many of the lines the target has: all at once, as a disk confirms a page as fast as a line."""
        try:
            self._target.open()
        except Retryable:
            return 0
        return self._target.write(lines)

    def _send_all(self, entries: Sequence[Entry], stop: Stop) -> Sequence[Entry]:
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
