"""Makes one event of those that happened to a document within a while, so that a sink gets its latest state only. Pure.

What a consumer ends up with is the same: replaying the merged events leads where replaying all of them does. What came
and went again in between is not told at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from esfeed.changes import diff
from esfeed.model.event import Event, Op, Owners


def merge(events: Sequence[Event]) -> Event | None:
    """The one event that stands for ``events``, all of one document and in order; ``None`` where nothing is to be told.

    ``before`` is of the first, everything else of the last; ``changed`` is worked out anew. The id is derived from
    theirs, so the same events merged again bear the same one. An event alone stays as it is.
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
    """Whose it was and is, for the documents that are told: else a new owner would see what was another's."""
    if first.owners is None and last.owners is None:
        return None
    then, now = first.owners or Owners(), last.owners or Owners()
    was, were_guests = then.was, then.were_guests
    if first.op in ("created", "read"):
        was, were_guests = then.owner, then.guests
    owner, guests = (was, were_guests) if op == "deleted" else (now.owner, now.guests)
    return Owners(owner, was, guests, were_guests, now.private or then.private)


def _op(events: Sequence[Event]) -> Op | None:
    """From whether the document was there before (``read`` does not say) and is there now."""
    first, last = events[0], events[-1]
    if last.op == "deleted":
        return None if first.op == "created" else "deleted"
    if first.op in ("created", "read"):
        return first.op
    return "updated"


def _raw(document: msgspec.Raw | None) -> bytes | None:
    return None if document is None else bytes(document)
