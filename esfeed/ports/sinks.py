"""Where events go, and what a sink says of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from esfeed.model.event import Event


class Outcome(msgspec.Struct, frozen=True):
    """A sink's word on one event: taken; not now (``retry``, after ``wait`` seconds where it said so); or never.

    ``tried`` is false where the event never went out (see :func:`waits`): it counts as no attempt of its own.
    """

    kind: str  # "ok" | "retry" | "rejected"
    reason: str = ""
    wait: float | None = None
    tried: bool = True

    @property
    def ok(self) -> bool:
        return self.kind == "ok"


OK = Outcome("ok")


def retry(reason: str, wait: float | None = None) -> Outcome:
    """Not taken; the same event may be taken later."""
    return Outcome("retry", reason, wait)


def waits(reason: str = "waits behind an earlier event of its document") -> Outcome:
    """Not tried: it has to wait for another event, or for the target to come back. Like ``retry``, but no attempt."""
    return Outcome("retry", reason, None, tried=False)


def not_tried(reason: object) -> Outcome:
    """Not tried after an earlier fault of the whole target: ``reason`` is that fault."""
    return waits(f"not tried after an earlier fault: {reason}")


def rejected(reason: str) -> Outcome:
    """Not taken, and never will be as it stands."""
    return Outcome("rejected", reason)


class Sink(Protocol):
    """Brings events to one target. It neither retries nor swallows: the dispatcher does the one, nobody the other.

    A sink is used by one thread at a time. ``open`` comes before the first ``send``, and again after ``close``.
    """

    def open(self) -> None:
        """Connects. Raises ``Retryable`` where the target may be there later, ``ConfigError`` where it never will."""

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Sends events in order and answers for each, in the same order: one outcome an event.

        Behind an event that gets ``retry``, later ones of the same document get ``waits``, unsent: the dispatcher keeps
        no other order than this. Other documents go on. Where the whole target is at fault, the rest of the batch gets
        ``waits``, too.

        ``ok`` must mean that the target has the event and keeps it through a crash of esfeed. May raise ``Retryable``
        instead, which stands for ``retry`` on every event of the batch, or ``ReaderGone`` to end the feed.
        """

    def close(self) -> None:
        """Lets go of everything; safe to call twice, and when ``open`` failed."""


@runtime_checkable
class LineSink(Protocol):
    """A sink that also takes events as lines of JSON, made elsewhere, in the form that ``lines`` names."""

    @property
    def lines(self) -> str:
        """The form that a line must have, as the settings name it."""

    def write(self, lines: Sequence[bytes]) -> int:
        """Adds lines (each with its line feed), in order; how many are as safe as ``ok`` says.

        Raises ``Retryable`` where none is.
        """
