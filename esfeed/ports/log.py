"""The log of events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from esfeed.model.event import Event

PAGE_BYTES = 32 << 20
"""The limit of events, in bytes, that one read of the log brings into memory, unless a single event has more."""

Doc = tuple[int, bytes]
"""Identifies a document in the log, the same for all of its events (watch and key). Opaque."""

NO_DOC: Doc = (0, b"")


class LogRow(msgspec.Struct, frozen=True, gc=False):
    """A row of the log as a dispatcher reads it. ``sink`` is set where only that one is to have it."""

    position: int
    event: Event
    sink: str | None
    document: Doc = NO_DOC


class Log(Protocol):
    """Reads the log. Usable from many threads."""

    def read(self, after: int, limit: int, max_bytes: int = PAGE_BYTES) -> Sequence[LogRow]:
        """Rows with a position greater than ``after``, in order, up to ``limit``.

        Fewer where they come to more than ``max_bytes``, but at least one.
        """

    def head(self) -> int:
        """The position of the newest row ever written, 0 if there was none."""

    def first(self) -> int | None:
        """The position of the oldest row that is left; ``None`` if none is."""

    def last(self) -> int:
        """The position of the newest row that is left; 0 if none is."""

    def count(self, after: int) -> int:
        """An upper bound of the rows that are left with a position greater than ``after``."""

    def size_bytes(self) -> int:
        """The size of all events in the log."""
