"""The store: what a poll leaves behind, the log, and what sinks have of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from esfeed.model.event import Event, Key, Revision
from esfeed.ports.memory import Known
from esfeed.ports.polls import Checkpoint, Passed

PAGE_BYTES = 32 << 20
"""The most bytes of events that one reading of the log brings into memory, unless one event alone has more."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A row to be added to the log. ``sink`` is set where only that sink is to have it (a backfill)."""

    key: Key
    event: Event
    sink: str | None = None


class BackfillMark(msgspec.Struct, frozen=True):
    """How far a backfill has come: everything up to ``mark`` (as its own reader writes it) is in the log."""

    name: str
    mark: str
    sent: int


class Commit(msgspec.Struct, frozen=True):
    """What one batch leaves behind, all of it or nothing: revisions, documents, tombstones, log rows, checkpoint.

    ``stamps`` are new dates of known revisions (which so are not followed shard by shard).
    What is ``gone`` of a shard leaves a tombstone, until the shard has ``passed`` what was counted after that.
    ``known`` has those of ``revisions`` that were known before, as this poll has read them; ``None`` where nobody
    looked. Where another process has made it otherwise by now, nothing is kept, and ``StateError`` raised.
    ``low`` is for a backfill, which reads beside the feed: entries of documents that the feed logged after position
    ``low`` (the head of the log before the page was read) are left out, since what the feed told is newer.
    """

    revisions: Mapping[Key, Revision] = msgspec.field(default_factory=dict)
    documents: Mapping[Key, bytes] = msgspec.field(default_factory=dict)
    gone: Collection[Key] = ()
    entries: Sequence[Entry] = ()
    checkpoint: Checkpoint | None = None
    backfill: BackfillMark | None = None
    low: int | None = None
    stamps: Mapping[Key, int | None] = msgspec.field(default_factory=dict)
    known: Mapping[Key, Revision] | None = None
    passed: Mapping[tuple[str, int], Passed] = msgspec.field(default_factory=dict)


Doc = tuple[int, bytes]
"""Names a document in the log, the same for all of its events (watch and key); nothing else is to be read into it."""

NO_DOC: Doc = (0, b"")


class LogRow(msgspec.Struct, frozen=True, gc=False):
    """A row of the log as a dispatcher reads it. ``sink`` is set where only that one is to have it."""

    position: int
    event: Event
    sink: str | None
    document: Doc = NO_DOC


ParkedState = Literal["retry", "waiting", "dead", "redriven", "forced"]


class Parked(msgspec.Struct, frozen=True):
    """An event that a sink has not taken, set aside so that others can go on. It outlives its row in the log.

    ``state``: ``retry`` is tried again from ``next_try`` on; ``waiting`` is behind an earlier one of its document;
    ``dead`` is tried no more; ``redriven`` is dead, and somebody asks for it to be sent again (``forced``: even after a
    newer one of its document). Times are epoch seconds. ``newer`` is the position of a later event of the document that
    the sink took while this was dead. ``event`` is ``None`` where it is the log's own of that position, or was not
    asked for.
    """

    sink: str
    position: int
    attempts: int
    error: str
    document: Doc = NO_DOC
    state: ParkedState = "dead"
    since: float = 0.0
    next_try: float = 0.0
    newer: int | None = None
    event: Event | None = None


class Settlement(msgspec.Struct, frozen=True):
    """What a step of a sink leaves behind, all of it or nothing.

    ``position`` is the new cursor (which never goes back). ``parked`` are to be kept, or kept on with a new word;
    ``taken`` are positions that need not be parked any more. ``newer``: the position of the latest event taken, for
    documents that have dead ones. ``dropped`` counts events that this sink will never get.
    """

    position: int
    parked: Sequence[Parked] = ()
    taken: Collection[int] = ()
    newer: Mapping[Doc, int] = msgspec.field(default_factory=dict)
    dropped: int = 0


class Store(Protocol):
    """The memory of a feed. Implementers must serve many threads, and survive kill -9 between any two calls."""

    def checkpoint(self, watch: str) -> Checkpoint | None:
        """The last committed checkpoint of a watch."""

    def known(self, watch: str) -> Known:
        """What is known of a watch's documents."""

    def documents(self, watch: str, keys: Collection[Key]) -> Mapping[Key, bytes]:
        """The kept contents (raw JSON) of those ``keys`` that have one."""

    def commit(self, watch: str, batch: Commit) -> None:
        """Keeps a batch in ONE transaction; whoever reads later sees all of it or nothing."""

    def read_log(self, after: int, limit: int, max_bytes: int = PAGE_BYTES) -> Sequence[LogRow]:
        """Log rows with a position greater than ``after``, in order, ``limit`` at most.

        Fewer where they come to more than ``max_bytes`` bytes, but one at least.
        """

    def head(self) -> int:
        """The position of the newest log row ever written, 0 where there was none."""

    def first(self) -> int | None:
        """The position of the oldest log row that is left; ``None`` where none is."""

    def cursor(self, sink: str) -> int | None:
        """The position up to which a sink is settled; ``None`` for a sink never seen."""

    def settle(self, sink: str, step: Settlement) -> None:
        """Keeps what a step of a sink came to, in ONE transaction."""

    def parked(self, sink: str) -> Sequence[Parked]:
        """What is parked for a sink, oldest first, without the events."""

    def redriven(self, sink: str) -> Sequence[Parked]:
        """What somebody wants to be sent again, oldest first, without the events."""

    def parked_events(self, sink: str, positions: Sequence[int], max_bytes: int = PAGE_BYTES) -> Sequence[LogRow]:
        """The parked events at those positions, in order; a beginning of them where they exceed ``max_bytes`` bytes."""
