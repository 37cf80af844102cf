"""What a tracker can ask a cluster."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from typing import Protocol

from esfeed.model.event import Document, Key
from esfeed.model.reads import Dated, Dates, DocumentPage, Held, Part, Resolved, Shard, Span, StatsSnapshot, Tail

COUNTERS_AGE = 5.0
"""The age in seconds that the result of ``Cluster.counters`` may have, because several watches share one request."""


class Indices(Protocol):
    """The indices behind a name, and how much happened in them."""

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


class Documents(Protocol):
    """Documents, however a tracker follows them."""

    def everything(
        self, of: Resolved, source: bool, size: int, shard: Shard | None = None, field: str = ""
    ) -> Iterator[DocumentPage]:
        """Every document once (of one ``shard``), from one snapshot per shard; with content only if ``source``.

        With a ``field``, a date, documents have the ``stamp`` that the engine has for it.
        """

    def part(self, of: Resolved, part: Part, size: int) -> Generator[DocumentPage, None, None]:
        """The documents of a ``part``, with content, in the order of the engine's disk."""

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

    def shown_by_shard(self, of: Resolved, keys: Mapping[Shard, Collection[Key]]) -> Sequence[Document]:
        """What ``shown`` returns for each shard and its keys, without content, in one request."""


class DatedDocuments(Protocol):
    """Documents by a date that they have."""

    def field_types(self, name: str) -> Mapping[str, str]:
        """The mapped fields (dotted) and their types, over all indices; see ``cluster.names.field_types``."""

    def mapped(self, name: str) -> Mapping[str, Mapping[str, str]]:
        """The mapped fields (dotted) and their types, by index. A type says if the field is in a nested object."""

    def newest(self, name: str, field: str) -> int | None:
        """The largest ``field`` up to the cluster's current time, in epoch milliseconds; ``None`` if there is none."""

    def window(self, of: Resolved, field: str, since: int, size: int) -> Iterator[DocumentPage]:
        """Documents with ``field`` from ``since`` (epoch milliseconds) on, oldest first."""

    def dated(self, of: Resolved, field: str, spans: Sequence[Span] | None, bits: int) -> Dated:
        """The number of documents by ``bucket(stamp, bits)`` within ``spans``. ``None``: all, and the undated ones."""

    def within(self, of: Resolved, field: str, spans: Sequence[Span], without: bool) -> Iterator[DocumentPage]:
        """Ids, versions and stamps of the documents with a date within ``spans``, and of those ``without`` a date."""


class NumberedDocuments(Protocol):
    """Documents of single shards by sequence number."""

    def without_seq_no(self, of: Resolved) -> str:
        """A text: why these indices cannot be followed by sequence number; empty if they can."""

    def tails(self, of: Resolved, after: Mapping[Shard, int], size: int, source: bool) -> Mapping[Shard, Tail]:
        """What each shard shows above its sequence number, up to ``size`` documents each, in one request."""

    def histograms(
        self, of: Resolved, spans: Mapping[Shard, Sequence[Span]], bits: int, only: Dates | None = None
    ) -> Mapping[Shard, Mapping[int, int]]:
        """The number of documents of each shard by ``_seq_no >> bits``, within its ``spans``; ``only`` of some dates.

        One request, unless an engine limits it.
        """

    def numbered(self, of: Resolved, shard: Shard, numbers: Collection[int]) -> Sequence[Document]:
        """The documents of a shard with those sequence numbers, with content."""


class Cluster(Indices, Documents, DatedDocuments, NumberedDocuments, Protocol):
    """What a tracker can ask a cluster for, the same on every engine. Everything except ``refresh`` only reads.

    Implementations must raise ``ClusterError`` for an incomplete answer, because a tracker takes every result as the
    truth.
    """
