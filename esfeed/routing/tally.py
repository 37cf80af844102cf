"""Counts what the routes leave out of a backfill, so that nobody takes a filter for a delivery. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from esfeed.errors import brief, many
from esfeed.model.event import Event
from esfeed.routing.router import RouteFailed, Router


class Tally:
    """The events of one watch: how many there were for each sink, and how many of them the routes left out.

    An event for which a route has no answer is not left out: it becomes a dead letter.
    """

    def __init__(self, watch: str, router: Router) -> None:
        self._watch = watch
        self._router = router
        self._events: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def count(self, sink: str, events: int, left_out: int) -> None:
        """Counts events for which it is known how many the routes left out."""
        self._events[sink] += events
        if not self._router.passes_whole(sink, self._watch):
            self._left_out[sink] += left_out

    def judge(self, sink: str, events: Sequence[Event]) -> None:
        """Counts events, and asks the routes which ones they leave out."""
        whole = self._router.passes_whole(sink, self._watch)
        self.count(sink, len(events), 0 if whole else sum(self._leaves_out(sink, events)))

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
        """Whether there were events, and the routes left out all of them for every sink."""
        return self._events.total() > 0 and self._left_out == self._events

    def _leaves_out(self, sink: str, events: Sequence[Event]) -> Iterable[bool]:
        for event in events:
            try:
                yield not self._router.wants(sink, event)
            except RouteFailed:
                yield False

    def _why(self, sink: str) -> str:
        conditions = self._router.conditions(sink, self._watch)
        if not conditions:
            return ""
        text = "; ".join(f'routes[{index}].where = "{brief(where)}"' for index, where in conditions[:3])
        return f" ({text}); the events of a backfill have op 'read'"
