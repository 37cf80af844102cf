"""Who looks on while a feed works: metrics and traces are observers, and a feed without any pays nothing for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from esfeed.model.event import Event
from esfeed.ports import Outcome


class Observer:
    """Is told of each poll and each delivery; a subclass overrides what it wants to know. Many threads call it.

    No method may raise: what it looks at must go on whatever becomes of the onlooker.
    """

    def polling(self, watch: str) -> AbstractContextManager[object]:
        """Entered while a watch is polled."""
        return nullcontext()

    def polled(
        self, watch: str, took: float, requests: int, received_bytes: int, events: Mapping[str, int], error: str
    ) -> None:
        """Told at the end of a poll, inside of ``polling``.

        ``took`` seconds; ``requests`` and ``received_bytes`` are what the cluster answered; ``events`` are counted by
        op; ``error`` is empty after a success.
        """

    def sending(self, sink: str, events: Sequence[Event]) -> AbstractContextManager[object]:
        """Entered while a sink is given events."""
        return nullcontext()

    def sent(
        self, sink: str, events: Sequence[Event], outcomes: Sequence[Outcome], delays: Sequence[float], took: float
    ) -> None:
        """Told at the end of a delivery, inside of ``sending``.

        ``delays`` are seconds from when each event was found until now; ``took`` seconds is what the sink needed.
        """
