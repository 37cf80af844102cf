"""How many documents to ask for at once, by what they weigh. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from esfeed.model.event import Document
from esfeed.model.reads import StatsSnapshot, octets

_LEAST_PAGE = 10
_BARE = 1 << 10
_UNKNOWN = 64 << 10


class PageSizer:
    """What the documents of a watch weigh: on the engine's disk at first, and as seen from then on.

    ``most`` is the most bytes that one answer should bring.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._heaviest = 0

    def page(self, now: StatsSnapshot, most: int) -> int:
        """How many whole documents to ask for at once (on the engine's disk they are deflated: to a third)."""
        average = _UNKNOWN if now.blind else 3 * now.octets // max(now.docs, 1) + _BARE
        return max(1 if self._heaviest else _LEAST_PAGE, self.fitting(most, average))

    def fitting(self, most: int, average: int = _BARE) -> int:
        """How many documents as heavy as the heaviest seen (or ``average``) fit into one answer: one at least."""
        return max(1, min(most, self._most // max(average, self._heaviest)))

    def weigh(self, docs: Sequence[Document]) -> bool:
        """Remembers how large documents are; returns whether these were too large together."""
        weight = octets(docs)
        if weight:
            self._heaviest = max(self._heaviest, weight // len(docs) + _BARE)
        return weight > self._most and len(docs) > 1
