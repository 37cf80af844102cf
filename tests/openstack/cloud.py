"""A cloud as Searchlight sees one: notifications of resources, made of Searchlight's own examples, sent for real.

The examples are read from the installed package; each resource gets ids and a project of its own.
"""

from __future__ import annotations

import copy
import json
import secrets
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import oslo_messaging
import urllib3
from oslo_config import cfg

from tests.support.clients import eventually
from tests.support.stack import Stack

EXCHANGES = (("image", "glance"), ("metadef", "glance"), ("dns.", "designate"), ("volume", "openstack"),
             ("snapshot", "openstack"), ("instance", "nova"), ("flavor", "nova"), ("servergroup", "nova"))  # fmt: skip
SERVICE_PROJECT = "a" * 32


class Cloud:
    """Sends what OpenStack's services would, to the RabbitMQ of a stack."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._notifiers: dict[str, Any] = {}
        self._pool = urllib3.PoolManager(retries=False)

    def notify(self, event_type: str, payload: Any) -> float:
        """Sends a notification as the service does, through oslo.messaging. Returns when."""
        exchange = next((name for start, name in EXCHANGES if event_type.startswith(start)), "neutron")
        if exchange not in self._notifiers:
            conf = cfg.ConfigOpts()
            conf([], project="tests")
            oslo_messaging.set_transport_defaults(exchange)
            transport = oslo_messaging.get_notification_transport(conf, url=self.stack.record["rabbitmq"])
            conf.set_override("control_exchange", exchange)
            self._notifiers[exchange] = oslo_messaging.Notifier(
                transport, publisher_id="tests.host", driver="messagingv2", topics=["notifications"]
            )
        self._notifiers[exchange].info({}, event_type, payload)
        return time.time()

    @cached_property
    def _examples(self) -> Path:
        return Path(self.stack.record["examples"])

    def event(self, file: str, key: str) -> Any:
        """The payload of an example of a notification."""
        return copy.deepcopy(json.loads((self._examples / "events" / f"{file}.json").read_text())[key]["payload"])

    def sample(self, file: str) -> Any:
        """Examples of resources as the APIs answer them."""
        return json.loads((self._examples / "load" / f"{file}.json").read_text())

    # --- the index

    @property
    def index(self) -> str:
        """The alias that Searchlight's API searches in."""
        return f"{self.stack.record['group']}-search"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Asks Elasticsearch; a 404 is an answer too."""
        data = None if body is None else json.dumps(body).encode()
        answer = self._pool.request(method, f"{self.stack.record['engine']}{path}", body=data)
        assert answer.status < 400 or answer.status == 404, answer.data
        return json.loads(answer.data)

    def documents(self, kind: str, doc_id: str) -> dict[str, Any]:
        """What searches find of a resource, by the id of the document; refreshed."""
        self.call("POST", f"/{self.index}/_refresh")
        query = {"query": {"terms": {"_id": [doc_id, f"{doc_id}_ADMIN", f"{doc_id}_USER"]}}, "version": True}
        found = self.call("POST", f"/{self.index}/{kind}/_search?size=50", query)["hits"]["hits"]
        return {each["_id"]: each for each in found}

    def handled(self, kind: str, doc_id: str, there: Callable[[dict[str, Any]], bool]) -> float:
        """Waits until the listener has done its work. Returns when that was."""
        eventually(lambda: there(self.documents(kind, doc_id)), seconds=20)
        return time.time()


def now(**more: Any) -> str:
    """A date as services write it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def new_id() -> str:
    """An id as services give them."""
    return str(uuid.uuid4())


def new_project() -> str:
    """A project's id as keystone gives them."""
    return secrets.token_hex(16)


class Resource:
    """One resource of a type: what is sent when it is created, changed and deleted."""

    kind = ""
    name_field = "name"

    def __init__(self, cloud: Cloud, project: str, parent: str = "") -> None:
        self.cloud, self.project, self.parent = cloud, project, parent
        self.id = new_id()
        self.name = "first"

    def create(self) -> float:
        """Sends the news of its creation."""
        return self.cloud.notify(*self.news("create"))

    def rename(self, name: str) -> float:
        """Sends the news of a new name."""
        self.name = name
        return self.cloud.notify(*self.news("update"))

    def delete(self) -> float:
        """Sends the news of its deletion."""
        return self.cloud.notify(*self.news("delete"))

    def news(self, op: str) -> tuple[str, Any]:
        """Event type and payload."""
        raise NotImplementedError


class Image(Resource):
    """Glance."""

    kind = "OS::Glance::Image"

    def news(self, op: str) -> tuple[str, Any]:
        """The same form for all three."""
        payload = self.cloud.event("images", f"image.{op}")
        more = {"id": self.id, "owner": self.project, "name": self.name, "updated_at": f"{now()}.000000"}
        more |= {"is_public": False, "deleted_at": more["updated_at"] if op == "delete" else None}
        return f"image.{op}", payload | more


