"""The caller of a request, and what it may see of an event. Pure.

An administrator sees each event whole. A tenant sees what happened to its own documents, in the user's view. An event
that moves a document from one tenant to another is a delete for the first and a create for the second, and neither sees
the other's state of it. If the profile of the watch knows the owner of a document, only that counts (``tenancy``);
otherwise the fields of the documents do.
"""

from __future__ import annotations

from typing import Any

import msgspec

from esfeed.model.event import Event, View
from esfeed.routing.tenancy import ANY, seen_by
from esfeed.routing.transform import TransformFailed

OWNER_FIELDS = ("project_id", "tenant_id", "owner")
"""The fields that name the owner of a document, if no profile knows better; the first one with a value counts."""


class Caller(msgspec.Struct, frozen=True):
    """The caller of a request. ``name`` is for logs and limits; ``tenant`` sees its documents, ``None`` with ``admin``.

    ``expires`` is in epoch seconds, ``None`` for never.
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
    """The tenants of a document: its owner, and the members that an image is shared with.

    Empty if it names none or is unreadable: only an administrator sees such a document.
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
    """The event as that caller may see it, ``None`` if it may not. ``view`` is the view that an administrator requests.

    It defaults to the administrators' view.
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
