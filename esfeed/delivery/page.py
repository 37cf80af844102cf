"""Sorts the log entries behind a cursor: what to send now, what waits, and what is never sent. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from esfeed.delivery.coalesce import merge
from esfeed.model.event import Event, event_time, weight
from esfeed.ports import Doc, LogRow

Shape = Callable[[Event], Event | None]
"""Builds the event as a sink gets it, ``None`` for nothing; raises ``Unsure`` if no route can decide that."""


class Item(NamedTuple):
    """Something to send: an event as the sink gets it, and what it is made of.

    ``raw`` is the event before routing; ``positions`` are the positions of the rows that it stands for, in order.
    """

    event: Event
    raw: Event
    positions: tuple[int, ...]
    document: Doc

    @property
    def position(self) -> int:
        return self.positions[-1]

    @property
    def merged(self) -> bool:
        return len(self.positions) > 1


@dataclass
class DeliveryPage:
    """The rows behind a cursor, up to position ``last``. ``more``: the log certainly continues.

    ``items`` are to be sent. ``waiting`` are behind a parked event of their document. ``broken`` are events that no
    route can decide or build, with the reason. ``late`` are older than the ``ttl`` of the sink. ``done`` does not
    concern the sink. ``wait``: seconds until the coalescing window closes and its events are known.
    """

    last: int
    more: bool = False
    wait: float = 0.0
    items: list[Item] = field(default_factory=list)
    waiting: list[Item] = field(default_factory=list)
    broken: list[tuple[Item, str]] = field(default_factory=list)
    late: list[Item] = field(default_factory=list)
    done: list[int] = field(default_factory=list)

    def add(self, raw: Event | None, rows: Sequence[LogRow], shape: Shape, oldest: float, parked: bool) -> None:
        """Sorts in ``raw``, what ``rows`` of one document amount to. Events before ``oldest`` (epoch s) are late."""
        positions = tuple(row.position for row in rows)
        if raw is None:
            self.done += positions
            return
        document = rows[0].document
        if seconds(raw) < oldest:
            self.late.append(Item(raw, raw, positions, document))
            return
        try:
            event = shape(raw)
        except Unsure as error:
            self.broken.append((Item(raw, raw, positions, document), str(error)))
            return
        if event is None:
            self.done += positions
        else:
            (self.waiting if parked else self.items).append(Item(event, raw, positions, document))


class Unsure(Exception):
    """A route cannot decide or build what a sink gets of an event."""


def grouped(rows: Iterable[LogRow]) -> list[tuple[Event | None, list[LogRow]]]:
    """Merges the rows of each document into one event, in the order of the last rows of the documents."""
    by_document: dict[Doc, list[LogRow]] = {}
    for row in rows:
        by_document.setdefault(row.document, []).append(row)
    merged = [(merge([row.event for row in group]), group) for group in by_document.values()]
    return sorted(merged, key=lambda one: one[1][-1].position)


def within(rows: Sequence[LogRow], span: float) -> int:
    """How many rows, from the first on, were logged less than ``span`` seconds after it, up to the first later one."""
    end = seconds(rows[0].event) + span
    return next((index for index, row in enumerate(rows) if seconds(row.event) >= end), len(rows))


def pick(items: Sequence[Item], limit: int, max_bytes: int, suspects: Collection[Doc]) -> tuple[list[Item], bool]:
    """What to send now, and whether that is as much as one batch may hold.

    While a target is in doubt (there are ``suspects``), one item: of a document that is not a suspect, or of the
    suspect that was tried longest ago.
    """
    if suspects:
        probe = next((item for item in items if item.document not in suspects), None)
        for document in suspects if probe is None else ():
            probe = probe or next((item for item in items if item.document == document), None)
        return ([probe] if probe else []), True
    batch = [*items[:limit]]
    count = fitting([item.event for item in batch], max_bytes)
    return batch[:count], count < len(batch) or count == limit


def fitting(events: Sequence[Event], max_bytes: int) -> int:
    """How many of the first events have at most ``max_bytes`` bytes together, but at least one."""
    for count, event in enumerate(events):
        max_bytes -= weight(event)
        if max_bytes < 0 and count:
            return count
    return len(events)


def seconds(event: Event) -> float:
    """When an event was made, in epoch seconds; infinity if its time cannot be read."""
    at = event_time(event)
    return float("inf") if at is None else at
