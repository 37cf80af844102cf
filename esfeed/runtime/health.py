"""The latest health of each watch and sink, as ``esfeed status`` shows it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from esfeed.ports import Notes
from esfeed.text.decoders import read


class WatchHealth(msgspec.Struct, frozen=True):
    """The last poll of a watch. ``at`` is in epoch seconds, ``took`` in seconds, ``received_bytes`` in bytes.

    All times here and below come from the steady clock (``App.steady``).

    ``since``: when the watch last polled without an error. ``reconciled``: when it last reconciled on request, 0 for
    never. ``error`` is empty if the poll succeeded. ``behind``: operations that the index had counted at the last poll
    and that the feed may not have seen yet, ``None`` if unknown.
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
    """The last step of a sink. ``sent`` counts events since this process began; ``retry_at`` is in epoch seconds.

    ``failures`` is positive while the target takes nothing; ``error`` may also concern a single event. For a sink
    without the log: ``dropped`` since this process began, and ``backlog`` in memory.
    """

    at: float
    sent: int
    error: str = ""
    failures: int = 0
    retry_at: float = 0.0
    dropped: int = 0
    backlog: int = 0


class Alive(msgspec.Struct, frozen=True):
    """When a part last made progress in something unfinished. ``at`` is in epoch seconds."""

    at: float


def pack(health: WatchHealth | SinkHealth | Alive) -> bytes:
    """Encodes health for the state."""
    return msgspec.json.encode(health)


def watch_health(notes: Notes) -> Mapping[str, WatchHealth]:
    """The last health of each watch."""
    return {name: read(raw, WatchHealth) for name, raw in notes.all("watch").items()}


def sink_health(notes: Notes) -> Mapping[str, SinkHealth]:
    """The last health of each sink."""
    return {name: read(raw, SinkHealth) for name, raw in notes.all("sink").items()}


def signs_of_life(notes: Notes) -> Mapping[str, float]:
    """When each part last showed that it works (epoch seconds)."""
    return {name: read(raw, Alive).at for name, raw in notes.all("alive").items()}
