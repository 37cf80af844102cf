"""What a poll or a backfill commits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from esfeed.model.event import Event, Key, Revision
from esfeed.ports.log import LogRow
from esfeed.ports.polls import Checkpoint, Passed
from esfeed.ports.revisions import Known


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A row to add to the log. ``sink`` is set if only that sink receives the event (a backfill)."""

    key: Key
    event: Event
    sink: str | None = None


class BackfillMark(msgspec.Struct, frozen=True):
    """The progress of a backfill: everything up to ``mark`` (in a form that only its reader knows) is in the log."""

    name: str
    mark: str
    sent: int


class Commit(msgspec.Struct, frozen=True):
    """What one batch commits, all of it or nothing: revisions, documents, tombstones, log rows, checkpoint.

    ``stamps`` are new dates of known revisions, which are then not followed shard by shard. Each document in ``gone``
    that is followed by shard leaves a tombstone until ``passed`` of the shard covers what was counted after the delete.
    ``known`` contains the old revisions of the documents in ``revisions``, as this poll read them; ``None`` skips the
    check. If another process changed them since, nothing is committed and ``StateError`` is raised. ``low`` is for a
    backfill, which reads beside the feed: entries of documents that the feed logged after position ``low`` (the head of
    the log before the page was read) are left out, because the events of the feed are newer.
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


class Commits(Protocol):
    """The progress of watches. Survives kill -9 between any two calls. Thread-safe."""

    def checkpoint(self, watch: str) -> Checkpoint | None:
        """The last committed checkpoint of a watch."""

    def known(self, watch: str) -> Known:
        """The known revisions of the documents of a watch."""

    def documents(self, watch: str, keys: Collection[Key]) -> Mapping[Key, bytes]:
        """The stored contents (raw JSON) of those ``keys`` that have one."""

    def commit(self, watch: str, batch: Commit) -> Sequence[LogRow]:
        """Commits a batch in ONE transaction: readers see all of it or nothing. Returns the new log rows."""


class Backfills(Protocol):
    """The progress of backfills, by name."""

    def get(self, name: str) -> BackfillMark | None:
        """The progress of the backfill with that name; ``None`` if it never began."""

    def end(self, name: str) -> None:
        """Deletes the progress of a finished backfill, so that the next one with that name starts from the
        beginning.
        """

    def reserve(self, count: int) -> int:
        """Reserves ``count`` positions that no row of the log will ever have. Returns the first."""
