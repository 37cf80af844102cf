"""Every Protocol of the house, and the values that cross them. No I/O.

Each docstring states what an implementer must hold to; ``esfeed.testing`` has contract suites that check it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import msgspec

from esfeed.event import Change, Document, Event, Key, Owners, Revision, View
from esfeed.reads import Dated, Dates, Page, Part, Reading, Resolved, Shard, Span, Tail

PAGE_BYTES = 32 << 20
"""The most bytes of events that one reading of the log brings into memory, unless one event alone has more."""


class Clock(Protocol):
    """Time as the house sees it; tests bring their own."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back, for measuring."""


class Checkpoint(msgspec.Struct, frozen=True):
    """How far a watch has come. ``data`` belongs to the tracker that wrote it; nobody else reads it.

    ``number`` counts the commits of the watch; the store sets it.
    """

    tracker: str
    data: bytes
    number: int = 0


class Passed(NamedTuple):
    """How far a shard was read: ``counted`` is its largest sequence number when the poll began, ``mark`` the one up to
    which no failover takes anything back.
    """

    counted: int
    mark: int


class Batch(msgspec.Struct, frozen=True):
    """What one step of a poll found.

    ``seen`` holds documents that are not as ``known`` says (or not known at all); ``gone`` the documents that the
    cluster has no more, with their last revision. ``checkpoint`` is what to remember once the batch is kept, ``None``
    to leave it as it was. ``snapshot`` marks the first reading of a watch. ``losing`` is how many documents this poll
    is about to report gone, at most, told with the first of them. ``read`` documents of ``total`` (0: nobody knows)
    were read so far, for progress. ``stamps`` are dates of known documents that are to be remembered anew, and change
    nothing else. ``copies`` tells, by index and shard, which copy is the primary, where documents carry their shard.
    ``passed`` tells with a checkpoint how far each shard (index uuid, number) is read by now, where it is by number.
    """

    seen: Sequence[Document] = ()
    known: Mapping[Key, Revision] = msgspec.field(default_factory=dict)
    gone: Sequence[tuple[Key, Revision]] = ()
    checkpoint: Checkpoint | None = None
    snapshot: bool = False
    losing: int = 0
    total: int = 0
    read: int = 0
    stamps: Mapping[Key, int | None] = msgspec.field(default_factory=dict)
    copies: Mapping[tuple[str, int], str] = msgspec.field(default_factory=dict)
    passed: Mapping[tuple[str, int], Passed] = msgspec.field(default_factory=dict)


