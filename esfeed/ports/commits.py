"""What a poll or a backfill leaves behind."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from esfeed.model.event import Event, Key, Revision
from esfeed.ports.log import LogRow
from esfeed.ports.polls import Checkpoint, Passed
from esfeed.ports.revisions import Known


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


class Commits(Protocol):
    """The progress of watches. Survives kill -9 between any two calls. Usable from many threads."""

    def checkpoint(self, watch: str) -> Checkpoint | None:
        """The last committed checkpoint of a watch."""

    def known(self, watch: str) -> Known:
        """What is known of a watch's documents."""

    def documents(self, watch: str, keys: Collection[Key]) -> Mapping[Key, bytes]:
        """The kept contents (raw JSON) of those ``keys`` that have one."""

    def commit(self, watch: str, batch: Commit) -> Sequence[LogRow]:
        """Keeps a batch in ONE transaction: whoever reads later sees all of it or nothing. Returns the new log rows."""


class Backfills(Protocol):
    """The progress of backfills, by name."""

    def get(self, name: str) -> BackfillMark | None:
        """How far the backfill of that name has come; ``None`` if it never began."""

    def end(self, name: str) -> None:
        """Forgets a backfill that is done, so that the next one of that name begins anew."""

    def reserve(self, count: int) -> int:
        """The first of ``count`` positions that no row of the log will ever have."""
