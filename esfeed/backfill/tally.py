"""Counts what the routes leave out of a backfill, so that nobody takes a filter for a delivery. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from esfeed.errors import brief, many
from esfeed.model.event import Document
from esfeed.ports import Entry
from esfeed.routing.router import RouteFailed, Router


class Tally:
    """The events of one watch: how many there were, and how many the routes left out for each of ``sinks``.

    ``reads`` makes the events of documents. An event for which a route has no answer is not left out: it becomes a dead
    letter.
    """

    def __init__(
        self,
        watch: str,
        sinks: Sequence[str],
        router: Router,
        reads: Callable[[Sequence[Document], int], Sequence[Entry]],
    ) -> None:
        self._watch = watch
        self._router = router
        self._reads = reads
        self._documents = 0
        self._events: dict[str, int] = dict.fromkeys((sink for sink in sinks if not self._whole(sink)), 0)
        self._left_out: dict[str, int] = dict.fromkeys(self._events, 0)
        self._every = len(self._events) == len(sinks)

    def add(self, docs: Sequence[Document]) -> None:
        """Counts the events of ``docs``."""
        self._documents += len(docs)
        if not self._events:
            return
        for entry in self._reads(docs, 0):
            for sink in self._events:
                self._events[sink] += 1
                self._left_out[sink] += not self._wanted(sink, entry)

    def report(self) -> Sequence[str]:
        """A sentence for each sink that the routes left events out for."""
        return [
            f"{self._watch}: the routes left out {left:,} of {many(self._events[sink], 'event')} for {sink}"
            + self._why(sink)
            for sink, left in self._left_out.items()
            if left
        ]

    @property
    def nothing(self) -> bool:
        """Whether documents were read, and the routes left out all of their events for every sink."""
        return self._every and self._documents > 0 and self._left_out == self._events

    def _whole(self, sink: str) -> bool:
        return self._router.passes_whole(sink, self._watch)

    def _wanted(self, sink: str, entry: Entry) -> bool:
        try:
            return self._router.wants(sink, entry.event)
        except RouteFailed:
            return True

    def _why(self, sink: str) -> str:
        conditions = self._router.conditions(sink, self._watch)
        if not conditions:
            return ""
        text = "; ".join(f'routes[{index}].where = "{brief(where)}"' for index, where in conditions[:3])
        return f" ({text}); the events of a backfill have op 'read'"
