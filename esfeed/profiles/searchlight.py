"""The profile for OpenStack Searchlight's indices, where a resource is one document or a pair of them.

Of a pair, ``<id>_ADMIN`` has every field and ``<id>_USER`` lacks those that only an administrator may see.
"""

from __future__ import annotations

import msgspec

from esfeed.event import Change, View

ROLE_FIELD = "__searchlight-user-role"
SUFFIXES: dict[View, str] = {"admin": "_ADMIN", "user": "_USER"}

NEVER_PAIRED = frozenset(
    {
        "OS::Designate::RecordSet",
        "OS::Designate::Zone",
        "OS::Glance::Image",
        "OS::Glance::Metadef",
        "OS::Neutron::FloatingIP",
        "OS::Neutron::SecurityGroup",
        "OS::Nova::Flavor",
        "OS::Nova::Hypervisor",
        "OS::Nova::ServerGroup",
    }
)
"""Types that Searchlight writes as one document. Some take their ids from people, who may end one in ``_USER``."""


class _Roles(msgspec.Struct):
    roles: str | list[str] | None = msgspec.field(name=ROLE_FIELD, default=None)


_decoder = msgspec.json.Decoder(_Roles)


class SearchlightProfile:
    """Satisfies :class:`esfeed.ports.Profile`: tells the two views of a resource apart, under the resource's own id.

    How a view is told, in this order:

    1. The document's own ``__searchlight-user-role``, which is what Searchlight's API filters by. One role
       (``"admin"``, or a list of one) is that role's view; both roles are everybody's, whatever the id looks like: a
       Metadef namespace may really be named ``X_USER``. An id loses its suffix only where the suffix is that of the
       view, so a document that contradicts itself keeps its whole id, and is shown to whom the field names.
    2. No body to read (a delete that was learnt without contents, or ``keep_documents = false``), or a body without
       that field: the type, where it is one that Searchlight never writes in pairs.
    3. Else the suffix. Ids of paired types are UUIDs, which never end in one by themselves.

    ``after`` is asked before ``before``; a delete has only the latter, so it goes to the view that the create went to.
    """

    name = "searchlight"

    def describe(self, change: Change) -> tuple[str, View | None]:
        """The resource's id without the suffix of its view, and the view (``None``: everybody's)."""
        whole = change.key.id
        view = _by_suffix(change)
        roles = _roles(change.after) or _roles(change.before)
        if roles:
            view = None if {"admin", "user"} <= roles else "admin" if "admin" in roles else "user"
        if view is None:
            return whole, None
        return whole.removesuffix(SUFFIXES[view]) or whole, view


def _roles(raw: bytes | None) -> frozenset[str]:
    """The roles that a document names, of those that are known; empty where it names none or cannot be read."""
    if raw is None:
        return frozenset()
    try:
        found = _decoder.decode(raw).roles
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return frozenset()
    return frozenset([found] if isinstance(found, str) else found or ()) & SUFFIXES.keys()


def _by_suffix(change: Change) -> View | None:
    if change.key.type in NEVER_PAIRED:
        return None
    return next((view for view, suffix in SUFFIXES.items() if change.key.id.endswith(suffix)), None)
