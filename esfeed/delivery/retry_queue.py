"""The parked documents of a sink, in memory: the rows of the store without their events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from esfeed.ports import Doc, Parked


class RetryQueue:
    """The waiting events of each document, the next one to try first. ``count`` counts all of them."""

    def __init__(self, parked: Iterable[Parked] = ()) -> None:
        self._queues: dict[Doc, list[Parked]] = {}
        self.count = 0
        for one in parked:
            if one.state in ("retry", "waiting"):
                self.put(one)

    def __contains__(self, document: Doc) -> bool:
        return document in self._queues

    def queue(self, document: Doc) -> Sequence[Parked]:
        """The parked events of the document, oldest first; empty if there are none."""
        return self._queues.get(document, ())

    def put(self, one: Parked) -> None:
        """Adds an event in the order of positions, or replaces it."""
        queue = self._queues.setdefault(one.document, [])
        if not queue or queue[-1].position < one.position:
            queue.append(one)
            self.count += 1
            return
        before = len(queue)
        queue[:] = sorted([*(other for other in queue if other.position != one.position), one], key=_position)
        self.count += len(queue) - before

    def take(self, document: Doc, positions: Iterable[int]) -> None:
        """Removes events. A document without any is no longer parked."""
        positions = set(positions)
        queue = self._queues.get(document, [])
        left = [one for one in queue if one.position not in positions]
        self.count -= len(queue) - len(left)
        if left:
            self._queues[document] = left
        else:
            self._queues.pop(document, None)

    def due(self, now: float) -> Doc | None:
        """The document that has been due for longest; ``None`` if none is due."""
        found = min(self._queues.values(), key=lambda queue: queue[0].next_try, default=None)
        return found[0].document if found and found[0].next_try <= now else None

    def next_in(self, now: float) -> float | None:
        """Seconds until a document is due, 0 if one is; ``None`` if none is parked."""
        first = min((queue[0].next_try for queue in self._queues.values()), default=None)
        return None if first is None else max(0.0, first - now)


def _position(one: Parked) -> int:
    return one.position
