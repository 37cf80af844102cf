"""How keys, documents and events lie in a database column: pure functions, bytes in and out."""

from __future__ import annotations

import msgspec

from esfeed.event import Event, Key

try:
    # The same format, made in a third of the time. https://github.com/pycompression/python-isal
    from isal.isal_zlib import compress as _deflate
    from isal.isal_zlib import decompress as _inflate
except ImportError:  # no wheel for this processor
    from zlib import compress as _deflate
    from zlib import decompress as _inflate

_MSGPACK = msgspec.msgpack.Encoder()
_UNPACK = msgspec.msgpack.Decoder(tuple[str | None, ...])
_EVENT = msgspec.json.Encoder()
_ZLIB = 0x78  # the first byte of a zlib stream; JSON text never begins with it
_WORTH_PACKING = 256


class _Stored(Event, frozen=True):
    """An event as it is read back: ``Raw`` takes a JSON null too, which a union with ``None`` would not decode."""

    before: msgspec.Raw
    after: msgspec.Raw


_READ_EVENT = msgspec.json.Decoder(_Stored)


def pack_key(key: Key) -> bytes:
    """A key as a MessagePack array without its trailing empty parts."""
    if key.within is not None:
        return _MSGPACK.encode(tuple(key))
    if key.routing is not None:
        return _MSGPACK.encode(key[:3])
    return _MSGPACK.encode(key[:2])


def unpack_key(raw: bytes) -> Key:
    """The key that :func:`pack_key` packed."""
    return Key(*_UNPACK.decode(raw))  # type: ignore[arg-type]  # the first two parts are always text


def pack(raw: bytes) -> bytes:
    """JSON text, deflated where that is worth it."""
    return _deflate(raw, 1) if len(raw) > _WORTH_PACKING else raw


def unpack(raw: bytes) -> bytes:
    """The JSON text that :func:`pack` packed."""
    return _inflate(raw) if raw[0] == _ZLIB else raw


def pack_event(event: Event) -> bytes:
    """An event as it lies in the log; its position is the row's."""
    return pack(_EVENT.encode(event))


def unpack_event(raw: bytes, position: int) -> Event:
    """The event of a log row, with its position."""
    e = _READ_EVENT.decode(unpack(raw))
    before, after = _none(e.before), _none(e.after)
    return Event(
        e.id, e.watch, e.time, e.op, e.type, e.doc_id, e.changed, before, after, e.origin, e.view, position,
        e.route, e.about, e.owners,
    )  # fmt: skip


def _none(raw: msgspec.Raw) -> msgspec.Raw | None:
    return None if len(raw) == 4 and bytes(raw) == b"null" else raw
