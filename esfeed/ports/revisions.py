"""The known revisions of the documents of a watch, as trackers ask for them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from esfeed.model.event import Key, Revision
from esfeed.model.reads import Dated, Held, Span


class Sweep(Protocol):
    """One pass over all documents of a watch, which finds the known documents that the pass did not meet."""

    def see(self, keys: Collection[Key]) -> None:
        """Records that the pass met these documents."""

    def missing(self) -> int:
        """The number of known documents that the pass did not meet."""

    def unseen(self, size: int) -> Iterator[Mapping[Key, Revision]]:
        """The known documents that the pass did not meet, up to ``size`` at a time."""


class Revisions(Protocol):
    """The known revisions of a watch."""

    def revisions(self, keys: Collection[Key]) -> Mapping[Key, Revision]:
        """The revisions of those ``keys`` that are known."""

    def count(self) -> int:
        """How many documents are known."""

    def indices(self) -> Collection[Held]:
        """The indices with known documents. For each, what the keys of one or two of its documents contain as
        ``within``.
        """

    def tombstoned(self, keys: Collection[Key]) -> Mapping[Key, Revision]:
        """The last revisions of those ``keys`` whose delete was reported and can be taken back."""

    def sweep(self, uuids: Collection[str] = ()) -> AbstractContextManager[Sweep]:
        """A new, empty sweep. Its records are deleted when the context ends.

        ``uuids`` are the indices that the pass reads. Every document that it meets is committed as theirs before the
        sweep is asked what is missing.
        """


class ShardRevisions(Protocol):
    """The known revisions of single shards, by sequence number."""

    def in_shard(self, uuid: str, shard: int) -> int:
        """The number of known documents of a shard of an index."""

    def histogram(self, uuid: str, shard: int, spans: Sequence[Span], bits: int) -> Mapping[int, int]:
        """The number of known documents by ``_seq_no >> bits`` within ``spans``, whose edges are edges of buckets."""

    def at(self, uuid: str, shard: int, numbers: Collection[int]) -> Mapping[Key, Revision]:
        """The known documents of a shard with those sequence numbers."""

    def above(self, uuid: str, shard: int, number: int, size: int) -> Iterator[Mapping[Key, Revision]]:
        """The known documents of a shard above a sequence number, in that order, up to ``size`` at a time."""

    def below(self, uuid: str, shard: int, number: int, size: int) -> Mapping[Key, Revision]:
        """The known documents of a shard with the highest sequence numbers below ``number``, up to ``size``."""

    def tombstones(self, uuid: str, shard: int, size: int) -> Iterator[Collection[Key]]:
        """The documents of a shard whose delete was reported and can be taken back, up to ``size`` at a time."""


class DatedRevisions(Protocol):
    """The known revisions that are not followed shard by shard, by their dates."""

    def dated(self, spans: Sequence[Span] | None, bits: int) -> Dated:
        """The number of known documents by ``bucket(stamp, bits)`` within ``spans``. ``None``: all, and how many have
        no stamp.

        Counts only documents that are not followed shard by shard.
        """

    def within(self, spans: Sequence[Span], without: bool) -> Iterator[Mapping[Key, Revision]]:
        """The documents with a stamp in ``spans``, and those ``without`` one, some at a time."""


class Known(Revisions, ShardRevisions, DatedRevisions, Protocol):
    """Everything that trackers can ask for."""
