"""Limits an event to what one project may know: nothing about resources of others, and no news about hidden fields. No
I/O.

The op of the event is decided from the view of the project. A resource that is handed over is deleted for the old
project and created for the new one, and neither sees what it was or became with the other.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from esfeed.model.event import Event, Op, Owners
from esfeed.routing.patterns import Patterns
from esfeed.routing.transform import Transform

ANY = "*"
"""Stands for the project that owns the resource."""


def seen_by(event: Event, tenant: str, timestamp_field: str = "") -> Event | None:
    """The event as the project ``tenant`` may see it; ``None`` if it may not know about it.

    The project may see resources that it owns, and resources that are shared with it by name, the latter without their
    private fields. Resources for everybody (a public image, a flavor) belong to nobody. In the returned event,
    ``owner`` is that project, so a template with ``{owner}`` never names another one. ``timestamp_field`` as in
    :meth:`esfeed.routing.transform.Transform.apply`. Raises :class:`esfeed.routing.transform.TransformFailed` if
    private fields cannot be removed from a document.
    """
    owners = event.owners
    if owners is None or event.view == "admin":
        return None
    if tenant == ANY:
        tenant = owners.owner or owners.was
    if not tenant:
        return None
    before = event.op in ("updated", "deleted") and tenant in (owners.was, *owners.were_guests)
    after = event.op != "deleted" and tenant in (owners.owner, *owners.guests)
    if not (before or after):
        return None
    op: Op = event.op
    if event.op == "updated" and not (before and after):
        op = "created" if after else "deleted"
    seen = msgspec.structs.replace(
        event,
        op=op,
        before=event.before if before else None,
        after=event.after if after else None,
        changed=event.changed if before and after else None,
        owners=Owners(tenant),
    )
    guest = (before and tenant != owners.was) or (after and tenant != owners.owner)
    return _without(owners.private).apply(seen, timestamp_field) if guest and owners.private else seen


@lru_cache(maxsize=64)
def _without(private: tuple[str, ...]) -> Transform:
    return Transform(Patterns([f"-{name}" for name in private]))
