"""What a poll asks a cluster for, and what it finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from esfeed.model.event import Change, Document, Key, Owners, Revision, View


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
