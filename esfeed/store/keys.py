"""Packs keys of documents for database columns. Pure functions, bytes in and out."""

from __future__ import annotations

import binascii
from functools import lru_cache

from esfeed.model.event import UNTYPED, Key

# States contain keys in these forms, and find a key by its bytes. So any change here, even one more name in the list or
# one more form that is shorter for some id, needs a step in ``migrations`` that packs the keys of old states again.
_FORM = 0b111
_TEXT, _UUID, _AUTO, _NUMBER, _HEX, _ADMIN, _USER, _NAMED = range(8)
_TYPED, _ROUTED, _WITHIN = 0x08, 0x10, 0x20
SHORT_NAMES = (
    "OS::Cinder::Snapshot",
    "OS::Cinder::Volume",
    "OS::Designate::RecordSet",
    "OS::Designate::Zone",
    "OS::Glance::Image",
    "OS::Glance::Metadef",
    "OS::Ironic::Chassis",
    "OS::Ironic::Node",
    "OS::Ironic::Port",
    "OS::Neutron::FloatingIP",
    "OS::Neutron::Net",
    "OS::Neutron::Port",
    "OS::Neutron::Router",
    "OS::Neutron::SecurityGroup",
    "OS::Neutron::Subnet",
    "OS::Nova::Flavor",
    "OS::Nova::Hypervisor",
    "OS::Nova::Server",
    "OS::Nova::ServerGroup",
)
"""Types that a state stores as their index in this list."""

_NAMES = {name: number for number, name in enumerate(SHORT_NAMES)}
_SUFFIXES = {_UUID: "", _ADMIN: "_ADMIN", _USER: "_USER"}
_HEX_SIZES = frozenset({24, 32, 40, 64})  # an ObjectId of MongoDB, MD5 and UUIDs without dashes, SHA-1, SHA-256
_MOST_DIGITS = 18
_LONG = 255
_HEADS = [bytes([form]) for form in range(8)]
_TO_PLAIN = bytes.maketrans(b"-_+/", b"+/!!")  # "!" is no digit
_TO_URL = bytes.maketrans(b"+/", b"-_")
_key = tuple.__new__  # ``Key(...)`` takes twice as long


def pack_key(key: Key) -> bytes:
    """Packs a key into few bytes. Equal keys have equal bytes, and different keys different ones.

    The result is a head, the data of the id, and then each of type, routing and within that the key has (the usual
    type, ``_doc``, counts as none). The head is the form of the id, with one bit for each part that follows. Such a
    part is its form, and the data for that form. Raises ``UnicodeEncodeError`` for a lone surrogate.
    """
    type, id, routing, within = key
    packed = _pack(id)
    if type == UNTYPED and routing is None and within is None:
        return packed
    head, more = packed[0], b""
    if type != UNTYPED:
        head |= _TYPED
        more = _pack_name(type)
    if routing is not None:
        head |= _ROUTED
        more += _pack(routing)
    if within is not None:
        head |= _WITHIN
        more += _pack_name(within)
    return b"%c%b%b" % (head, packed[1:], more)


def unpack_key(raw: bytes) -> Key:
    """The key that :func:`pack_key` packed."""
    head = raw[0]
    if head == _UUID:
        # The most frequent form, without a call.
        text = raw.hex()
        return _key(Key, (UNTYPED, f"{text[2:10]}-{text[10:14]}-{text[14:18]}-{text[18:22]}-{text[22:]}", None, None))
    type, routing, within = UNTYPED, None, None
    id, at = _unpack(raw, head & _FORM, 1)
    if head & _TYPED:
        type, at = _unpack(raw, raw[at], at + 1)
    if head & _ROUTED:
        routing, at = _unpack(raw, raw[at], at + 1)
    if head & _WITHIN:
        within, at = _unpack(raw, raw[at], at + 1)
    return _key(Key, (type, id, routing, within))


def _pack(text: str) -> bytes:
    """Packs a part in the shortest form that gives exactly this text again."""
    size = len(text)
    if size == 36:
        packed = _pack_uuid(_UUID, text)
    elif size == 20:
        packed = _pack_auto(text)
    elif size == 42 and text.endswith(_SUFFIXES[_ADMIN]):
        packed = _pack_uuid(_ADMIN, text[:36])
    elif size == 41 and text.endswith(_SUFFIXES[_USER]):
        packed = _pack_uuid(_USER, text[:36])
    elif size in _HEX_SIZES:
        packed = _pack_hex(text)
    elif size <= _MOST_DIGITS and text.isdigit() and text.isascii() and (text[0] != "0" or size == 1):
        number = int(text)
        size_bytes = (number.bit_length() + 7) >> 3
        return b"%c%c%b" % (_NUMBER, size_bytes, number.to_bytes(size_bytes))
    else:
        packed = None
    return _pack_text(text) if packed is None else packed


def _pack_uuid(form: int, text: str) -> bytes | None:
    if not text[8] == text[13] == text[18] == text[23] == "-":
        return None
    digits = text.replace("-", "")
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        return None
    # ``fromhex`` also accepts capitals and spaces, and there can be more dashes.
    return _HEADS[form] + raw if len(raw) == 16 and raw.hex() == digits else None


def _pack_auto(text: str) -> bytes | None:
    """20 digits of URL-safe base64 are 15 bytes, and each such text has its own bytes."""
    try:
        raw = binascii.a2b_base64(text.encode("ascii").translate(_TO_PLAIN), strict_mode=True)
    except ValueError:
        return None
    return _HEADS[_AUTO] + raw if len(raw) == 15 else None


def _pack_hex(text: str) -> bytes | None:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return None
    return b"%c%c%b" % (_HEX, len(raw), raw) if raw.hex() == text else None


def _pack_text(text: str) -> bytes:
    raw = text.encode()
    size = len(raw)
    if size < _LONG:
        return b"%c%c%b" % (_TEXT, size, raw)
    return b"%c%c%b%b" % (_TEXT, _LONG, size.to_bytes(4), raw)


@lru_cache(1000)
def _pack_name(text: str) -> bytes:
    """Packs a type or an index: there are few of them, in many keys."""
    number = _NAMES.get(text)
    return _pack(text) if number is None else b"%c%c" % (_NAMED, number)


def _unpack(raw: bytes, form: int, at: int) -> tuple[str, int]:
    """Unpacks the part of that form at offset ``at``. Returns it with the offset after it."""
    if form in _SUFFIXES:
        text, end = raw[at : at + 16].hex(), at + 16
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}{_SUFFIXES[form]}", end
    if form == _AUTO:
        end = at + 15
        return binascii.b2a_base64(raw[at:end], newline=False).translate(_TO_URL).decode("ascii"), end
    size = raw[at]
    at += 1
    if form == _NAMED:
        return SHORT_NAMES[size], at
    if form == _TEXT and size == _LONG:
        size, at = int.from_bytes(raw[at : at + 4]), at + 4
    end = at + size
    if form == _NUMBER:
        return str(int.from_bytes(raw[at:end])), end
    if form == _HEX:
        return raw[at:end].hex(), end
    return raw[at:end].decode(), end
