"""The interface of observers: metrics and traces implement it, and a feed without any has no overhead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from esfeed.model.event import Event
from esfeed.ports import Outcome


class Observer:
    """Gets a call for each poll and each delivery; a subclass overrides what it needs. Many threads call it.

    No method may raise: the feed must continue if an observer fails.
    """

    def polling(self, watch: str) -> AbstractContextManager[object]:
        """Entered while a watch is polled."""
        return nullcontext()

    def polled(
        self, watch: str, took: float, requests: int, received_bytes: int, events: Mapping[str, int], error: str
    ) -> None:
        """Called at the end of a poll, inside ``polling``.

        ``took`` is in seconds; ``requests`` and ``received_bytes`` count what the cluster answered; ``events`` are
        counted by op; ``error`` is empty after a success.
        """

    def sending(self, sink: str, events: Sequence[Event]) -> AbstractContextManager[object]:
        """Entered while a sink gets events."""
        return nullcontext()

    def sent(
        self, sink: str, events: Sequence[Event], outcomes: Sequence[Outcome], delays: Sequence[float], took: float
    ) -> None:
        """Called at the end of a delivery, inside ``sending``.

        ``delays``: seconds from when the feed found each event until now. ``took``: how many seconds the sink needed.
        """
