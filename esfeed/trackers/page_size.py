"""Chooses how many documents a request asks for, by their size. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from esfeed.model.event import Document
from esfeed.model.reads import StatsSnapshot, size_bytes

_LEAST_PAGE = 10
_BARE = 1 << 10
_UNKNOWN = 64 << 10


class PageSizer:
    """Chooses page sizes for a watch: first by the size of the index on disk, later by the documents seen.

    ``max_bytes`` is the limit of one response, in bytes.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._largest = 0

    def initial(self, now: StatsSnapshot, limit: int) -> int:
        """How many documents with content the first request asks for. The engine compresses them on disk, to about a
        third.
        """
        average = _UNKNOWN if now.blind else 3 * now.size_bytes // max(now.docs, 1) + _BARE
        return max(1 if self._largest else _LEAST_PAGE, self.limit(limit, average))

    def limit(self, limit: int, average: int = _BARE) -> int:
        """How many documents fit into one response if each is as large as the largest seen (or ``average``); at least
        1.
        """
        return max(1, min(limit, self._max_bytes // max(average, self._largest)))

    def observe(self, docs: Sequence[Document]) -> bool:
        """Records the size of these documents. Returns whether they exceeded the limit together."""
        total = size_bytes(docs)
        if total:
            self._largest = max(self._largest, total // len(docs) + _BARE)
        return total > self._max_bytes and len(docs) > 1
