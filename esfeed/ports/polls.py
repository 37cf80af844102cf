"""What a poll asks of a cluster, and what it finds."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from esfeed.model.event import Change, Document, Key, Owners, Revision, View
from esfeed.model.reads import Dated, Dates, DocumentPage, Held, Part, Resolved, Shard, Span, StatsSnapshot, Tail


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
    ``went_back``: some document is as it was before, which the same copy never shows.
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
    went_back: bool = False


COUNTERS_AGE = 5.0
"""Seconds by which the answer of ``Cluster.counters`` may be older than the question: several watches share one."""


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

    def counters(self, name: str) -> StatsSnapshot:
        """The counters of all primaries behind ``name``: one request. Raises ``NameGone`` where nothing is there."""

    def resolve(self, name: str, watch: str) -> Resolved:
        """The indices behind ``name``. Raises ``NameGone``, or ``ConfigError`` for an alias that filters."""

    def uuid(self) -> str:
        """What tells this cluster from all others; empty where these credentials may not ask, or it does not tell."""

    def check_gone(self, of: Resolved, held: Collection[Held]) -> None:
        """Makes sure of indices that are not behind the name any more, by asking for each by its own name.

        Raises ``ClusterError`` where one is only out of sight: these credentials may not see it, it is hidden, or the
        answer says nothing.
        """

    def refresh(self, name: str) -> None:
        """Makes every operation so far visible to searches: the one call that is not a read, for ``refresh = true``."""

    def field_types(self, name: str) -> Mapping[str, str]:
        """The mapped fields (dotted) and their types, over all indices; see ``cluster.names.field_types``."""

    def mapped(self, name: str) -> Mapping[str, Mapping[str, str]]:
        """The mapped fields (dotted) of each index and their types, in words where a field is within a nested one."""

    def newest(self, name: str, field: str) -> int | None:
        """The largest ``field`` that is not in the cluster's own future, in epoch milliseconds; ``None`` for none."""

    def window(self, of: Resolved, field: str, since: int, size: int) -> Iterator[DocumentPage]:
        """Documents with ``field`` from ``since`` (epoch milliseconds) on, oldest first."""

    def part(self, of: Resolved, part: Part, size: int) -> Generator[DocumentPage, None, None]:
        """The documents of a ``part``, with content, as they lie on the engine's disk."""

    def everything(
        self, of: Resolved, source: bool, size: int, shard: Shard | None = None, field: str = ""
    ) -> Iterator[DocumentPage]:
        """Every document once (of one ``shard``), from one snapshot a shard; content only with ``source``.

        With the ``stamp`` that the engine has for ``field``, a date, where one is named.
        """

    def dated(self, of: Resolved, field: str, spans: Sequence[Span] | None, bits: int) -> Dated:
        """Documents by ``bucket(stamp, bits)`` within ``spans`` (``None``: all, and how many have no date)."""

    def within(self, of: Resolved, field: str, spans: Sequence[Span], without: bool) -> Iterator[DocumentPage]:
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
