"""The profile for OpenStack Searchlight's indices, where a resource is one document or a pair of them.

Of a pair, ``<id>_ADMIN`` has every field and ``<id>_USER`` lacks those that only an administrator may see.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from esfeed.model.event import Change, Owners, View

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


class Kind(NamedTuple):
    """Where a type's documents say whose they are: fields of the owner, of which the first that is there counts.

    ``guests`` is the field that lists the projects that it is shared with, ``private`` what only the owner may see.
    """

    owner: tuple[str, ...] = ()
    guests: str = ""
    private: tuple[str, ...] = ()


_OF_TENANT = Kind(("tenant_id",))
_OF_PROJECT = Kind(("project_id",))
KINDS: dict[str, Kind] = {
    "OS::Cinder::Snapshot": _OF_PROJECT,
    "OS::Cinder::Volume": _OF_PROJECT,
    "OS::Designate::RecordSet": _OF_PROJECT,
    "OS::Designate::Zone": _OF_PROJECT,
    "OS::Glance::Image": Kind(("owner",), "members", ("members",)),
    "OS::Glance::Metadef": Kind(("owner",)),
    "OS::Ironic::Chassis": Kind(),
    "OS::Ironic::Node": Kind(),
    "OS::Ironic::Port": Kind(),
    "OS::Neutron::FloatingIP": _OF_TENANT,
    "OS::Neutron::Net": Kind(("tenant_id",), "members", ("members", "rbac_policy")),
    "OS::Neutron::Port": _OF_TENANT,
    "OS::Neutron::Router": _OF_TENANT,
    "OS::Neutron::SecurityGroup": _OF_TENANT,
    "OS::Neutron::Subnet": _OF_TENANT,
    "OS::Nova::Flavor": Kind((), "tenant_access", ("tenant_access",)),
    "OS::Nova::Hypervisor": Kind(),
    "OS::Nova::Server": _OF_TENANT,
    "OS::Nova::ServerGroup": _OF_PROJECT,
}
"""By type, as the filters of Searchlight's own API have it (``_get_rbac_field_filters`` of each plugin).

By type, and not by whichever field is there: whoever makes an image may give it any further field, ``project_id`` too.
"""

_OTHER = Kind(("project_id", "tenant_id", "owner"))


class _Body(msgspec.Struct):
    roles: Any = msgspec.field(name=ROLE_FIELD, default=None)
    project_id: Any = None
    tenant_id: Any = None
    owner: Any = None
    members: Any = None
    tenant_access: Any = None


_decoder = msgspec.json.Decoder(_Body)
_nothing = _Body()


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

    def owners(self, change: Change) -> Owners:
        """The project that has the resource, and those that it is shared with by name; see ``KINDS``. Empty: nobody.

        Where nobody kept what the document was before an update, it is taken to have been the same one's.
        """
        kind = KINDS.get(change.key.type, _OTHER)
        after = _read(change.after)
        before = after if change.before is None else _read(change.before)
        if change.op == "deleted":
            after = before
        owner, was = _owner(after, kind), _owner(before, kind)
        guests, were = _guests(after, kind), _guests(before, kind)
        return Owners(owner, was, guests, were, kind.private)


def _read(raw: bytes | None) -> _Body:
    """What a document says of itself; nothing where it cannot be read."""
    if raw is None:
        return _nothing
    try:
        return _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _nothing


def _roles(raw: bytes | None) -> frozenset[str]:
    """The roles that a document names, of those that are known; empty where it names none or cannot be read."""
    return frozenset(_texts(_read(raw).roles)) & SUFFIXES.keys()


def _owner(body: _Body, kind: Kind) -> str:
    found = (getattr(body, field) for field in kind.owner)
    return next((each for each in found if isinstance(each, str) and each), "")


def _guests(body: _Body, kind: Kind) -> tuple[str, ...]:
    # Neutron shares with everybody by a star; that is nobody by name.
    return tuple(each for each in _texts(getattr(body, kind.guests, None)) if each not in ("", "*"))


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str)]


def _by_suffix(change: Change) -> View | None:
    if change.key.type in NEVER_PAIRED:
        return None
    return next((view for view, suffix in SUFFIXES.items() if change.key.id.endswith(suffix)), None)
