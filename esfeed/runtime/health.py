"""What is told of a feed's parts: the latest word on each watch and sink, as ``esfeed status`` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from esfeed.ports import Notes
from esfeed.text.decoders import read


class WatchHealth(msgspec.Struct, frozen=True):
    """The last poll of a watch. ``at`` is epoch seconds; ``took`` seconds; ``received_bytes`` bytes received.

    Times of day, here and below, are of the steady clock (``App.steady``).

    ``since`` is when the watch last was well, ``reconciled`` when it last was reconciled on request, 0 for never.
    ``error`` is empty where the poll went well. ``behind``: operations that the index had counted at the last poll and
    that the feed cannot be sure yet to have seen, ``None`` where it cannot tell.
    """

    at: float
    took: float
    requests: int
    received_bytes: int = msgspec.field(name="octets")
    tracker: str
    why: str
    engine: str
    events: dict[str, int]
    error: str = ""
    since: float = 0.0
    reconciled: float = 0.0
    behind: int | None = None


class SinkHealth(msgspec.Struct, frozen=True):
    """The last step of a sink. ``sent`` counts what it took since this process began; ``retry_at`` is epoch seconds.

    ``failures`` is more than 0 while the target takes nothing; ``error`` may also be about a single event. Of a sink
    without the log: ``dropped`` since this process began, and ``backlog`` in its memory.
    """

    at: float
    sent: int
    error: str = ""
    failures: int = 0
    retry_at: float = 0.0
    dropped: int = 0
    backlog: int = 0


class Alive(msgspec.Struct, frozen=True):
    """When a part was last seen to do something that is not finished. ``at`` is epoch seconds."""

    at: float


def pack(health: WatchHealth | SinkHealth | Alive) -> bytes:
    """As it lies in the state."""
    return msgspec.json.encode(health)


def unpack(raw: bytes, kind: type[Any]) -> Any:
    """The health that :func:`pack` packed."""
    return read(raw, kind)


def watch_health(notes: Notes) -> Mapping[str, WatchHealth]:
    """The last health of each watch."""
    return {name: read(raw, WatchHealth) for name, raw in notes.all("watch").items()}


def sink_health(notes: Notes) -> Mapping[str, SinkHealth]:
    """The last health of each sink."""
    return {name: read(raw, SinkHealth) for name, raw in notes.all("sink").items()}