class Cluster(Protocol):
    """What a tracker may ask of a cluster, the same on every engine. Only ``refresh`` does more than read.

    Implementers must raise ``ClusterError`` for an answer that is not whole: a tracker takes what comes as the truth.
    """

    name: str

    @property
    def searches_lag(self) -> bool:
        """Whether refreshes are counted that searches do not show, or do not show yet.

        So on 6.x: a realtime lookup refreshes an inner reader, and that is counted; and a search sees a refresh only a
        moment after it was counted. There a count of refreshes proves nothing about what a search shows.
        """

    def counters(self, name: str) -> Reading:
        """The counters of all primaries behind ``name``: one request. Raises ``NameGone`` where nothing is there."""

    def resolve(self, name: str, watch: str) -> Resolved:
        """The indices behind ``name``. Raises ``NameGone``, or ``ConfigError`` for an alias that filters."""

    def refresh(self, name: str) -> None:
        """Makes every operation so far visible to searches: the one call that is not a read, for ``refresh = true``."""

    def field_types(self, name: str) -> Mapping[str, str]:
        """The mapped fields (dotted) and their types, over all indices; a date mapping wins over others."""

    def newest(self, name: str, field: str) -> int | None:
        """The largest ``field`` that is not in the cluster's own future, in epoch milliseconds; ``None`` for none."""

    def window(self, of: Resolved, field: str, since: int, size: int) -> Iterator[Page]:
        """Documents with ``field`` from ``since`` (epoch milliseconds) on, oldest first."""

    def part(self, of: Resolved, part: Part, size: int) -> Generator[Page, None, None]:
        """The documents of a ``part``, with content, as they lie on the engine's disk."""

    def everything(
        self, of: Resolved, source: bool, size: int, shard: Shard | None = None, field: str = ""
    ) -> Iterator[Page]:
        """Every document once (of one ``shard``), from one snapshot a shard; content only with ``source``.

        With the ``stamp`` that the engine has for ``field``, a date, where one is named.
        """

    def dated(self, of: Resolved, field: str, spans: Sequence[Span] | None, bits: int) -> Dated:
        """Documents by ``bucket(stamp, bits)`` within ``spans`` (``None``: all, and how many have no date)."""

    def within(self, of: Resolved, field: str, spans: Sequence[Span], without: bool) -> Iterator[Page]:
        """Ids, versions and stamps of the documents dated within ``spans``, and of those ``without`` a date."""

    def without_seq_no(self, of: Resolved) -> str:
        """Why these indices cannot be followed by sequence number, in words; empty where they can."""

    def tails(self, of: Resolved, after: Mapping[Shard, int], size: int, source: bool) -> Mapping[Shard, Tail]:
        """What each shard shows above its sequence number, ``size`` documents at most: one request for all."""

    def histogram(
        self,
        of: Resolved,
        shard: Shard,
        spans: Sequence[Span],
        bits: int,
        only: Dates | None = None,
    ) -> Mapping[int, int]:
        """Documents of a shard by ``_seq_no >> bits``, within ``spans``; ``only`` those of some dates."""

    def numbered(self, of: Resolved, shard: Shard, numbers: Collection[int]) -> Sequence[Document]:
        """The documents of a shard with those sequence numbers, with content."""

    def lookup(
        self, of: Resolved, wanted: Sequence[tuple[str, Key]], copy: Shard | None = None
    ) -> Sequence[Document | None]:
        """The documents of those (index uuid, key), as they are at this moment, refreshed or not, without content;
        ``None``: not there.

        Asked of that ``copy``, if it can be; without one, a replica may answer that has not yet what the primary has.
        One that is there but cannot be given now comes with version -1, one whose place another document has with
        ``TAKEN``.
        """

    def shown(
        self, of: Resolved, keys: Collection[Key], source: bool, shard: Shard | None = None
    ) -> Sequence[Document]:
        """The documents of ``keys`` that a search (of one ``shard``, on its copy) shows right now, at whatever version;
        content only with ``source``. Behind an alias to several indices, one of each.
        """


class Sweep(Protocol):
    """One pass over all documents of a watch, to find the known ones that did not turn up."""

    def see(self, keys: Collection[Key]) -> None:
        """Notes that the pass met these documents."""

    def missing(self) -> int:
        """How many known documents the pass did not meet."""

    def unseen(self, size: int) -> Iterator[Mapping[Key, Revision]]:
        """The known documents that the pass did not meet, at most ``size`` at a time."""


