"""One backfill of one watch: reads part by part, sends, and stores its progress.

The feed may send a document while the backfill reads a page with an older state of it. The commit then omits the event
of the page (``Commit.low``), so an older state never follows a newer one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Protocol

import msgspec

from esfeed.backfill.dates import why_not
from esfeed.backfill.parts import by_date, by_number, in_turn, width
from esfeed.backfill.prefetch import Pages, ahead
from esfeed.changes.events import EventFactory
from esfeed.errors import ConfigError, Forbidden, NameMoved
from esfeed.model.event import Document, Event, Key, content_digest
from esfeed.model.reads import BLIND, Dates, DocumentPage, Part, Resolved, Shard, StatsSnapshot
from esfeed.ports import BackfillMark, Clock, Cluster, Commit, Entry, Notifier, Progress, State, Stop
from esfeed.text.decoders import read
from esfeed.trackers.page_size import PageSizer

_PAGE = 4000
_AHEAD = 3
_MARK_EVERY = 1.0


class Past(Protocol):
    """Sends documents to a sink past the log."""

    def bring(self, docs: Sequence[Document], first: int, stop: Stop) -> Sequence[Entry]:
        """Sends ``docs``, from position ``first`` on; returns what must go through the log instead.

        It may return before it is done; then ``finish`` or the next ``bring`` returns what must go through the log.
        """

    def finish(self) -> Sequence[Entry]:
        """Waits until the sink has everything; returns what must go through the log instead."""


class Span(msgspec.Struct, frozen=True):
    """What to send: documents of ``watch`` whose timestamp is in [``since``, ``until``), in epoch milliseconds.

    If ``undated``, also documents without a timestamp.
    """

    watch: str
    index: str
    field: str
    sinks: tuple[str, ...]
    since: int
    until: int | None
    undated: bool = False
    max_page_bytes: int = 32 << 20

    @property
    def name(self) -> str:
        """The key of the backfill: the same span requested again resumes the same backfill."""
        span = (self.watch, sorted(self.sinks), self.since, self.until)
        return msgspec.json.encode((*span, "undated") if self.undated else span).decode()

    @property
    def dates(self) -> Dates:
        return Dates(self.field, self.since, self.until, self.undated)


class Mark(msgspec.Struct, frozen=True):
    """The progress of a backfill.

    ``places``: everything below that sequence number of a shard (``uuid/number/history``), or before that date (under
    the empty name), is reported. ``reported``: documents beyond it that are reported as well, with a digest of their
    content (see ``event.content_digest``).
    """

    places: dict[str, int] = {}
    reported: Sequence[tuple[Key, bytes]] = msgspec.field(default=(), name="told")


def check_field(cluster: Cluster, watch: str, index: str, field: str, now: StatsSnapshot, timed: bool = False) -> None:
    """Raises ``ConfigError`` if a backfill cannot select documents behind ``index`` by the dates in ``field``.

    ``timed``: the backfill reads by spans of time.
    """
    key = f"watches.{watch}.timestamp_field"
    if not field:
        raise ConfigError(key, "", "a backfill needs a date to go by")
    if why := why_not(field, cluster.mapped(index), by_date=timed, empty=not now.docs and not now.blind):
        raise ConfigError(key, field, why)


def _uncounted(sink: str, events: Sequence[Event]) -> None:
    """Counts nothing."""


class Backfill:
    """One backfill. ``pace`` is called after each page and waits while the sinks lag far behind.

    ``past`` has, by sink, the writer past the log; a sink without one gets everything through the log.
    ``tally`` is called with the events that go through the log for such a sink, and its name.
    """

    def __init__(
        self,
        span: Span,
        cluster: Cluster,
        event_factory: EventFactory,
        state: State,
        notifier: Notifier,
        pace: Callable[[], None],
        clock: Clock,
        past: Mapping[str, Past] | None = None,
        tally: Callable[[str, Sequence[Event]], None] = _uncounted,
    ) -> None:
        self._span = span
        self._cluster = cluster
        self._event_factory = event_factory
        self._commits = state.commits
        self._backfills = state.backfills
        self._log = state.log
        self._notifier = notifier
        self._pace = pace
        self._clock = clock
        self._past = past or {}
        self._tally = tally
        self._page_sizer = PageSizer(span.max_page_bytes)
        self._places: dict[str, int] = {}
        self._reported: list[Sequence[Document]] = []
        self._reported_before: dict[Key, bytes] = {}
        self._histories: dict[str, str] = {}
        self._sent = 0
        self._kept_at = float("-inf")

    def run(self, stop: Stop, progress: Progress) -> tuple[int, bool]:
        """(documents sent over all runs of this backfill, whether it is done).

        Raises ``ClusterError``; the progress until then stays stored.
        """
        of = self._cluster.resolve(self._span.index, self._span.watch)
        now = self._counters()
        self._histories = {name: shard.history for name, shard in now.shards.items()}
        timed = self._goes_by_date(of, now)
        check_field(self._cluster, self._span.watch, self._span.index, self._span.field, now, timed)
        self._go_on()
        parts = [*self._parts(of, now, timed)]
        total = self._sent + sum(part.documents for part in parts) - len(self._reported_before)
        with closing(ahead(parts, lambda part: self._read(of, now, part), _AHEAD)) as read:
            for part, pages in read:
                for page in pages:
                    self._tell(page, stop)
                    progress(self._sent, max(total, self._sent))
                    self._pace()
                    if stop():
                        self._keep((), None)
                        return self._sent, False
                self._pass(of, part)
        if left := self._finished():
            self._keep(left, None)
        self._backfills.end(self._span.name)
        return self._sent, True

    def _go_on(self) -> None:
        """Restores the progress of the last run of this backfill."""
        before = self._backfills.get(self._span.name)
        if before is not None:
            mark = read(before.mark, Mark)
            self._sent, self._places, self._reported_before = before.sent, dict(mark.places), dict(mark.reported)
            # The parts of those documents are unknown: the parts may have other limits now.

    def _counters(self) -> StatsSnapshot:
        try:
            return self._cluster.counters(self._span.index)
        except Forbidden:
            return BLIND

    # --- reading

    def _goes_by_date(self, of: Resolved, now: StatsSnapshot) -> bool:
        """Whether to read by spans of time, because sequence numbers are not known."""
        unnumbered = any(one.max_seq_no is None for one in now.shards.values())
        return unnumbered or now.blind or bool(self._cluster.without_seq_no(of))

    def _parts(self, of: Resolved, now: StatsSnapshot, timed: bool) -> Iterator[Part]:
        limit = self._page_sizer.initial(now, _PAGE)
        numbered = {name: one.max_seq_no for name, one in now.shards.items() if one.max_seq_no is not None}
        if timed:
            begin = self._places.get("", self._span.since)
            return by_date(self._span.dates, self._dated(of), begin, limit)
        # If two indices have a document, the later one has the current state, and must come last.
        ranks = {one.name: rank if of.overlap else 0 for rank, one in enumerate(of.indices)}
        queues: dict[int, list[Iterator[Part]]] = {rank: [] for rank in sorted({*ranks.values()})}
        for key, highest in numbered.items():
            name, _, number = key.rpartition("/")
            if name not in ranks:
                raise NameMoved(f"{of.name!r} now leads to {name!r} as well", "ask for the backfill again")
            shard = Shard(name, int(number), now.shards[key].node)
            queues[ranks[name]].append(self._numbered(of, shard, highest + 1, limit))
        return (part for some in queues.values() for part in in_turn(some))

    def _dated(self, of: Resolved) -> Callable[[Sequence[tuple[int, int]], int], Mapping[int, int]]:
        return lambda spans, bits: self._cluster.dated(of, self._span.field, spans, bits).buckets

    def _numbered(self, of: Resolved, shard: Shard, end: int, limit: int) -> Iterator[Part]:
        begin, bits = self._places.get(self._place(of, shard), 0), width(end)
        spans = [(begin, max(begin, end))]
        counts = self._cluster.histograms(of, {shard: spans}, bits, self._span.dates)[shard] if begin < end else {}
        return by_number(self._span.dates, shard, counts, bits, begin, limit)

    def _read(self, of: Resolved, now: StatsSnapshot, part: Part) -> Pages:
        """The pages of a part. Each carries the head of the log from before it was read."""
        size = self._page_sizer.initial(now, _PAGE)
        low = self._log.head()
        with closing(self._cluster.part(of, part, size)) as pages:
            for page in pages:
                yield msgspec.structs.replace(page, low=low)

    def _place(self, of: Resolved, shard: Shard) -> str:
        """The key of the progress of a shard, with the history in it: another history reuses the same numbers."""
        uuid = next((one.uuid for one in of.indices if one.name == shard.name), "")
        return f"{uuid}/{shard.number}/{self._histories.get(f'{shard.name}/{shard.number}', '')}"

    # --- sending

    def _tell(self, page: DocumentPage, stop: Stop) -> None:
        self._page_sizer.observe(page.docs)
        before = self._reported_before
        docs = [doc for doc in page.docs if before.get(doc.key) != content_digest(doc.source)] if before else page.docs
        first = self._backfills.reserve(len(docs)) if self._past and docs else 0
        left: list[Entry] = []
        for sink in self._span.sinks:
            past = self._past.get(sink)
            entries = past.bring(docs, first, stop) if past else self._event_factory.reads(docs, first)
            if past is None:
                self._tally(sink, [entry.event for entry in entries])
            left += _for(sink, entries)
        self._sent += len(docs)
        self._reported.append(docs)
        if left:
            self._keep(left, page.low)

    def _pass(self, of: Resolved, part: Part) -> None:
        """Marks a part as done; the next part begins behind it."""
        self._reported = []
        if part.shard is not None and part.numbers is not None and part.numbers[1] is not None:
            self._places[self._place(of, part.shard)] = part.numbers[1]
        elif part.shard is None and part.dates.until is not None:
            self._places[""] = part.dates.until
        if self._clock.monotonic() - self._kept_at > _MARK_EVERY:
            self._keep((), None)

    def _finished(self) -> list[Entry]:
        """Waits until the sinks have everything that went past the log; returns what must go through it."""
        return [entry for sink, past in self._past.items() for entry in _for(sink, past.finish())]

    def _keep(self, entries: Sequence[Entry], low: int | None) -> None:
        """Commits ``entries`` and the progress. By then, every document counted in it is in the log or at the sinks."""
        entries = [*entries, *self._finished()]
        reported = dict(self._reported_before)
        reported.update((doc.key, content_digest(doc.source)) for docs in self._reported for doc in docs)
        text = msgspec.json.encode(Mark(self._places, [*reported.items()])).decode()
        mark = BackfillMark(self._span.name, text, self._sent)
        commit = Commit(entries=entries, backfill=mark, low=low)
        self._notifier.publish(self._commits.commit(self._span.watch, commit))
        self._kept_at = self._clock.monotonic()


def _for(sink: str, entries: Sequence[Entry]) -> list[Entry]:
    return [Entry(entry.key, entry.event, sink) for entry in entries]
