"""``format = "debezium"``: the value of a Debezium change event.

It is the payload alone, as Debezium's JSON converter writes it with ``schemas.enable=false``. ``source.id`` (with
``source.collection`` and ``source.routing``) identifies the document; Debezium itself has that in the key of its
messages.
"""

from __future__ import annotations

import msgspec

from esfeed import __version__
from esfeed.model.event import Event
from esfeed.model.times import moment

_OPS = {"created": "c", "updated": "u", "deleted": "d", "read": "r"}


class _Source(msgspec.Struct, frozen=True):
    version: str
    connector: str
    name: str
    ts_ms: int
    snapshot: str
    db: str
    collection: str
    id: str
    watch: str
    routing: str | None
    parent: str | None
    revision: str
    seq_no: int | None
    position: int
    event_id: str


class _Value(msgspec.Struct, frozen=True):
    before: msgspec.Raw | None
    after: msgspec.Raw | None
    source: _Source
    op: str
    ts_ms: int
    transaction: None = None


_json = msgspec.json.Encoder()


def debezium(event: Event) -> bytes:
    """The event as the value of a Debezium change event.

    ``source.ts_ms`` is the date in the document, if it has a readable one; ``ts_ms`` is when esfeed found the change.
    Both are epoch milliseconds. ``source.revision`` is its version, as text because it can exceed 2**53.
    https://debezium.io/documentation/reference/stable/connectors/mongodb.html#mongodb-change-events-value
    """
    origin = event.origin
    found = _milliseconds(event.time) or 0
    source = _Source(
        __version__,
        "esfeed",
        origin.cluster,
        _milliseconds(origin.updated_at) or found,
        "true" if origin.snapshot else "false",
        origin.index,
        event.type,
        event.doc_id,
        event.watch,
        origin.routing,
        origin.parent,
        str(origin.version),
        origin.seq_no,
        event.position,
        event.id,
    )
    return _json.encode(_Value(event.before, event.after, source, _OPS[event.op], found))


def _milliseconds(text: str | None) -> int | None:
    try:
        return int(moment(text or "").timestamp() * 1000)
    except ValueError:
        return None