class Known(Protocol):
    """What a tracker may ask of the memory of its watch."""

    def revisions(self, keys: Collection[Key]) -> Mapping[Key, Revision]:
        """The revisions of those ``keys`` that are known."""

    def count(self) -> int:
        """How many documents are known."""

    def in_shard(self, uuid: str, shard: int) -> int:
        """How many documents are known of that shard of that index."""

    def histogram(self, uuid: str, shard: int, spans: Sequence[Span], bits: int) -> Mapping[int, int]:
        """Known documents of a shard by ``_seq_no >> bits``, within ``spans`` (whose edges are on such buckets)."""

    def at(self, uuid: str, shard: int, numbers: Collection[int]) -> Mapping[Key, Revision]:
        """The known documents of a shard with those sequence numbers."""

    def above(self, uuid: str, shard: int, number: int, size: int) -> Iterator[Mapping[Key, Revision]]:
        """The known documents of a shard above a sequence number, in its order, at most ``size`` at a time."""

    def tombstones(self, uuid: str, shard: int, size: int) -> Iterator[Collection[Key]]:
        """The documents of a shard whose deletes were told, but may be taken back; at most ``size`` at a time."""

    def buried(self, keys: Collection[Key]) -> Mapping[Key, Revision]:
        """The same of any shards, by ``keys``: those among them, with the last revision that was known."""

    def dated(self, spans: Sequence[Span] | None, bits: int) -> Dated:
        """Known documents by ``bucket(stamp, bits)`` within ``spans`` (``None``: all, and how many have no stamp).

        Only those count that are not followed shard by shard.
        """

    def within(self, spans: Sequence[Span], without: bool) -> Iterator[Mapping[Key, Revision]]:
        """The same documents themselves, some at a time: with a stamp in ``spans``, and those ``without`` one."""

    def sweep(self, uuids: Collection[str] = ()) -> AbstractContextManager[Sweep]:
        """A new, empty sweep; its notes are dropped when the context ends.

        ``uuids`` are those of the indices that the pass reads, where whatever it meets is kept (as theirs) before it
        asks what it did not meet.
        """


class Tracker(Protocol):
    """Finds what may have changed behind a watched name since a checkpoint."""

    def poll(self, since: Checkpoint | None) -> Iterator[Batch]:
        """Reads what is new. Raises :class:`esfeed.errors.ClusterError` rather than guess.

        Implementers must only put a document into ``gone`` once the cluster itself said that it is not there, and
        must only return a checkpoint up to which everything was seen. The batches of one poll are committed one by
        one, in order, before the next is asked for.
        """


class Profile(Protocol):
    """What documents of a kind mean: whose they are, and under which name they are told.

    One that never looks at a document may say so (``transparent = True``); then it may not even be asked.
    """

    name: str

    def describe(self, change: Change) -> tuple[str, View | None]:
        """The id that consumers know the resource by, and the view that this document is of (``None``: everybody's)."""

    def owners(self, change: Change) -> Owners | None:
        """Whose the resource is; ``None`` where that cannot be told. A profile without this has no owners at all."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A row to be added to the log. ``sink`` is set where only that sink is to have it (a backfill)."""

    key: Key
    event: Event
    sink: str | None = None


class BackfillMark(msgspec.Struct, frozen=True):
    """How far a backfill has come: everything up to ``mark`` (as its own reader writes it) is in the log."""

    name: str
    mark: str
    sent: int


class Commit(msgspec.Struct, frozen=True):
    """What one batch leaves behind, all of it or nothing: revisions, documents, tombstones, log rows, checkpoint.

    ``stamps`` are new dates of known revisions (which so are not followed shard by shard).
    What is ``gone`` of a shard leaves a tombstone, until the shard has ``passed`` what was counted after that.
    ``known`` has those of ``revisions`` that were known before, as this poll has read them; ``None`` where nobody
    looked. Where another process has made it otherwise by now, nothing is kept, and ``StateError`` raised.
    ``low`` is for a backfill, which reads beside the feed: entries of documents that the feed logged after position
    ``low`` (the head of the log before the page was read) are left out, since what the feed told is newer.
    """

    revisions: Mapping[Key, Revision] = msgspec.field(default_factory=dict)
    documents: Mapping[Key, bytes] = msgspec.field(default_factory=dict)
    gone: Collection[Key] = ()
    entries: Sequence[Entry] = ()
    checkpoint: Checkpoint | None = None
    backfill: BackfillMark | None = None
    low: int | None = None
    stamps: Mapping[Key, int | None] = msgspec.field(default_factory=dict)
    known: Mapping[Key, Revision] | None = None
    passed: Mapping[tuple[str, int], Passed] = msgspec.field(default_factory=dict)


