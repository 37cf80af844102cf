"""Documents as lines of JSON without intermediate objects, for a backfill of plain documents to a file.

A document that nothing has to read need not become an :class:`~esfeed.model.event.Event` and then text again: all lines
of an index are alike except for a few values, and the bytes of the engine fit between them. This module does not define
what a line looks like. It cuts the line that the envelope makes of a sample; a property test checks that both are equal
to the byte. A document that does not fit (an id with a quote in it, an odd date) takes the slow path.
"""

from __future__ import annotations

import hashlib
import itertools
from binascii import hexlify
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any

import msgspec

from esfeed.envelopes.cloudevents import cloudevent
from esfeed.model.event import Document, Event, Key, Origin, Revision, content_digest, event_text, one_line
from esfeed.model.reads import Kind, Unread
from esfeed.text.linebuffer import LineBuffer

Long = Callable[[Document, int, str], bytes]
"""Makes the line of (document, position, time) on the slow path."""

_QUOTE = ord('"')
_VERSION, _NUMBER, _POSITION = 7777777, 8888888, 9999999
_DIGEST = b"\x5f\x2c\x91\xd0\x4b\x7e" * 2
_AFTER = '{"esfeed":"the content 5f2c91d04b7e"}'
_TEXT = b"%s", b"%d", b"%s"
_LINE = b"%s", b"%s", b"%s", b"%s", b"%s", b"%d", b"%s", b"%s", b"%d"


class _Form:
    """The pieces of the text that an id is the hash of, and of a line; the values of a document go between them."""

    def __init__(self, text: list[bytes], line: list[bytes]) -> None:
        self.pieces = text, line

    @cached_property
    def text(self) -> bytes:
        return _filled_in(self.pieces[0], _TEXT)

    @cached_property
    def line(self) -> bytes:
        return _filled_in(self.pieces[1], _LINE)


@cache
def _dated(field: str) -> Any:
    """A decoder that reads a field of a document, shared by all watches because it is slow to make."""
    at = msgspec.defstruct("At", [("value", msgspec.Raw, msgspec.Raw(b"null"))], rename={"value": field}, gc=False)
    return msgspec.json.Decoder(at)


class LineTemplate:
    """Makes lines (with their line feed) of the documents of one watch, as ``read`` events in CloudEvents.

    ``field`` is the date in the document, as for :class:`esfeed.changes.events.EventFactory`.
    """

    def __init__(self, watch: str, cluster: str, field: str, long: Long) -> None:
        self._watch = watch
        self._cluster = cluster
        self._long = long
        self._field = field
        self._forms: dict[Kind, _Form] = {}
        self._dated = _dated(field)
        self._short = bool(field) and "." not in field

    def of(self, docs: Sequence[Document], first: int, now: str) -> Sequence[bytes]:
        """A line for each document, from position ``first`` on, with the time ``now`` (RFC 3339)."""
        time = now.encode()
        if isinstance(docs, Unread) and self._short and docs.field == self._field:
            forms = [self._form(kind).pieces for kind in docs.kinds]
            return LineBuffer(docs.hits.lines(forms, first, time), len(docs))
        lines: list[bytes] = []
        for position, doc in enumerate(docs, first):
            key, source = doc.key, doc.source
            name, date = key.id, self._date(source) if source is not None and key.routing is None else None
            if date is None or doc.parent is not None or not _plain(name):
                lines.append(self._long(doc, position, now))
                continue
            form = self._form(Kind(key.type, doc.index, doc.uuid, key.within))
            word = name.encode()
            text = form.text % (word, doc.version, hexlify(content_digest(source)))
            event_id = hexlify(hashlib.blake2b(text, digest_size=16).digest())
            number = b"null" if doc.seq_no is None else b"%d" % doc.seq_no
            after = one_line(source)  # type: ignore[arg-type]  # it has one, or there were no date
            lines.append(form.line % (event_id, word, time, word, after, doc.version, number, date, position))
        return lines

    def _date(self, source: bytes) -> bytes | None:
        """The date in the document, as it is written there; ``None`` if it is neither a simple text nor missing."""
        if not self._short:
            return None
        try:
            date = bytes(self._dated.decode(source).value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return date if date == b"null" or (date[0] == _QUOTE and b"\\" not in date and date.isascii()) else None

    def _form(self, kind: Kind) -> _Form:
        return self._forms.get(kind) or self._forms.setdefault(kind, self._made(kind))

    def _made(self, kind: Kind) -> _Form:
        """The form of all documents of a kind."""
        name, mark, time, date = (f"esfeed {part} 5f2c91d04b7e" for part in ("name", "id", "time", "date"))
        key = Key(kind.type, name, None, kind.within)
        revision = Revision(kind.uuid, kind.name, _VERSION, None, _DIGEST)
        text = event_text(self._watch, key, "read", revision, 0, "")
        origin = Origin(self._cluster, kind.name, _VERSION, _NUMBER, date, None, None, True)
        after = msgspec.Raw(_AFTER.encode())
        event = Event(mark, self._watch, time, "read", key.type, name, None, None, after, origin, position=_POSITION)
        places = [
            *(("", value, "") for value in (mark, name, time, name, _AFTER)),
            (":", f"{_VERSION}", ","),
            (":", f"{_NUMBER}", ","),
            ("", f'"{date}"', ""),
            (":", f"{_POSITION}", "}"),
        ]
        line = _cut(cloudevent(event) + b"\n", places)
        return _Form(_cut(text, [("", name, ""), (",", f"{_VERSION}", ","), ('"', _DIGEST.hex(), '"')]), line)


def _plain(name: str) -> bool:
    """Whether a text needs no escape in JSON and in the subject of a CloudEvent."""
    return name.isascii() and name.isprintable() and '"' not in name and "\\" not in name


def _cut(text: bytes, places: Sequence[tuple[str, str, str]]) -> list[bytes]:
    """The pieces of ``text`` between ``places``, in order. Each place is (text before, value, text after)."""
    pieces, begin, rest = [], "", text.decode()
    for left, value, right in places:
        before, found, rest = rest.partition(left + value + right)
        if not found:
            raise AssertionError(f"{value} is not where it was expected in {text!r}")
        pieces.append((begin + before + left).encode())
        begin = right
    return [*pieces, (begin + rest).encode()]


def _filled_in(pieces: Sequence[bytes], places: Sequence[bytes]) -> bytes:
    """A template for the ``%`` operator."""
    first, *rest = (piece.replace(b"%", b"%%") for piece in pieces)
    return first + b"".join(itertools.chain.from_iterable(zip(places, rest, strict=True)))
