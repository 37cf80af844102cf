"""``format = "cloudevents"``: CloudEvents 1.0, the default format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote

import msgspec

from esfeed.model.event import Event, Op, Origin


class _Data(msgspec.Struct, frozen=True, gc=False):
    op: Op
    type: str
    id: str
    changed: tuple[str, ...] | None
    before: msgspec.Raw | None
    after: msgspec.Raw | None
    origin: Origin
    position: int


class _CloudEvent(msgspec.Struct, frozen=True, gc=False):
    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    data: _Data


_json = msgspec.json.Encoder()
_JSON = "application/json"
_LAST_TWO = "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
_NO_TEXT = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_LAST_TWO}]")
"""What the type String of CloudEvents excludes: control characters, surrogates, noncharacters."""


def cloudevent(event: Event) -> bytes:
    """The event as one CloudEvents 1.0 structured JSON object, without added line breaks.

    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
    """
    whole = _CloudEvent(
        "1.0", event.id, _source(event), f"esfeed.{event.op}", _subject(event), event.time, _JSON, _data(event)
    )
    return _json.encode(whole)


def binary_cloudevent(event: Event) -> tuple[Mapping[str, str], bytes]:
    """The event in the binary mode of HTTP: the headers (with the content type), and the data alone as the body.

    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#31-binary-content-mode
    """
    headers = {f"ce-{name}": _header(value) for name, value in attributes(event).items()}
    return {"content-type": _JSON, **headers}, _json.encode(_data(event))


def attributes(event: Event) -> Mapping[str, str]:
    """The context attributes by name, for messages with headers beside the value. None is empty.

    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#context-attributes
    """
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": _source(event),
        "type": f"esfeed.{event.op}",
        "subject": _subject(event),
        "time": event.time,
    }


def _data(event: Event) -> _Data:
    return _Data(
        event.op, event.type, event.doc_id, event.changed, event.before, event.after, event.origin, event.position
    )


def _source(event: Event) -> str:
    return _source_of(event.origin.cluster, event.watch)


@lru_cache(maxsize=1000)
def _source_of(cluster: str, watch: str) -> str:
    # Cached: it is the same for all events of a watch, and took half of the time of an event.
    return f"esfeed://{quote(cluster, safe='')}/{quote(watch, safe='')}"


def _subject(event: Event) -> str:
    """The subject, with percent-encoding for what no attribute may contain (control characters, noncharacters).

    An id can be any text; ``data.id`` is that text.
    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#type-system
    """
    subject = event.subject
    if not (subject.isascii() and subject.isprintable()):
        subject = _NO_TEXT.sub(lambda found: quote(found[0], safe="", errors="replace"), subject)
    return subject or "-"


def _header(value: str) -> str:
    """A value, percent-encoded except printable ASCII other than ``"`` and ``%`` (HTTP binding, §3.1.3.2)."""
    return quote(value, safe="!#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
