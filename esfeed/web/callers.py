"""Who asks, and what of an event they may see. Pure.

An administrator sees each event whole. A tenant sees what happened to its own documents, in the user's view: an event
that moves a document from one tenant to another is its end to the one and its beginning to the other, and neither
sees the other's state of it. Where the watch's profile knows whose a document is, that alone counts (``tenancy``); else
the documents' own fields do.
"""

from __future__ import annotations

from typing import Any

import msgspec

from esfeed.model.event import Event, View
from esfeed.routing.tenancy import ANY, seen_by
from esfeed.routing.transform import TransformFailed

OWNER_FIELDS = ("project_id", "tenant_id", "owner")
"""Where documents say whose they are, if no profile knows better; the first that is there counts."""


class Caller(msgspec.Struct, frozen=True):
    """Who asks. ``name`` is for logs and for counting; ``tenant`` is whose documents are seen, ``None`` with ``admin``.

    ``expires`` is epoch seconds, ``None`` for never.
    """

    name: str
    tenant: str | None = None
    admin: bool = False
    expires: float | None = None


class _Owned(msgspec.Struct):
    project_id: Any = None
    tenant_id: Any = None
    owner: Any = None
    members: Any = None


_decoder = msgspec.json.Decoder(_Owned)


def owners(document: msgspec.Raw | bytes | None) -> frozenset[str]:
    """The tenants that a document is of: its owner, and the members that an image is shared with.

    Empty where it names none, or cannot be read: such a document is an administrator's only.
    """
    if document is None:
        return frozenset()
    try:
        found = _decoder.decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return frozenset()
    owner = next((one for one in (found.project_id, found.tenant_id, found.owner) if one), None)
    members = found.members if isinstance(found.members, list) else []
    return frozenset(one for one in (owner, *members) if isinstance(one, str) and one)


def seen(event: Event, caller: Caller, view: View | None = None) -> Event | None:
    """The event as that caller may see it, ``None`` where it may not. ``view`` is the one that an administrator wants.

    Without ``view`` an administrator sees the admin's.
    """
    if caller.admin:
        return event if event.view in (None, view or "admin") else None
    if caller.tenant in (None, ANY) or event.view not in (None, "user"):
        return None
    if event.owners is not None:
        try:
            return seen_by(event, caller.tenant)
        except TransformFailed:
            return None
    was = caller.tenant in owners(event.before)
    now = caller.tenant in owners(event.after)
    if event.op == "deleted":
        return event if was else None
    if event.op != "updated" or event.before is None or was == now:
        return event if now else None
    if now:
        return msgspec.structs.replace(event, op="created", before=None, changed=None)
    return msgspec.structs.replace(event, op="deleted", after=None, changed=None)
