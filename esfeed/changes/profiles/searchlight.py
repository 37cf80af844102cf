"""The profile for the indices of OpenStack Searchlight, where a resource is one document or a pair of documents.

In a pair, ``<id>_ADMIN`` has every field, and ``<id>_USER`` lacks the fields that only an administrator may see.
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
"""Types that Searchlight writes as one document. Users choose some of their ids, which can end in ``_USER``."""


class Kind(NamedTuple):
    """Which fields name the owner of a document of this type. The first one that is present counts.

    ``guests`` is the field with the projects that it is shared with, ``private`` the fields that only the owner may
    see.
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
"""By type, as in the filters of Searchlight's own API (``_get_rbac_field_filters`` of each plugin).

By type, not by the fields that are present: the creator of an image can give it any further field, also ``project_id``.
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
    """Satisfies :class:`esfeed.ports.Profile`: distinguishes the two views of a resource, both under its id.

    The view is decided in this order:

    1. The ``__searchlight-user-role`` of the document, by which Searchlight's API filters. One role (``"admin"``, or a
       list of one) is the view of that role. Both roles mean everybody, whatever the id looks like: a Metadef namespace
       may really have the name ``X_USER``. An id loses its suffix only if it is the suffix of the view. So a document
       that contradicts itself keeps its whole id, and is visible to the roles in the field.
    2. If there is no content (a delete of a document that was learnt without content, or ``keep_documents = false``) or
       no such field in it: the type, if Searchlight never writes it in pairs.
    3. Otherwise the suffix. Ids of paired types are UUIDs, which never end in one by themselves.

    ``after`` is read before ``before``. A delete has only the latter, so it goes to the same view as the create.
    """

    name = "searchlight"

    def describe(self, change: Change) -> tuple[str, View | None]:
        """The id of the resource without the suffix of its view, and the view (``None``: everybody)."""
        whole = change.key.id
        view = _by_suffix(change)
        roles = _roles(change.after) or _roles(change.before)
        if roles:
            view = None if {"admin", "user"} <= roles else "admin" if "admin" in roles else "user"
        if view is None:
            return whole, None
        return whole.removesuffix(SUFFIXES[view]) or whole, view

    def owners(self, change: Change) -> Owners:
        """The project that owns the resource, and those it is shared with by name; see ``KINDS``. Empty: none.

        If the content before an update was not stored, the owner is assumed to be unchanged.
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
    """The fields about roles and owners in a document; none if it is missing or unreadable."""
    if raw is None:
        return _nothing
    try:
        return _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _nothing


def _roles(raw: bytes | None) -> frozenset[str]:
    """The known roles that a document names; empty if it names none or is unreadable."""
    return frozenset(_texts(_read(raw).roles)) & SUFFIXES.keys()


def _owner(body: _Body, kind: Kind) -> str:
    found = (getattr(body, field) for field in kind.owner)
    return next((each for each in found if isinstance(each, str) and each), "")


def _guests(body: _Body, kind: Kind) -> tuple[str, ...]:
    # Neutron shares with everybody by a star, which names no project.
    return tuple(each for each in _texts(getattr(body, kind.guests, None)) if each not in ("", "*"))


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str)]


def _by_suffix(change: Change) -> View | None:
    if change.key.type in NEVER_PAIRED:
        return None
    return next((view for view, suffix in SUFFIXES.items() if change.key.id.endswith(suffix)), None)
