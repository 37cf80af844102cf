"""Sends the documents of a backfill past the log, to an idle sink, while no feed runs.

It does not retry and does not judge failures. What the sink does not take goes through the log, and so does everything
after it until the dispatcher has delivered that.
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
from esfeed.routing.tally import Tally


class DirectWriter:
    """Sends documents of one watch to one sink. The dispatcher of the sink must be idle meanwhile.

    A sink that takes lines may still write the lines of one page, waiting for its disk, while the caller builds the
    next. ``tally`` counts what the routes leave out.
    """

    def __init__(
        self,
        name: str,
        watch: str,
        target: Target,
        router: Router,
        event_log: Log,
        outbox: Outbox,
        options: DeliveryOptions,
        event_factory: EventFactory,
        tally: Tally | None = None,
    ) -> None:
        self._name = name
        self._target = target
        self._router = router
        self._log = event_log
        self._outbox = outbox
        self._options = options
        self._teller = event_factory
        self._tally = tally or Tally(watch, router)
        self._plain = router.passes_whole(name, watch) and target.takes_lines("cloudevents")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._at: tuple[Sequence[Document], int, Future[int]] | None = None

    def bring(self, docs: Sequence[Document], first: int, stop: Stop) -> Sequence[Entry]:
        """Sends ``docs`` in order, from position ``first`` on. Returns what must go through the log instead.

        That is the rest of earlier calls, and of this call as far as it is known before ``finish``. Raises
        ``ConfigError`` and ``ReaderGone``.
        """
        lines = self._teller.lines(docs, first) if self._plain else None
        left = self.finish()
        if left or not self._clear():
            entries = self._teller.reads(docs, first)
            self._tally.judge(self._name, [entry.event for entry in entries])
            return [*left, *entries]
        if lines is None:
            return self._send_all(self._teller.reads(docs, first), stop)
        self._tally.count(self._name, len(docs), 0)
        self._at = docs, first, self._writer.submit(self._write, lines)
        return ()

    def finish(self) -> Sequence[Entry]:
        """Waits until the sink has everything. Returns what must go through the log instead. Raises as ``bring``."""
        if self._at is None:
            return ()
        docs, first, written = self._at
        self._at = None
        done = written.result()
        return self._teller.reads(docs[done:], first + done) if done < len(docs) else ()

    def close(self) -> None:
        """Waits until the last write ends, then stops the thread."""
        self._writer.shutdown()

    def _write(self, lines: Sequence[bytes]) -> int:
        """How many of the lines the target took. All go at once, because a disk confirms a page as fast as a line."""
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
        self._tally.count(self._name, len(entries), len(entries) - len(left) - len(shaped))
        done, failed = 0, False
        while done < len(shaped) and not failed and not stop():
            some = shaped[done : done + self._options.batch]
            some = some[: fitting([event for _, event in some], self._options.batch_bytes)]
            done += len(some)
            untaken = self._send(some)
            left += untaken
            failed = bool(untaken)
        return [*left, *(entry for entry, _ in shaped[done:])]

    def _clear(self) -> bool:
        """Whether the sink has no events before these, neither in the log nor parked, that it could get after them."""
        if self._options.coalesce or self._outbox.parked(self._name):
            return False
        return not self._log.read(self._outbox.cursor(self._name) or 0, 1)

    def _send(self, some: Sequence[tuple[Entry, Event]]) -> list[Entry]:
        try:
            self._target.open()
            outcomes = self._target.send([event for _, event in some])
        except Retryable:
            return [entry for entry, _ in some]
        return [entry for (entry, _), outcome in zip(some, outcomes, strict=True) if not outcome.ok]
