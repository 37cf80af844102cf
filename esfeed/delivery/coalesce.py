"""Merges the events of a document within a time window into one, so that a sink gets only the latest state. Pure.

A consumer reaches the same state from the merged events as from all events. The merged events omit a document that was
created and deleted within the window, and an update that was reverted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from esfeed.changes import diff
from esfeed.model.event import Event, Op, Owners


def merge(events: Sequence[Event]) -> Event | None:
    """Merges ``events``, all of one document and in order, into one event; ``None`` if there is nothing to send.

    ``before`` comes from the first event, everything else from the last; ``changed`` is computed again. The id is
    derived from the ids of the events, so merging the same events again gives the same id. A single event stays
    unchanged.
    """
    if len(events) == 1:
        return events[0]
    first, last = events[0], events[-1]
    op = _op(events)
    if op is None:
        return None
    before = first.after if first.op == "read" and op == "deleted" else first.before
    if op in ("created", "read"):
        before = None
    after = None if op == "deleted" else last.after
    changed = None
    if op == "updated":
        changed = diff.changed_fields(_raw(before), _raw(after))
        if changed == ():
            if not any(event.op == "read" for event in events):
                return None
            op, before, changed = "read", None, None
    joined = "\n".join(event.id for event in events).encode()
    return msgspec.structs.replace(
        last,
        id=hashlib.blake2b(joined, digest_size=16).hexdigest(),
        op=op,
        before=before,
        after=after,
        changed=changed,
        owners=_owners(first, last, op),
    )


def _owners(first: Event, last: Event, op: Op) -> Owners | None:
    """The owners for the documents in the merged event. Otherwise a new owner would see what belonged to another."""
    if first.owners is None and last.owners is None:
        return None
    then, now = first.owners or Owners(), last.owners or Owners()
    was, were_guests = then.was, then.were_guests
    if first.op in ("created", "read"):
        was, were_guests = then.owner, then.guests
    owner, guests = (was, were_guests) if op == "deleted" else (now.owner, now.guests)
    return Owners(owner, was, guests, were_guests, now.private or then.private)


def _op(events: Sequence[Event]) -> Op | None:
    """The op, from whether the document existed before (``read`` does not say) and exists now."""
    first, last = events[0], events[-1]
    if last.op == "deleted":
        return None if first.op == "created" else "deleted"
    if first.op in ("created", "read"):
        return first.op
    return "updated"


def _raw(document: msgspec.Raw | None) -> bytes | None:
    return None if document is None else bytes(document)
