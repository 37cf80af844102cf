"""What one project may learn of an event: nothing of what is another's, and no news of what it may not see. Pure.

Whether something was created, updated or deleted is decided from where the project stands: a resource that is handed
over is deleted for the one and created for the other, and neither sees what it was or became with the other.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from esfeed.model.event import Event, Op, Owners
from esfeed.routing.patterns import Patterns
from esfeed.routing.transform import Transform

ANY = "*"
"""In place of a project: whichever has the resource."""


def seen_by(event: Event, tenant: str, timestamp_field: str = "") -> Event | None:
    """The event as the project ``tenant`` may see it, ``None`` where it may not know of it.

    The project may see a resource that it owns, and one that is shared with it by name, the latter without its private
    fields. Nothing that is for all (a public image, a flavor) counts as anybody's. In the event that comes back,
    ``owner`` is that project, so that a template with ``{owner}`` never names another. ``timestamp_field`` as in
    :meth:`esfeed.routing.transform.Transform.apply`. Raises :class:`esfeed.routing.transform.TransformFailed` for a
    document that private fields cannot be taken from.
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
