"""What lies behind a sink's cursor, sorted: what to send now, what is to wait, and what will never be sent. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from esfeed.delivery.coalesce import merge
from esfeed.model.event import Event, event_time, weight
from esfeed.ports import Doc, LogRow

Shape = Callable[[Event], Event | None]
"""What a sink is to have of an event, ``None`` for nothing; raises where that cannot be told."""


class Item(NamedTuple):
    """Something to send: an event as the sink is to have it, and what it is made of.

    ``raw`` is the event before it was shaped; ``positions`` are those of the rows that it stands for, in order.
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
    """The rows behind a cursor. ``last`` is the position up to which they count, ``more``: the log surely goes on.

    ``items`` are to be sent, ``waiting`` are behind a parked event of their document, ``broken`` nobody can tell
    whether or how to send (with the reason), ``late`` are too old for this sink, ``done`` are of no concern to it.
    ``wait``: seconds until it is known what is to be sent.
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
        """Sorts in what ``rows`` of one document come to: ``raw``. ``oldest``: epoch seconds, what is older is late."""
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
    """A route cannot tell what a sink is to have of an event."""


def grouped(rows: Iterable[LogRow]) -> list[tuple[Event | None, list[LogRow]]]:
    """The rows of each document merged into one event, in the order of the documents' last rows."""
    by_document: dict[Doc, list[LogRow]] = {}
    for row in rows:
        by_document.setdefault(row.document, []).append(row)
    merged = [(merge([row.event for row in group]), group) for group in by_document.values()]
    return sorted(merged, key=lambda one: one[1][-1].position)


def within(rows: Sequence[LogRow], span: float) -> int:
    """How many rows from the first on were logged less than ``span`` seconds after it, up to the first that was not."""
    end = seconds(rows[0].event) + span
    return next((index for index, row in enumerate(rows) if seconds(row.event) >= end), len(rows))


def pick(items: Sequence[Item], limit: int, max_bytes: int, suspects: Collection[Doc]) -> tuple[list[Item], bool]:
    """What to send now, and whether it is as much as may be sent at a time.

    While a target is in doubt (there are ``suspects``), one item: of a document that is not suspected, else of the
    one whose turn is longest ago.
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
    """How many of the first events have no more than so many bytes together: one at least."""
    for count, event in enumerate(events):
        max_bytes -= weight(event)
        if max_bytes < 0 and count:
            return count
    return len(events)


def seconds(event: Event) -> float:
    """When an event was made, in epoch seconds; for ever, where its time cannot be read."""
    at = event_time(event)
    return float("inf") if at is None else at
