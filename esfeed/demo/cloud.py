"""A cloud as Searchlight's listener would index it: each resource is one document or a pair of views.

The documents are written as Searchlight writes them: full documents, external versions of 18 digits, roles, versions on
certain deletes. The cloud never refreshes: a write is visible when the engine shows it.
"""

from __future__ import annotations

import random
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from esfeed.changes.profiles.searchlight import NEVER_PAIRED, ROLE_FIELD
from esfeed.demo.demo_index import TYPE_FIELD, DemoIndex, EngineClient
from esfeed.demo.ledger import Ledger
from esfeed.model.times import moment

FLAVOR, IMAGE, SERVER = "OS::Nova::Flavor", "OS::Glance::Image", "OS::Nova::Server"
NETWORK, GROUP, ZONE = "OS::Neutron::Net", "OS::Neutron::SecurityGroup", "OS::Designate::Zone"
ADMIN_ONLY = ("OS-EXT-SRV-ATTR:host", "provider:network_type")
PROJECT = "75c31cdaa3604b16b7e279de50aec9f0"

Fields = dict[str, Any]


class Cloud:
    """Writes resources and remembers them by name. For one thread."""

    def __init__(self, demo_index: DemoIndex, client: EngineClient, ledger: Ledger) -> None:
        self._place = demo_index
        self._client = client
        self._ledger = ledger
        self._resources: dict[str, tuple[str, Fields]] = {}
        self._versions: dict[str, int] = {}
        # The same ids each time, so that the output matches what is written about it.
        self._random = random.Random(2016)

    def create(self, kind: str, name: str, ago: timedelta = timedelta(0), /, **fields: Any) -> None:
        """Creates a resource; ``ago`` backdates it."""
        stamp = _stamp(ago)
        made = {"id": self._new_id(), "name": name, "project_id": PROJECT, **fields}
        self._write(kind, name, {**made, "created_at": stamp, "updated_at": stamp})

    def change(self, name: str, /, *, renew: bool = True, **fields: Any) -> None:
        """Changes ``fields``; if ``renew`` is false, ``updated_at`` stays, and the version grows by one."""
        kind, old = self._resources[name]
        new = {**old, **fields}
        if renew:
            new["updated_at"] = _stamp()
        self._resources.pop(name)
        self._write(kind, str(new["name"]), new, old)

    def delete(self, name: str) -> None:
        """Deletes the resource, both of its views if it has two."""
        kind, old = self._resources.pop(name)
        ids = [doc_id for doc_id, _ in self._documents(kind, old)]
        version = max(_version(_stamp()), *(self._versions[doc_id] + 1 for doc_id in ids))
        for doc_id in ids:
            self._ledger.expect(doc_id, None)
        self._client.bulk([{"delete": self._target(kind, doc_id, version)} for doc_id in ids])
        for doc_id in ids:
            self._ledger.acknowledged(doc_id, None)

    def _write(self, kind: str, name: str, new: Fields, old: Fields | None = None) -> None:
        self._resources[name] = kind, new
        before = dict(self._documents(kind, old)) if old else {}
        lines: list[Fields] = []
        written: list[tuple[str, int]] = []
        for doc_id, body in self._documents(kind, new):
            version = _version(new["updated_at"])
            if old and old["updated_at"] == new["updated_at"]:
                version = self._versions[doc_id] + 1
            self._versions[doc_id] = version
            if before.get(doc_id) != body:
                self._ledger.expect(doc_id, version)
            lines += [{"index": self._target(kind, doc_id, version)}, body]
            written.append((doc_id, version))
        self._client.bulk(lines)
        for doc_id, version in written:
            self._ledger.acknowledged(doc_id, version)

    def _documents(self, kind: str, fields: Fields) -> list[tuple[str, Fields]]:
        """The documents of a resource, by id."""
        if self._place.type_of(kind) != kind:
            fields = {TYPE_FIELD: kind, **fields}
        if kind in NEVER_PAIRED:
            return [(fields["id"], {**fields, ROLE_FIELD: ["user", "admin"]})]
        public = {name: value for name, value in fields.items() if name not in ADMIN_ONLY}
        return [
            (f"{fields['id']}_ADMIN", {**fields, ROLE_FIELD: "admin"}),
            (f"{fields['id']}_USER", {**public, ROLE_FIELD: "user"}),
        ]

    def _target(self, kind: str, doc_id: str, version: int) -> Fields:
        target = {"_index": self._place.index, "_id": doc_id, "version": version, "version_type": "external"}
        engine_type = self._place.type_of(kind)
        return target if engine_type is None else {**target, "_type": engine_type}

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))


def _stamp(ago: timedelta = timedelta(0)) -> str:
    """Whole seconds, as the services of OpenStack write them."""
    return (datetime.now(UTC) - ago).strftime("%Y-%m-%dT%H:%M:%SZ")


def _version(stamp: str) -> int:
    """Nine digits of the seconds of ``updated_at``, then nine of the milliseconds of the notification."""
    seconds = int(moment(stamp).timestamp())
    return int(f"{seconds % 10**9:09d}{time.time_ns() // 10**6 % 10**9:09d}")
