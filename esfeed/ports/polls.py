"""What a poll asks a cluster for, and what it finds."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from esfeed.model.event import Change, Document, Key, Owners, Revision, View
from esfeed.model.reads import Dated, Dates, DocumentPage, Held, Part, Resolved, Shard, Span, StatsSnapshot, Tail


class Checkpoint(msgspec.Struct, frozen=True):
    """The progress of a watch. Only the tracker that wrote ``data`` reads it.

    ``number`` counts the commits of the watch; the store sets it.
    """

    tracker: str
    data: bytes
    number: int = 0


class Passed(NamedTuple):
    """How far a shard was read. ``mark`` is its watermark.

    ``counted`` is its largest sequence number when the poll began.
    """

    counted: int
    mark: int


class Batch(msgspec.Struct, frozen=True):
    """What one step of a poll found.

    ``seen`` holds documents that are not at their ``known`` revision, or not known at all; ``gone`` the documents that
    the cluster no longer has, with their last revision. ``checkpoint`` is to be stored with the batch; ``None`` leaves
    the old one. ``snapshot``: this is the first reading of a watch. ``losing``, set with the first of the ``gone``, is
    the largest number of documents that this poll may report as gone. ``read`` of ``total`` documents (0: unknown) were
    read so far, for progress. ``stamps`` are new dates of known documents that did not change otherwise. ``copies``
    names the primary of each shard (index, number), if documents have a shard. ``went_back``: a document is at an
    earlier state, which the same copy never shows. ``passed``, set with a checkpoint, says how far each shard (index
    uuid, number) is read, if it is followed by sequence number.
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
"""The age in seconds that the result of ``Cluster.counters`` may have, because several watches share one request."""


class Cluster(Protocol):
    """What a tracker can ask a cluster for, the same on every engine. Everything except ``refresh`` only reads.

    Implementations must raise ``ClusterError`` for an incomplete answer, because a tracker takes every result as the
    truth.
    """

    name: str

    @property
    def searches_lag(self) -> bool:
        """Whether the engine counts refreshes that searches do not show, or do not show yet.

        True on 6.x: a realtime lookup refreshes an inner reader, which is counted, and a search sees a refresh a moment
        after it was counted. A count of refreshes proves nothing about searches there.
        """

    def counters(self, name: str) -> StatsSnapshot:
        """The counters of all primaries behind ``name``, in one request. Raises ``NameGone`` if nothing is there."""

    def resolve(self, name: str, watch: str) -> Resolved:
        """The indices behind ``name``. Raises ``NameGone``, or ``ConfigError`` for a filtered or routed alias."""

    def uuid(self) -> str:
        """The uuid of the cluster; empty if these credentials may not read it, or the cluster does not give it."""

    def check_gone(self, of: Resolved, held: Collection[Held]) -> None:
        """Checks that indices that are no longer behind the name are gone, by asking for each by its own name.

        Raises ``ClusterError`` if an index is only out of sight: these credentials may not see it, it is hidden, or the
        answer is empty.
        """

    def refresh(self, name: str) -> None:
        """Makes all operations so far visible to searches, for ``refresh = true``. The only call that is not a read."""

    def field_types(self, name: str) -> Mapping[str, str]:
        """The mapped fields (dotted) and their types, over all indices; see ``cluster.names.field_types``."""

    def mapped(self, name: str) -> Mapping[str, Mapping[str, str]]:
        """The mapped fields (dotted) and their types, by index. A type says if the field is in a nested object."""

    def newest(self, name: str, field: str) -> int | None:
        """The largest ``field`` up to the cluster's current time, in epoch milliseconds; ``None`` if there is none."""

    def window(self, of: Resolved, field: str, since: int, size: int) -> Iterator[DocumentPage]:
        """Documents with ``field`` from ``since`` (epoch milliseconds) on, oldest first."""

    def part(self, of: Resolved, part: Part, size: int) -> Generator[DocumentPage, None, None]:
        """The documents of a ``part``, with content, in the order of the engine's disk."""

    def everything(
        self, of: Resolved, source: bool, size: int, shard: Shard | None = None, field: str = ""
    ) -> Iterator[DocumentPage]:
        """Every document once (of one ``shard``), from one snapshot per shard; with content only if ``source``.

        With a ``field``, a date, documents have the ``stamp`` that the engine has for it.
        """

    def dated(self, of: Resolved, field: str, spans: Sequence[Span] | None, bits: int) -> Dated:
        """The number of documents by ``bucket(stamp, bits)`` within ``spans``. ``None``: all, and the undated ones."""

    def within(self, of: Resolved, field: str, spans: Sequence[Span], without: bool) -> Iterator[DocumentPage]:
        """Ids, versions and stamps of the documents with a date within ``spans``, and of those ``without`` a date."""

    def without_seq_no(self, of: Resolved) -> str:
        """A text: why these indices cannot be followed by sequence number; empty if they can."""

    def tails(self, of: Resolved, after: Mapping[Shard, int], size: int, source: bool) -> Mapping[Shard, Tail]:
        """What each shard shows above its sequence number, up to ``size`` documents each, in one request."""

    def histogram(
        self,
        of: Resolved,
        shard: Shard,
        spans: Sequence[Span],
        bits: int,
        only: Dates | None = None,
    ) -> Mapping[int, int]:
        """The number of documents of a shard by ``_seq_no >> bits``, within ``spans``; ``only`` of some dates."""

    def numbered(self, of: Resolved, shard: Shard, numbers: Collection[int]) -> Sequence[Document]:
        """The documents of a shard with those sequence numbers, with content."""

    def lookup(
        self, of: Resolved, wanted: Sequence[tuple[str, Key]], copy: Shard | None = None
    ) -> Sequence[Document | None]:
        """The documents of those (index uuid, key) as they are now, refreshed or not, without content. ``None`` stands
        for a document that does not exist.

        Asks that ``copy`` if possible. Without one, a replica may answer that lags behind the primary. A document that
        exists but cannot be returned has version -1, one that another document replaced has version ``TAKEN``.
        """

    def shown(
        self, of: Resolved, keys: Collection[Key], source: bool, shard: Shard | None = None
    ) -> Sequence[Document]:
        """The documents of ``keys`` that a search (of one ``shard``, on its copy) shows now, at any version.

        With content only if ``source``. If an alias leads to several indices, one document from each.
        """


class Tracker(Protocol):
    """Finds what may have changed behind a watched name since a checkpoint."""

    def poll(self, since: Checkpoint | None) -> Iterator[Batch]:
        """Reads what is new. Raises :class:`esfeed.errors.ClusterError` instead of guessing.

        Implementations must only put a document into ``gone`` if the cluster itself said that it is not there, and must
        only return a checkpoint up to which everything was seen. The caller commits the batches of a poll one by one,
        in order, before it asks for the next one.
        """


class Profile(Protocol):
    """What esfeed knows about a kind of document: who owns it, and under which id events name it.

    A profile that never reads a document can say so (``transparent = True``); esfeed may then skip the calls.
    """

    name: str

    def describe(self, change: Change) -> tuple[str, View | None]:
        """The id by which consumers know the resource, and the view of this document (``None``: for everybody)."""

    def owners(self, change: Change) -> Owners | None:
        """The owners of the resource; ``None`` if unknown. A profile without this method has no owners."""
