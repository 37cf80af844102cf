"""The progress of each sink, and the events that wait for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from esfeed.model.event import Event
from esfeed.ports.log import NO_DOC, PAGE_BYTES, Doc, LogRow

ParkedState = Literal["retry", "waiting", "dead", "redriven", "forced"]


class Parked(msgspec.Struct, frozen=True):
    """An event that a sink has not taken, set aside so that other events can continue. It outlives its row in the log.

    ``state``: ``retry`` is retried from ``next_try`` on; ``waiting`` waits behind an earlier event of its document;
    ``dead`` is not retried; ``redriven`` is a dead event that an operator wants to send again (``forced``: even after a
    newer event of its document). Times are epoch seconds. ``newer`` is the position of a later event of the document
    that the sink took while this one was dead. ``event`` is ``None`` if the log still has it at that position, or if
    the caller did not ask for it.
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
    """The result of one step of a sink, stored as a whole or not at all.

    ``position`` is the new cursor (which never goes back). ``parked`` are events to park, or parked events with a new
    state. ``taken`` are positions that are no longer parked. ``newer``: the position of the latest event taken, for
    documents with dead letters. ``dropped`` counts events that this sink will never receive.
    """

    position: int
    parked: Sequence[Parked] = ()
    taken: Collection[int] = ()
    newer: Mapping[Doc, int] = msgspec.field(default_factory=dict)
    dropped: int = 0


class Counts(msgspec.Struct, frozen=True):
    """The number of events of a sink that are parked (to be retried or waiting), dead, and dropped so far.

    ``next_try`` (epoch seconds) and ``error`` belong to the parked event that is retried next.
    """

    parked: int = 0
    dead: int = 0
    dropped: int = 0
    next_try: float = 0.0
    error: str = ""


class Outbox(Protocol):
    """What a dispatcher stores for its sink. Survives kill -9 between any two calls. Thread-safe."""

    def cursor(self, sink: str) -> int | None:
        """The cursor of a sink; ``None`` for an unknown sink."""

    def settle(self, sink: str, step: Settlement) -> None:
        """Stores the result of a step in ONE transaction. The cursor never goes back."""

    def parked(self, sink: str) -> Sequence[Parked]:
        """The parked events of a sink, oldest first, without their content (``event``)."""

    def redriven(self, sink: str) -> Sequence[Parked]:
        """The dead letters that an operator wants to send again, oldest first, without their content (``event``)."""

    def parked_events(self, sink: str, positions: Sequence[int], max_bytes: int = PAGE_BYTES) -> Sequence[LogRow]:
        """The parked events at those positions, in order. Only the first ones if they exceed ``max_bytes``."""


class DeadLetters(Protocol):
    """Dead letters, for the operator."""

    def page(
        self, sinks: Sequence[str], after: tuple[str, int] = ("", 0), limit: int = 100, *, live: bool = False
    ) -> Sequence[Parked]:
        """A page of the dead letters of those sinks, with the events, by sink and position. ``live``: of all parked
        events.

        ``after``: the sink and position of the last event of the previous page.
        """

    def get(self, sink: str, position: int) -> Parked | None:
        """One parked or dead event, with its content."""

    def redrive(self, sinks: Sequence[str], position: int | None = None, *, force: bool = False) -> Sequence[Parked]:
        """Marks the dead letters of ``sinks`` (only the one at ``position``) to be sent again, and returns them.

        Skips events if a newer event of their document was delivered since, unless ``force``.
        """

    def discard(self, sinks: Sequence[str], position: int | None = None) -> int:
        """Deletes the dead letters of ``sinks`` (only the one at ``position``), counts them as dropped, and returns how
        many.
        """

    def counts(self) -> Mapping[str, Counts]:
        """The number of parked, dead and dropped events of each known sink."""

    def trim(self, sink: str, limit: int) -> int:
        """Drops the oldest dead letters of a sink beyond ``limit``; returns how many."""
