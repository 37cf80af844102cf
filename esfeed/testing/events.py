"""A builder of sample events: a test names only the fields that matter to it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec

from esfeed.model.event import Event, Op, Origin, View


def _raw(document: dict[str, Any] | bytes | None) -> msgspec.Raw | None:
    if document is None:
        return None
    return msgspec.Raw(document if isinstance(document, bytes) else json.dumps(document).encode())


def sample_event(
    *,
    position: int = 1,
    op: Op = "updated",
    doc_id: str = "6c41f0aa",
    type: str = "OS::Nova::Server",
    id: str | None = None,
    watch: str = "servers",
    time: str = "2026-11-24T10:00:00Z",
    before: dict[str, Any] | bytes | None = None,
    after: dict[str, Any] | bytes | None = None,
    changed: tuple[str, ...] | None = None,
    view: View | None = None,
    routing: str | None = None,
    index: str = "searchlight-2026_11_24",
) -> Event:
    """An event as the log holds it; the arguments have the names of :class:`esfeed.model.event.Event`.

    ``before`` and ``after`` are a dict, or the raw bytes of an engine. If neither is given, a small document that fits
    ``op`` is used. Without ``id`` one is derived, the same for the same document and position.
    """
    if before is None and after is None:
        before = {"name": "web-1", "status": "BUILD"} if op in ("updated", "deleted") else None
        after = {"name": "web-1", "status": "ACTIVE"} if op != "deleted" else None
        changed = ("status",) if op == "updated" and changed is None else changed
    derived = hashlib.blake2b(repr((watch, type, doc_id, routing, position)).encode(), digest_size=16).hexdigest()
    origin = Origin(
        cluster="main",
        index=index,
        version=1795514400000000000 + position,
        seq_no=None,
        updated_at=time,
        routing=routing,
        parent=None,
        snapshot=op == "read",
    )
    return Event(
        id=id or derived,
        watch=watch,
        time=time,
        op=op,
        type=type,
        doc_id=doc_id,
        changed=changed,
        before=_raw(before),
        after=_raw(after),
        origin=origin,
        view=view,
        position=position,
    )
