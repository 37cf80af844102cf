"""Where events go, and the result of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from esfeed.model.event import Event


class Outcome(msgspec.Struct, frozen=True):
    """The result of sending one event: taken, to be retried (after ``wait`` seconds, if given), or rejected.

    ``tried`` is false if the event was not sent (see :func:`waits`); it does not count as an attempt.
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
    """Not taken; the target may take the same event later."""
    return Outcome("retry", reason, wait)


def waits(reason: str = "waits behind an earlier event of its document") -> Outcome:
    """Not sent: it waits for another event, or for the target to come back. Like ``retry``, but not an attempt."""
    return Outcome("retry", reason, None, tried=False)


def not_tried(reason: object) -> Outcome:
    """Not tried after an earlier fault of the whole target: ``reason`` is that fault."""
    return waits(f"not tried after an earlier fault: {reason}")


def rejected(reason: str) -> Outcome:
    """Not taken, and the target will never take it unchanged."""
    return Outcome("rejected", reason)


class Sink(Protocol):
    """Sends events to one target. A sink neither retries nor drops events; the dispatcher retries.

    One thread at a time uses a sink. ``open`` comes before the first ``send``, and again after ``close``.
    """

    def open(self) -> None:
        """Connects. Raises ``Retryable`` if the target may come up later, ``ConfigError`` if it never will."""

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Sends events in order. Returns one outcome for each event, in the same order.

        After an event with ``retry``, later events of the same document get ``waits`` and are not sent: this is the
        only order that the dispatcher keeps. Other documents continue. If the whole target is at fault, the rest of the
        batch gets ``waits``, too.

        ``ok`` must mean that the target has the event and keeps it if esfeed crashes. May raise ``Retryable`` instead,
        which means ``retry`` for every event of the batch, or ``ReaderGone`` to end the feed.
        """

    def close(self) -> None:
        """Releases everything. Safe to call twice, and after ``open`` failed."""


@runtime_checkable
class LineSink(Protocol):
    """A sink that also takes events as ready-made lines of JSON, in the format that ``lines`` names."""

    @property
    def lines(self) -> str:
        """The format of the lines, as the settings name it."""

    def write(self, lines: Sequence[bytes]) -> int:
        """Writes lines (each with its line feed), in order. Returns how many are as safe as ``ok`` means.

        Raises ``Retryable`` if none is.
        """
