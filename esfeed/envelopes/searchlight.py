"""``format = "searchlight"``: the terms of OpenStack notifications and of Searchlight, for consumers that use those.

``event_type`` is that of the notification that the service sends for such a change, so consumers of notifications find
what they know. A first snapshot or a backfill is ``….exists``, the name that services give their audits.
"""

from __future__ import annotations

import msgspec

from esfeed.model.event import Event

_BY_TYPE = {
    "OS::Nova::Server": ("compute.instance", ".end"),
    "OS::Nova::Flavor": ("flavor", ""),
    "OS::Nova::ServerGroup": ("servergroup", ""),
    "OS::Glance::Image": ("image", ""),
    "OS::Glance::Metadef": ("metadef_namespace", ""),
    "OS::Cinder::Volume": ("volume", ".end"),
    "OS::Cinder::Snapshot": ("snapshot", ".end"),
    "OS::Neutron::Net": ("network", ".end"),
    "OS::Neutron::Subnet": ("subnet", ".end"),
    "OS::Neutron::Port": ("port", ".end"),
    "OS::Neutron::Router": ("router", ".end"),
    "OS::Neutron::FloatingIP": ("floatingip", ".end"),
    "OS::Neutron::SecurityGroup": ("security_group", ".end"),
    "OS::Designate::Zone": ("dns.zone", ""),
    "OS::Designate::RecordSet": ("dns.recordset", ""),
}
_VERBS = {"created": "create", "updated": "update", "deleted": "delete", "read": "exists"}
_WITHOUT_END = {"compute.instance.update"}


class _Notification(msgspec.Struct, frozen=True):
    event_type: str
    resource_type: str
    doc_id: str
    doc: msgspec.Raw | None
    before: msgspec.Raw | None
    changed: tuple[str, ...] | None
    op: str
    id: str
    timestamp: str
    version: str
    seq_no: str | None
    position: str
    parent: str | None
    routing: str | None
    updated_at: str | None
    index: str


_json = msgspec.json.Encoder()


def searchlight(event: Event) -> bytes:
    """The event as JSON: ``doc`` is the document now (``null`` in a delete), ``before`` its previous content, if known.

    Integers that can exceed 2**53 (``version``, ``seq_no``, ``position``) are texts, which JavaScript reads without
    losing digits. ``doc`` is as the index has it.
    https://docs.openstack.org/nova/latest/reference/notifications.html
    """
    origin = event.origin
    notification = _Notification(
        event_type(event),
        event.type,
        event.doc_id,
        event.after,
        event.before,
        event.changed,
        event.op,
        event.id,
        event.time,
        str(origin.version),
        None if origin.seq_no is None else str(origin.seq_no),
        str(event.position),
        origin.parent,
        origin.routing,
        origin.updated_at,
        origin.index,
    )
    return _json.encode(notification)


def event_type(event: Event) -> str:
    """The type of the notification for such a change; ``TYPE.create`` and so on if there is none."""
    verb = _VERBS[event.op]
    name, end = _BY_TYPE.get(event.type, (event.type, ""))
    plain = f"{name}.{verb}"
    return plain if verb == "exists" or plain in _WITHOUT_END else plain + end
