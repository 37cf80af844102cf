"""Past the log: what a backfill tells of a target that has nothing else to do, where no feed runs.

Nothing is tried again here, and no failure is judged: what is not taken goes through the log, and all after it, until
the dispatcher has brought that.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from esfeed.changes.events import EventFactory
from esfeed.delivery.options import DeliveryOptions
from esfeed.delivery.page import fitting
from esfeed.delivery.target import Target
from esfeed.errors import Retryable
from esfeed.model.event import Document, Event
from esfeed.ports import Entry, Log, Outbox, Stop
from esfeed.routing.router import RouteFailed, Router


class DirectWriter:
    """Brings documents of one watch to one sink, whose dispatcher has to be at rest meanwhile.

    A sink that takes lines may still be at those of one page, waiting for its disk, while the next page is made.
    """

    def __init__(
        self,
        name: str,
        watch: str,
        target: Target,
        router: Router,
        event_log: Log,
        outbox: Outbox,
        terms: DeliveryOptions,
        event_factory: EventFactory,
    ) -> None:
        self._name = name
        self._target = target
        self._router = router
        self._log = event_log
        self._outbox = outbox
        self._terms = terms
        self._teller = event_factory
        self._plain = router.passes_whole(name, watch) and target.takes_lines("cloudevents")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._at: tuple[Sequence[Document], int, Future[int]] | None = None

    def bring(self, docs: Sequence[Document], first: int, stop: Stop) -> Sequence[Entry]:
        """Tells of ``docs`` from position ``first`` on, in order; returns what has to go through the log after all: of
        those before, and of these as far as that is known before ``finish``.

        Raises ``ConfigError`` and ``ReaderGone``.
        """
        lines = self._teller.lines(docs, first) if self._plain else None
        left = self.finish()
        if left or not self._clear():
            return [*left, *self._teller.reads(docs, first)]
        if lines is None:
            return self._send_all(self._teller.reads(docs, first), stop)
        self._at = docs, first, self._writer.submit(self._write, lines)
        return ()

    def finish(self) -> Sequence[Entry]:
        """Waits until the sink has what was brought; returns what has to go through the log. Raises as ``bring``."""
        if self._at is None:
            return ()
        docs, first, written = self._at
        self._at = None
        done = written.result()
        return self._teller.reads(docs[done:], first + done) if done < len(docs) else ()

    def close(self) -> None:
        """Waits until nothing is written any more; lets go of the thread."""
        self._writer.shutdown()

    def _write(self, lines: Sequence[bytes]) -> int:
        """How many of the lines the target has: all at once, as a disk confirms a page as fast as a line."""
        try:
            self._target.open()
        except Retryable:
            return 0
        return self._target.write(lines)

    def _send_all(self, entries: Sequence[Entry], stop: Stop) -> Sequence[Entry]:
        left: list[Entry] = []
        shaped: list[tuple[Entry, Event]] = []
        for entry in entries:
            try:
                event = self._router.shape(self._name, entry.event)
            except RouteFailed:
                left.append(entry)
            else:
                if event is not None:
                    shaped.append((entry, event))
        done, failed = 0, False
        while done < len(shaped) and not failed and not stop():
            some = shaped[done : done + self._terms.batch]
            some = some[: fitting([event for _, event in some], self._terms.batch_bytes)]
            done += len(some)
            untaken = self._send(some)
            left += untaken
            failed = bool(untaken)
        return [*left, *(entry for entry, _ in shaped[done:])]

    def _clear(self) -> bool:
        """Whether nothing of this sink lies before these events, or could be sent again after them."""
        if self._terms.coalesce or self._outbox.parked(self._name):
            return False
        return not self._log.read(self._outbox.cursor(self._name) or 0, 1)

    def _send(self, some: Sequence[tuple[Entry, Event]]) -> list[Entry]:
        try:
            self._target.open()
            outcomes = self._target.send([event for _, event in some])
        except Retryable:
            return [entry for entry, _ in some]
        return [entry for (entry, _), outcome in zip(some, outcomes, strict=True) if not outcome.ok]