Doc = tuple[int, bytes]
"""Names a document in the log, the same for all of its events (watch and key); nothing else is to be read into it."""

NO_DOC: Doc = (0, b"")


class LogRow(msgspec.Struct, frozen=True, gc=False):
    """A row of the log as a dispatcher reads it. ``sink`` is set where only that one is to have it."""

    position: int
    event: Event
    sink: str | None
    document: Doc = NO_DOC


ParkedState = Literal["retry", "waiting", "dead", "redriven", "forced"]


class Parked(msgspec.Struct, frozen=True):
    """An event that a sink has not taken, set aside so that others can go on. It outlives its row in the log.

    ``state``: ``retry`` is tried again from ``next_try`` on; ``waiting`` is behind an earlier one of its document;
    ``dead`` is tried no more; ``redriven`` is dead, and somebody asks for it to be sent again (``forced``: even after a
    newer one of its document). Times are epoch seconds. ``newer`` is the position of a later event of the document that
    the sink took while this was dead. ``event`` is ``None`` where it is the log's own of that position, or was not
    asked for.
    """

    sink: str
    position: int
    attempts: int
    error: str
    document: Doc = NO_DOC
    state: ParkedState = "dead"
    since: float = 0.0
    next_try: float = 0.0
    newer: int | None = None
    event: Event | None = None


class Settlement(msgspec.Struct, frozen=True):
    """What a step of a sink leaves behind, all of it or nothing.

    ``position`` is the new cursor (which never goes back). ``parked`` are to be kept, or kept on with a new word;
    ``taken`` are positions that need not be parked any more. ``newer``: the position of the latest event taken, for
    documents that have dead ones. ``dropped`` counts events that this sink will never get.
    """

    position: int
    parked: Sequence[Parked] = ()
    taken: Collection[int] = ()
    newer: Mapping[Doc, int] = msgspec.field(default_factory=dict)
    dropped: int = 0


class Store(Protocol):
    """The memory of a feed. Implementers must serve many threads, and survive kill -9 between any two calls."""

    def checkpoint(self, watch: str) -> Checkpoint | None:
        """The last committed checkpoint of a watch."""

    def known(self, watch: str) -> Known:
        """What is known of a watch's documents."""

    def documents(self, watch: str, keys: Collection[Key]) -> Mapping[Key, bytes]:
        """The kept contents (raw JSON) of those ``keys`` that have one."""

    def commit(self, watch: str, batch: Commit) -> None:
        """Keeps a batch in ONE transaction; whoever reads later sees all of it or nothing."""

    def read_log(self, after: int, limit: int, octets: int = PAGE_BYTES) -> Sequence[LogRow]:
        """Log rows with a position greater than ``after``, in order, ``limit`` at most.

        Fewer where they come to more than ``octets`` bytes, but one at least.
        """

    def head(self) -> int:
        """The position of the newest log row ever written, 0 where there was none."""

    def first(self) -> int | None:
        """The position of the oldest log row that is left; ``None`` where none is."""

    def cursor(self, sink: str) -> int | None:
        """The position up to which a sink is settled; ``None`` for a sink never seen."""

    def settle(self, sink: str, step: Settlement) -> None:
        """Keeps what a step of a sink came to, in ONE transaction."""

    def parked(self, sink: str) -> Sequence[Parked]:
        """What is parked for a sink, oldest first, without the events."""

    def redriven(self, sink: str) -> Sequence[Parked]:
        """What somebody wants to be sent again, oldest first, without the events."""

    def parked_events(self, sink: str, positions: Sequence[int], octets: int = PAGE_BYTES) -> Sequence[LogRow]:
        """The parked events at those positions, in order; a beginning of them where they exceed ``octets`` bytes."""


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


Progress = Callable[[int, int], None]
"""Told (documents read so far, documents expected or 0)."""

Stop = Callable[[], bool]
"""Asked between two steps of long work; true means: leave off now, in a state from which one can go on."""

Keys = Iterable[Key]
