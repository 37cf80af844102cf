"""Packs events for the log. Pure functions: a ``Packer`` compresses, an ``Unpack`` reads what it made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

import msgspec

from esfeed.model.event import Event, Key, Op, Origin, Owners, View
from esfeed.model.times import moment, rfc3339

Unpack = Callable[[bytes], bytes]
"""Returns the JSON text that a ``Packer`` packed."""

_EVENT = msgspec.json.Encoder()


class Packer(Protocol):
    """Compresses JSON texts that are alike."""

    def pack_all(self, texts: Sequence[bytes]) -> list[bytes]:
        """Each text, compressed if it is long enough."""


class _Stored(Event, frozen=True):
    """An event, to be read back: ``Raw`` accepts a JSON null, which a union with ``None`` would not decode."""

    before: msgspec.Raw
    after: msgspec.Raw


_READ_EVENT = msgspec.json.Decoder(_Stored)


class _Apart(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event beside its packed content. States contain it: only append fields, with defaults."""

    id: str
    watch: str
    time: str
    op: Op
    type: str
    doc_id: str
    changed: tuple[str, ...] | None
    view: View | None
    owners: Owners | None
    cluster: str
    index: str
    version: int
    seq_no: int | None
    updated_at: str | None
    routing: str | None
    parent: str | None
    snapshot: bool
    after: bytes


class _Reference(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event of a snapshot without its content, and without what its key says. States contain it.

    ``type`` and ``doc_id`` are ``None`` where they are those of the key. ``time`` is in epoch milliseconds where these
    say the same. The id is in bytes.
    """

    id: bytes
    watch: str
    time: int | str
    cluster: str
    index: str
    version: int
    seq_no: int | None
    updated_at: str | None
    type: str | None
    doc_id: str | None
    parent: str | None
    view: View | None
    owners: Owners | None


_MSGPACK = msgspec.msgpack.Encoder()
_READ_APART = msgspec.msgpack.Decoder(_Apart).decode
_READ_REFERENCE = msgspec.msgpack.Decoder(_Reference).decode
_ARRAY = 0xDC  # the first byte of an array of 16 or more elements; no packed text begins with it
_SHORT_ARRAY = 0x9D  # that of one of 13 elements


def pack_events(events: Sequence[tuple[Event, bytes | None]], packer: Packer) -> list[bytes]:
    """Packs events for the log, each with its content if that is already packed. Positions are in the rows.

    Without a ``before``, the content is packed by itself, as in the state, so it is packed only once. Otherwise
    everything is one text, because that packs what both contents have in common only once.
    """
    texts = [
        _EVENT.encode(event) if _whole(event) else bytes(event.after or b"") if after is None else b""
        for event, after in events
    ]
    return [
        text if _whole(event) else _MSGPACK.encode(_apart(event, text if after is None else after))
        for (event, after), text in zip(events, packer.pack_all(texts), strict=True)
    ]


def _whole(event: Event) -> bool:
    return event.before is not None or event.after is None


def _apart(e: Event, after: bytes) -> _Apart:
    origin = e.origin
    return _Apart(
        e.id, e.watch, e.time, e.op, e.type, e.doc_id, e.changed, e.view, e.owners, origin.cluster, origin.index,
        origin.version, origin.seq_no, origin.updated_at, origin.routing, origin.parent, origin.snapshot, after,
    )  # fmt: skip


def pack_reference(event: Event, key: Key) -> bytes | None:
    """Packs a ``read`` event of a snapshot without its content, which the state has beside the document ``key``.

    ``None`` if the event has more than such an event has.
    """
    e, origin = event, event.origin
    if e.op != "read" or not origin.snapshot or e.changed is not None or e.before is not None or e.route or e.about:
        return None
    id = _plain_id(e.id)
    if id is None or origin.routing != key.routing:
        return None
    return _MSGPACK.encode(_Reference(
        id, e.watch, _milliseconds(e.time), origin.cluster, origin.index, origin.version, origin.seq_no,
        origin.updated_at, None if e.type == key.type else e.type, None if e.doc_id == key.id else e.doc_id,
        origin.parent, e.view, e.owners,
    ))  # fmt: skip


def is_reference(raw: bytes) -> bool:
    """Whether a packed event lacks its content."""
    return raw[0] == _SHORT_ARRAY


def with_content(raw: bytes, key: Key, after: bytes) -> bytes:
    """The packed event of a reference, with its packed content."""
    r = _READ_REFERENCE(raw)
    time = r.time if isinstance(r.time, str) else _text(r.time)
    return _MSGPACK.encode(_Apart(
        r.id.hex(), r.watch, time, "read", key.type if r.type is None else r.type,
        key.id if r.doc_id is None else r.doc_id, None, r.view, r.owners, r.cluster, r.index, r.version, r.seq_no,
        r.updated_at, key.routing, r.parent, True, after,
    ))  # fmt: skip


def _plain_id(text: str) -> bytes | None:
    """The bytes of an id in hexadecimal digits; ``None`` if it is another text."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return None
    return raw if raw.hex() == text else None


@lru_cache(100)
def _milliseconds(time: str) -> int | str:
    """Epoch milliseconds if they stand for exactly that text."""
    try:
        at = round(moment(time).timestamp() * 1000)
    except ValueError:
        return time
    return at if _text(at) == time else time


@lru_cache(100)
def _text(milliseconds: int) -> str:
    return rfc3339(datetime.fromtimestamp(milliseconds / 1000, UTC))


def unpack_event(raw: bytes, position: int, unpack: Unpack) -> Event:
    """The event of a log row, with its position."""
    if raw[0] == _ARRAY:
        e = _READ_APART(raw)
        origin = Origin(e.cluster, e.index, e.version, e.seq_no, e.updated_at, e.routing, e.parent, e.snapshot)
        body = msgspec.Raw(unpack(e.after))
        return Event(
            e.id, e.watch, e.time, e.op, e.type, e.doc_id, e.changed, None, body, origin, e.view, position,
            owners=e.owners,
        )  # fmt: skip
    text = _READ_EVENT.decode(unpack(raw))
    before, after = _none(text.before), _none(text.after)
    return Event(
        text.id, text.watch, text.time, text.op, text.type, text.doc_id, text.changed, before, after, text.origin,
        text.view, position, text.route, text.about, text.owners,
    )  # fmt: skip


def _none(raw: msgspec.Raw) -> msgspec.Raw | None:
    return None if len(raw) == 4 and bytes(raw) == b"null" else raw
