"""The values that travel through the house: documents as read, revisions as remembered, changes, and events.

All are frozen. A document's ``_source`` stays the engine's own bytes all the way (``msgspec.Raw``): numbers beyond
2**53 and the order of keys survive, and nothing is parsed that nobody asks for.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import msgspec

Op = Literal["created", "updated", "deleted", "read"]
View = Literal["admin", "user"]

UNTYPED = "_doc"


class Key(NamedTuple):
    """What makes a document one document behind a watch.

    ``type`` is ``_type``, or ``_doc`` where the engine has no types, so that an upgrade changes no key. ``routing``
    counts, since the same id under two routings is two documents. ``within`` is the index (or the alias that
    leads to it), set behind a pattern only: behind an alias the same (type, id) in a new index is the same document.
    """

    type: str
    id: str
    routing: str | None = None
    within: str | None = None


class Document(msgspec.Struct, frozen=True, gc=False):
    """A document as one read of the cluster showed it.

    ``source`` is the raw JSON of ``_source``; ``None`` where only ids and versions were read. ``uuid`` is the uuid of
    the concrete ``index``. ``seq_no`` is ``None`` where the engine has none (2.x, 5.x) or was not asked, ``shard``
    where the read did not go shard by shard. ``stamp`` is the date that the watch goes by, in epoch milliseconds as the
    engine has it; ``None`` where there is none, or it was not asked for.
    """

    key: Key
    index: str
    uuid: str
    version: int
    seq_no: int | None = None
    source: bytes | None = None
    parent: str | None = None
    shard: int | None = None
    stamp: int | None = None


class Revision(msgspec.Struct, frozen=True, gc=False):
    """What the store remembers of a document: enough to tell whether a later read is news.

    ``digest`` is of the content (see :func:`esfeed.changes.diff.digest`), empty where the content was never read.
    ``shard`` is known where the watch is followed shard by shard, ``stamp`` (epoch milliseconds) where it is followed
    by its dates.
    """

    uuid: str
    index: str
    version: int
    seq_no: int | None
    digest: bytes
    shard: int | None = None
    stamp: int | None = None


class Change(msgspec.Struct, frozen=True, gc=False):
    """What happened to a document between two reads. ``before`` and ``after`` are raw JSON, ``None`` where not known.

    ``changed`` names the top-level fields that differ, ``None`` where ``before`` is not known.
    """

    op: Op
    key: Key
    revision: Revision
    before: bytes | None = None
    after: bytes | None = None
    changed: tuple[str, ...] | None = None
    parent: str | None = None
    snapshot: bool = False


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where an event's state was read: all a consumer needs to find, order or compare it."""

    cluster: str
    index: str
    version: int
    seq_no: int | None
    updated_at: str | None
    routing: str | None
    parent: str | None
    snapshot: bool


class Owners(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whose a resource is, and who else may see it, as its profile knows; projects by their ids.

    ``owner`` is the project that has it (in a delete: had it), empty for none; ``was`` the one that had it before the
    change. ``guests`` may see it now, ``were_guests`` could before. ``private`` are the fields, at the top of the
    document, that nobody but the owner is to see.
    """

    owner: str = ""
    was: str = ""
    guests: tuple[str, ...] = ()
    were_guests: tuple[str, ...] = ()
    private: tuple[str, ...] = ()


class Event(msgspec.Struct, frozen=True, gc=False):
    """A change as it is logged and sent. ``position`` is its place in the log, 0 until it has one.

    ``view`` is the profile's (``admin``/``user``), ``None`` where a document is for everybody. ``time`` is RFC 3339.
    ``route`` and ``about`` are what the route that brings it to a sink made of its templates ``route`` and ``subject``;
    they are not in the log. ``owners`` is the profile's; no consumer sees it.
    """

    id: str
    watch: str
    time: str
    op: Op
    type: str
    doc_id: str
    changed: tuple[str, ...] | None
    before: msgspec.Raw | None
    after: msgspec.Raw | None
    origin: Origin
    view: View | None = None
    position: int = 0
    route: str = ""
    about: str | None = None
    owners: Owners | None = None

    @property
    def owner(self) -> str:
        """The project that has the resource, empty where none does or nobody knows."""
        return self.owners.owner if self.owners else ""

    @property
    def subject(self) -> str:
        return f"{self.type}/{self.doc_id}" if self.about is None else self.about


def one_line(raw: bytes) -> bytes:
    """JSON text without line breaks: a pretty-printed ``_source`` comes back from the engine as it was written.

    A raw line feed cannot stand inside a JSON string, so replacing it by a space keeps the meaning.
    """
    if b"\n" in raw or b"\r" in raw:
        return raw.replace(b"\n", b" ").replace(b"\r", b" ")
    return raw


_json = msgspec.json.Encoder()


def event_id(watch: str, key: Key, op: Op, revision: Revision, head: int, copy: str = "") -> str:
    """The stable id of an event: 32 hexadecimal digits.

    Where a watch is followed by ``_seq_no``, (index uuid, seq_no, content, copy) is unique for ever, so two independent
    feeds name the same change alike. ``copy`` is the primary at that time, and the time of the first look at it: what a
    failover took back may be done again, with the same number and content. Elsewhere a version can come back (deleted,
    forgotten by the engine a minute later, and created again as version 1), so ``head``, the log's last position before
    the commit that tells it, tells the two apart: no two commits that tell anything have the same. The id is logged
    with the event, so a repeat after a crash still carries it.
    """
    return hashlib.blake2b(event_text(watch, key, op, revision, head, copy), digest_size=16).hexdigest()


def content_digest(source: bytes | None) -> bytes:
    """A content in 16 bytes, by its bytes; empty for one that was not read."""
    return b"" if source is None else hashlib.blake2b(source, digest_size=16).digest()


def event_text(watch: str, key: Key, op: Op, revision: Revision, head: int, copy: str) -> bytes:
    """What an event's id is the hash of."""
    mark: tuple[Any, ...]
    if copy and revision.seq_no is not None:
        mark = (revision.uuid, revision.seq_no, revision.digest.hex(), copy)
    else:
        mark = (revision.uuid, revision.version, revision.digest.hex(), head)
    return _json.encode((watch, key, op, mark))


def weight(event: Event) -> int:
    """About how many bytes an event takes, in memory or where it is sent."""
    return 400 + (len(event.before) if event.before else 0) + (len(event.after) if event.after else 0)


def event_time(event: Event) -> float | None:
    """When an event was made, in epoch seconds; ``None`` where its time cannot be read."""
    return _epoch(event.time)


@lru_cache(1000)
def _epoch(time: str) -> float | None:
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return None