class Server(Resource):
    """Nova, by versioned notifications."""

    kind = "OS::Nova::Server"

    def news(self, op: str) -> tuple[str, Any]:
        """Each notification has the whole server. https://docs.openstack.org/nova/latest/reference/notifications.html"""
        address = {"address": "192.168.1.3", "device_name": "tap", "mac": "fa:16:3e:4c:2c:30", "version": 4}
        data = {
            "uuid": self.id,
            "display_name": self.name,
            "display_description": "made by a test",
            "tenant_id": self.project,
            "user_id": "someone",
            "state": "active",
            "task_state": None,
            "availability_zone": "nova",
            "host": "compute-7.internal",
            "host_name": "compute-7",
            "created_at": "2026-11-24T10:00:00Z",
            "updated_at": f"{now()}Z",
            "deleted_at": f"{now()}Z" if op == "delete" else None,
            "image_uuid": new_id(),
            "flavor": {"nova_object.data": {"flavorid": "100", "name": "test_flavor"}},
            "ip_addresses": [{"nova_object.name": "IpPayload", "nova_object.data": address}],
            "metadata": {},
        }
        name = "InstanceUpdatePayload" if op == "update" else "InstanceActionPayload"
        version = {"InstanceUpdatePayload": "1.3", "InstanceActionPayload": "1.2"}[name]
        event = {"create": "instance.create.end", "update": "instance.update", "delete": "instance.delete.end"}[op]
        whole = {"nova_object.name": name, "nova_object.version": version, "nova_object.namespace": "nova"}
        return event, whole | {"nova_object.data": data}


class Neutron(Resource):
    """A network's resource; ``parent`` is the network of a subnet or port."""

    noun = "network"

    def news(self, op: str) -> tuple[str, Any]:
        """A deletion has the id alone."""
        event = f"{self.noun}.{op}.end"
        if op == "delete":
            return event, {f"{self.noun}_id": self.id}
        payload = self.cloud.event(f"{self.noun}s", f"{self.noun}.create.end")
        payload[self.noun] |= {"id": self.id, "tenant_id": self.project, "name": self.name, "updated_at": now()}
        if self.parent:
            payload[self.noun]["network_id"] = self.parent
        return event, payload


class Network(Neutron):
    """Neutron."""

    kind = "OS::Neutron::Net"


class Subnet(Neutron):
    """Neutron."""

    kind, noun = "OS::Neutron::Subnet", "subnet"


class Port(Neutron):
    """Neutron."""

    kind, noun = "OS::Neutron::Port", "port"


class Volume(Resource):
    """Cinder, whose API Searchlight asks for the rest."""

    kind = "OS::Cinder::Volume"

    def news(self, op: str) -> tuple[str, Any]:
        """The notification, after the API's answer was laid."""
        each = self.cloud.sample("volumes")[0]
        each = each["_info"] if isinstance(each.get("_info"), dict) else each
        each = {**each, "id": self.id, "name": self.name, "os-vol-tenant-attr:tenant_id": self.project}
        each["updated_at"] = f"{now()}.000000"
        self.cloud.stack.put(f"/volume/v2/{SERVICE_PROJECT}/volumes/{self.id}", {"volume": each})
        payload = self.cloud.event("volumes", f"volume.{op}.end")
        return f"volume.{op}.end", payload | {"volume_id": self.id, "tenant_id": self.project}


class Zone(Resource):
    """Designate."""

    kind = "OS::Designate::Zone"

    def news(self, op: str) -> tuple[str, Any]:
        """Another name is another e-mail address here: zones keep theirs."""
        payload = self.cloud.event("zones", f"dns.zone.{op}")
        more = {"id": self.id, "tenant_id": self.project, "email": f"{self.name}@example.org"}
        more |= {"updated_at": f"{now()}.000000", "deleted_at": f"{now()}.000000" if op == "delete" else None}
        return f"dns.zone.{op}", payload | more

    name_field = "email"


class RecordSet(Resource):
    """Designate; ``parent`` is the zone."""

    kind = "OS::Designate::RecordSet"
    name_field = "description"

    def news(self, op: str) -> tuple[str, Any]:
        """Its records come with it."""
        payload = self.cloud.event("recordsets", f"dns.recordset.{op}")
        more = {"id": self.id, "tenant_id": self.project, "zone_id": self.parent, "description": self.name}
        more |= {"updated_at": f"{now()}.000000", "deleted_at": f"{now()}.000000" if op == "delete" else None}
        return f"dns.recordset.{op}", payload | more


class Flavor(Resource):
    """Nova; a flavor belongs to nobody."""

    kind = "OS::Nova::Flavor"

    def news(self, op: str) -> tuple[str, Any]:
        """A versioned notification."""
        payload = self.cloud.event("flavor", f"flavor.{op}")
        payload["nova_object.data"] |= {"flavorid": self.id, "name": self.name}
        return f"flavor.{op}", payload
