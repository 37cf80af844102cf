"""``format = "raw"``: the document alone, as the index has it, for consumers that know it by its fields.

A delete is ``{"_id": …, "_type": …, "_deleted": true}``, as in CouchDB's ``_changes``. No document looks like this,
because engines reject a field ``_id``.
"""

from __future__ import annotations

import msgspec

from esfeed.model.event import Event

_json = msgspec.json.Encoder()


def raw(event: Event) -> bytes:
    """The document after the change, byte for byte; for a delete, which document is gone."""
    if event.op == "deleted" or event.after is None:
        return _json.encode({"_id": event.doc_id, "_type": event.type, "_deleted": event.op == "deleted"})
    return bytes(event.after)
