"""What each sink has of the log, and what waits for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from esfeed.model.event import Event
from esfeed.ports.log import NO_DOC, PAGE_BYTES, Doc, LogRow

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


class Counts(msgspec.Struct, frozen=True):
    """How many events of a sink are parked (to be retried, or waiting behind one that is), dead, and dropped so far.

    ``next_try`` (epoch seconds) and ``error`` are of the parked event that is retried next.
    """

    parked: int = 0
    dead: int = 0
    dropped: int = 0
    next_try: float = 0.0
    error: str = ""


class Outbox(Protocol):
    """What a dispatcher keeps of its sink. Survives kill -9 between any two calls. Usable from many threads."""

    def cursor(self, sink: str) -> int | None:
        """The position up to which a sink is settled; ``None`` for a sink never seen."""

    def settle(self, sink: str, step: Settlement) -> None:
        """Keeps the result of a step in ONE transaction. The cursor never goes back."""

    def parked(self, sink: str) -> Sequence[Parked]:
        """What is parked for a sink, oldest first, without the events."""

    def redriven(self, sink: str) -> Sequence[Parked]:
        """The dead events that an operator wants to be sent again, oldest first, without the events."""

    def parked_events(self, sink: str, positions: Sequence[int], max_bytes: int = PAGE_BYTES) -> Sequence[LogRow]:
        """The parked events at those positions, in order; only the first of them where they exceed ``max_bytes``."""


class DeadLetters(Protocol):
    """Dead events, for the operator."""

    def page(
        self, sinks: Sequence[str], after: tuple[str, int] = ("", 0), limit: int = 100, *, live: bool = False
    ) -> Sequence[Parked]:
        """A page of the dead events of those sinks, with the events, by sink and position; ``live``: all parked ones.

        ``after``: the sink and position of the last event of the page before.
        """

    def get(self, sink: str, position: int) -> Parked | None:
        """One parked or dead event, whole."""

    def redrive(self, sinks: Sequence[str], position: int | None = None, *, force: bool = False) -> Sequence[Parked]:
        """Marks dead events of ``sinks`` (the one at ``position``) to be sent again; returns them.

        Events behind which a newer event of their document was delivered are passed over unless ``force``.
        """

    def discard(self, sinks: Sequence[str], position: int | None = None) -> int:
        """Deletes dead events of ``sinks`` (the one at ``position``) and counts them as dropped; returns how many."""

    def counts(self) -> Mapping[str, Counts]:
        """Parked, dead and dropped events by sink, for each sink that was ever seen."""

    def trim(self, sink: str, limit: int) -> int:
        """Drops the oldest dead events of a sink beyond ``limit``; returns how many."""
