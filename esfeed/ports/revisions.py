"""What is known of a watch's documents, as trackers ask for it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from esfeed.model.event import Key, Revision
from esfeed.model.reads import Dated, Held, Span


class Sweep(Protocol):
    """One pass over all documents of a watch, to find the known ones that did not turn up."""

    def see(self, keys: Collection[Key]) -> None:
        """Notes that the pass met these documents."""

    def missing(self) -> int:
        """How many known documents the pass did not meet."""

    def unseen(self, size: int) -> Iterator[Mapping[Key, Revision]]:
        """The known documents that the pass did not meet, at most ``size`` at a time."""


class Revisions(Protocol):
    """The known revisions of a watch."""

    def revisions(self, keys: Collection[Key]) -> Mapping[Key, Revision]:
        """The revisions of those ``keys`` that are known."""

    def count(self) -> int:
        """How many documents are known."""

    def indices(self) -> Collection[Held]:
        """The indices of which documents are known: of each, what the keys of at least one and two at most name."""

    def tombstoned(self, keys: Collection[Key]) -> Mapping[Key, Revision]:
        """The last revisions of those ``keys`` whose delete was reported, but may be taken back."""

    def sweep(self, uuids: Collection[str] = ()) -> AbstractContextManager[Sweep]:
        """A new, empty sweep; its notes are dropped when the context ends.

        ``uuids`` are those of the indices that the pass reads, where whatever it meets is kept (as theirs) before it
        asks what it did not meet.
        """


class ShardRevisions(Protocol):
    """The known revisions of single shards, by sequence number."""

    def in_shard(self, uuid: str, shard: int) -> int:
        """How many documents are known of that shard of that index."""

    def histogram(self, uuid: str, shard: int, spans: Sequence[Span], bits: int) -> Mapping[int, int]:
        """Known documents of a shard by ``_seq_no >> bits``, within ``spans`` (whose edges are on such buckets)."""

    def at(self, uuid: str, shard: int, numbers: Collection[int]) -> Mapping[Key, Revision]:
        """The known documents of a shard with those sequence numbers."""

    def above(self, uuid: str, shard: int, number: int, size: int) -> Iterator[Mapping[Key, Revision]]:
        """The known documents of a shard above a sequence number, in its order, at most ``size`` at a time."""

    def below(self, uuid: str, shard: int, number: int, size: int) -> Mapping[Key, Revision]:
        """The known documents of a shard with the highest sequence numbers below that one, ``size`` at most."""

    def tombstones(self, uuid: str, shard: int, size: int) -> Iterator[Collection[Key]]:
        """The documents of a shard whose deletes were told, but may be taken back; at most ``size`` at a time."""


class DatedRevisions(Protocol):
    """The known revisions that are not followed shard by shard, by their dates."""

    def dated(self, spans: Sequence[Span] | None, bits: int) -> Dated:
        """Known documents by ``bucket(stamp, bits)`` within ``spans`` (``None``: all, and how many have no stamp).

        Only those count that are not followed shard by shard.
        """

    def within(self, spans: Sequence[Span], without: bool) -> Iterator[Mapping[Key, Revision]]:
        """The same documents themselves, some at a time: with a stamp in ``spans``, and those ``without`` one."""


class Known(Revisions, ShardRevisions, DatedRevisions, Protocol):
    """All that trackers may ask."""
