"""The log of events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from esfeed.model.event import Event

PAGE_BYTES = 32 << 20
"""The limit of one read of the log, in bytes of events. A single larger event is still returned."""

Doc = tuple[int, bytes]
"""Identifies a document in the log by watch and key, the same for all of its events. Opaque."""

NO_DOC: Doc = (0, b"")


class LogRow(msgspec.Struct, frozen=True, gc=False):
    """A row of the log, for a dispatcher. ``sink`` is set if only that sink receives the event."""

    position: int
    event: Event
    sink: str | None
    document: Doc = NO_DOC


class Log(Protocol):
    """Reads the log. Thread-safe."""

    def read(self, after: int, limit: int, max_bytes: int = PAGE_BYTES) -> Sequence[LogRow]:
        """Rows with a position greater than ``after``, in order, up to ``limit``.

        Fewer rows if they exceed ``max_bytes`` together, but at least one.
        """

    def head(self) -> int:
        """The position of the newest row ever written, 0 if there was none."""

    def first(self) -> int | None:
        """The position of the oldest remaining row; ``None`` if the log is empty."""

    def last(self) -> int:
        """The position of the newest remaining row; 0 if the log is empty."""

    def count(self, after: int) -> int:
        """An upper bound for the number of remaining rows with a position greater than ``after``."""

    def size_bytes(self) -> int:
        """The size of all events in the log, in bytes."""
