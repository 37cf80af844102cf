"""``format = "cloudevents"``: CloudEvents 1.0, the form that esfeed speaks unless told otherwise."""

from __future__ import annotations

import msgspec

from esfeed.event import Event, Op, Origin


class _Data(msgspec.Struct, frozen=True):
    op: Op
    type: str
    id: str
    changed: tuple[str, ...] | None
    before: msgspec.Raw | None
    after: msgspec.Raw | None
    origin: Origin
    position: int


class _CloudEvent(msgspec.Struct, frozen=True):
    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    data: _Data


_json = msgspec.json.Encoder()


def cloudevent(event: Event) -> bytes:
    """The event as one CloudEvents 1.0 structured JSON object, without line breaks of its own making.

    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
    """
    data = _Data(
        event.op, event.type, event.doc_id, event.changed, event.before, event.after, event.origin, event.position
    )
    source = f"esfeed://{event.origin.cluster}/{event.watch}"
    whole = _CloudEvent(
        "1.0", event.id, source, f"esfeed.{event.op}", event.subject, event.time, "application/json", data
    )
    return _json.encode(whole)
