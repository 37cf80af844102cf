"""The values that esfeed passes on: documents as read, revisions as remembered, changes, and events.

All are frozen. The ``_source`` of a document keeps the bytes of the engine everywhere (``msgspec.Raw``): numbers beyond
2**53 and the order of keys survive, and nothing is parsed unless needed.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import msgspec

from esfeed.model.times import moment

Op = Literal["created", "updated", "deleted", "read"]
View = Literal["admin", "user"]

UNTYPED = "_doc"


class Key(NamedTuple):
    """Identifies a document in a watch.

    ``type`` is ``_type``, or ``_doc`` if the engine has no types, so that an upgrade changes no key. ``routing`` is
    included, because the same id under two routings is two documents. ``within`` is the index (or the alias that leads
    to it), for patterns only: behind an alias, the same (type, id) in a new index is the same document.
    """

    type: str
    id: str
    routing: str | None = None
    within: str | None = None


class Document(msgspec.Struct, frozen=True, gc=False):
    """A document as one read of the cluster showed it.

    ``source`` is the raw JSON of ``_source``; ``None`` if only ids and versions were read. ``uuid`` is the uuid of the
    concrete ``index``. ``seq_no`` is ``None`` if the engine has none (2.x, 5.x) or it was not read, ``shard`` if the
    read was not by shard. ``stamp`` is the date that the watch follows, in epoch milliseconds as the engine has it;
    ``None`` if there is none, or it was not read.
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
    """What the store remembers of a document: enough to decide whether a later read shows a change.

    ``digest`` is of the content (see :func:`esfeed.changes.diff.digest`), empty if the content was never read.
    ``shard`` is set if the watch is followed by shard, ``stamp`` (epoch milliseconds) if it is followed by dates.
    """

    uuid: str
    index: str
    version: int
    seq_no: int | None
    digest: bytes
    shard: int | None = None
    stamp: int | None = None


class Change(msgspec.Struct, frozen=True, gc=False):
    """What happened to a document between two reads. ``before`` and ``after`` are raw JSON, ``None`` if unknown.

    ``changed`` names the top-level fields that differ, ``None`` if ``before`` is unknown.
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
    """Where the state of an event was read: everything that a consumer needs to find, order or compare it."""

    cluster: str
    index: str
    version: int
    seq_no: int | None
    updated_at: str | None
    routing: str | None
    parent: str | None
    snapshot: bool


class Owners(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who owns a resource, and who else may see it, according to its profile. Projects are named by their ids.

    ``owner`` is the project that owns it (in a delete: owned it), empty for none; ``was`` the one that owned it before
    the change. ``guests`` may see it now, ``were_guests`` could before. ``private`` are the top-level fields that only
    the owner may see.
    """

    owner: str = ""
    was: str = ""
    guests: tuple[str, ...] = ()
    were_guests: tuple[str, ...] = ()
    private: tuple[str, ...] = ()


class Event(msgspec.Struct, frozen=True, gc=False):
    """A change as it is logged and sent. ``position`` is its position in the log, 0 before it has one.

    ``view`` is set by the profile (``admin``/``user``), ``None`` if the document is for everybody. ``time`` is RFC
    3339. ``route`` and ``about`` are the results of the templates ``route`` and ``subject`` of the route to a sink;
    they are not in the log. ``owners`` is set by the profile; consumers do not see it.
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
        """The project that owns the resource; empty if none does or it is unknown."""
        return self.owners.owner if self.owners else ""

    @property
    def subject(self) -> str:
        return f"{self.type}/{self.doc_id}" if self.about is None else self.about


def one_line(raw: bytes) -> bytes:
    """JSON text without line breaks. An engine returns a pretty-printed ``_source`` as it was written.

    A raw line feed cannot occur inside a JSON string, so a space in its place keeps the meaning.
    """
    if b"\n" in raw or b"\r" in raw:
        return raw.replace(b"\n", b" ").replace(b"\r", b" ")
    return raw


_json = msgspec.json.Encoder()


def event_id(watch: str, key: Key, op: Op, revision: Revision, head: int, copy: str = "") -> str:
    """The stable id of an event: 32 hexadecimal digits.

    If a watch is followed by ``_seq_no``, (index uuid, seq_no, content, copy) is unique for ever, so two independent
    feeds give the same change the same id. ``copy`` is the primary at that time, and the time of the first look at it,
    because an operation that a failover took back can be done again, with the same number and content. Otherwise a
    version can come back (deleted, forgotten by the engine a minute later, and created again as version 1). Then
    ``head``, the last position of the log before the commit, distinguishes the two: no two commits with events have the
    same. The id is logged with the event, so a repeat after a crash has the same id.
    """
    return hashlib.blake2b(event_text(watch, key, op, revision, head, copy), digest_size=16).hexdigest()


def content_digest(source: bytes | None) -> bytes:
    """The digest of a content by its bytes, 16 bytes long; empty for a content that was not read."""
    return b"" if source is None else hashlib.blake2b(source, digest_size=16).digest()


def event_text(watch: str, key: Key, op: Op, revision: Revision, head: int, copy: str) -> bytes:
    """The text whose hash is the id of an event."""
    mark: tuple[Any, ...]
    if copy and revision.seq_no is not None:
        mark = (revision.uuid, revision.seq_no, revision.digest.hex(), copy)
    else:
        mark = (revision.uuid, revision.version, revision.digest.hex(), head)
    return _json.encode((watch, key, op, mark))


def weight(event: Event) -> int:
    """The approximate size of an event in bytes, in memory or when it is sent."""
    return 400 + (len(event.before) if event.before else 0) + (len(event.after) if event.after else 0)


def event_time(event: Event) -> float | None:
    """When an event was made, in epoch seconds; ``None`` if its time cannot be parsed."""
    return _epoch(event.time)


@lru_cache(1000)
def _epoch(time: str) -> float | None:
    try:
        return moment(time).timestamp()
    except ValueError:
        return None
