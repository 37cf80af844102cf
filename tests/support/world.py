"""A seeded, hostile world of documents on a real engine, and the oracle that compares a feed's events with it.

The oracle knows nothing of esfeed but its events: it replays them and reads the index by requests of its own.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import urllib3

ODD_IDS = ("a/b", "a b", "50%", "a+b", "é😀", "x" * 512, 'quo"te', "back\\slash", "?q=1&r", "#frag", "..", "ünï")
_DAY = 86_400_000

Identity = tuple[str, str, str | None]
"""What makes a document one document: (type, id, routing)."""


@dataclass(frozen=True)
class Target:
    """An index on an engine. ``typed``: it wants types (up to 6.x); ``old``: it has no keyword fields (2.x)."""

    url: str
    index: str
    typed: bool
    old: bool = False
    external: bool = False
    types: tuple[str, ...] = ("doc",)


class Raw:
    """Requests without esfeed: JSON in, (status, JSON) out."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = urllib3.PoolManager(maxsize=8, retries=False, timeout=urllib3.Timeout(total=60))

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        kind = "application/x-ndjson" if path.endswith("_bulk") else "application/json"
        answer = self._pool.request(method, self._url + path, body=data, headers={"content-type": kind})
        text = answer.data.decode()
        return answer.status, json.loads(text) if text else {}


@dataclass
class World:
    """Writes seeded operations. The same seed gives the same operations (their order between threads aside)."""

    target: Target
    seed: int
    documents: int = 120
    written: int = 0
    _ids: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.raw = Raw(self.target.url)
        self._ids = [*ODD_IDS, *(f"doc-{number}" for number in range(self.documents))]
        # 2.x takes no number beyond 64 bits, wherever it stands.
        self._huge = 2**62 if self.target.old else 2**70
        self._versions: dict[Identity, int] = {}
        self._lock = threading.Lock()

    def make_index(self, shards: int = 2, replicas: int = 0) -> None:
        """Creates the index: dates that cannot be read are kept, a nested field, and no other rule."""
        properties = {
            "updated_at": {"type": "date", "ignore_malformed": True},
            "name": {"type": "string" if self.target.old else "keyword"},
            "extra": {"type": "object", "enabled": False},
            "addresses": {"type": "nested", "properties": {"port": {"type": "integer"}}},
        }
        mapping: dict[str, Any] = {"properties": properties}
        mappings = dict.fromkeys(self.target.types, mapping) if self.target.typed else mapping
        settings = {"number_of_shards": shards, "number_of_replicas": replicas}
        status, answer = self.raw("PUT", f"/{self.target.index}", {"settings": settings, "mappings": mappings})
        assert status == 200, answer

    def refresh(self) -> None:
        """Makes all operations visible."""
        assert self.raw("POST", f"/{self.target.index}/_refresh")[0] == 200

    def write(self, operations: int, rng: random.Random, ids: Iterable[str] | None = None) -> None:
        """Some bulk requests with that many operations in all."""
        pool = list(ids) if ids is not None else self._ids
        left = operations
        while left > 0:
            size = min(left, rng.choice((1, 1, 2, 7, 40)))
            self._bulk([self._operation(rng, pool) for _ in range(size)])
            left -= size

    def write_concurrently(self, operations: int, writers: int = 3) -> list[threading.Thread]:
        """Starts ``writers`` threads, each with ids of its own and its own seed; join them to wait."""
        threads = []
        for number in range(writers):
            rng = random.Random(f"{self.seed}/{number}/{self.written}")
            ids = self._ids[number::writers]
            threads.append(threading.Thread(target=self.write, args=(operations // writers, rng, ids)))
            threads[-1].start()
        return threads

    def _bulk(self, operations: list[tuple[dict[str, Any], dict[str, Any] | None]]) -> None:
        lines = []
        for action, source in operations:
            lines.append(json.dumps(action))
            if source is not None:
                lines.append(json.dumps(source))
        status, answer = self.raw("POST", "/_bulk", ("\n".join(lines) + "\n").encode())
        assert status == 200, answer
        for item in answer["items"]:
            (verdict,) = item.values()
            # A delete of what is not there and an external version that is not newer are part of the world.
            assert verdict["status"] in (200, 201, 404, 409), verdict
        self.written += len(operations)

    def _operation(self, rng: random.Random, ids: list[str]) -> tuple[dict[str, Any], dict[str, Any] | None]:
        doc_id = rng.choice(ids)
        routing = rng.choice((None, None, None, "r1", "r2"))
        kind = rng.choice(self.target.types)
        where: dict[str, Any] = {"_index": self.target.index, "_id": doc_id}
        if self.target.typed:
            where["_type"] = kind
        if routing is not None:
            where["_routing" if self.target.typed else "routing"] = routing
        if self.target.external:
            where |= self._external((kind, doc_id, routing), rng)
        if rng.random() < 0.25:
            return {"delete": where}, None
        return {"index": where}, self._source(rng)

    def _external(self, identity: Identity, rng: random.Random) -> dict[str, Any]:
        with self._lock:
            version = self._versions.get(identity, 10**17) + rng.choice((1, 1, 1000, -5))
            self._versions[identity] = max(version, self._versions.get(identity, 0))
        key = "_version" if self.target.typed else "version"
        return {key: version, f"{key}_type": "external"}

    def _source(self, rng: random.Random) -> dict[str, Any]:
        now = int(time.time() * 1000)
        source: dict[str, Any] = {"name": f"n{rng.randrange(50)}"}
        source["extra"] = {"odd": rng.choice((1, 2**53 + 1, self._huge, 0.5, 1.0, True, None, [], {"a": {}}))}
        stamp: object = rng.choice(
            (
                now,
                now,
                now,
                now - 3_600_000,
                now - 40 * _DAY,
                1_700_000_000_000,
                4_070_908_800_000,
                None,
                "no date",
                "absent",
            )
        )
        if stamp != "absent":
            source["updated_at"] = stamp
        if rng.random() < 0.2:
            source["addresses"] = [{"port": rng.randrange(100)} for _ in range(rng.randrange(4))]
        if rng.random() < 0.02:
            source["big"] = "é" * rng.choice((10_000, 200_000))
        return source

    def truth(self) -> dict[Identity, Any]:
        """What the index holds, by a scroll of its own; call ``refresh`` first."""
        return truth(self.raw, self.target.index)

    def drop(self) -> None:
        """Deletes the index."""
        self.raw("DELETE", f"/{self.target.index}")


def truth(raw: Raw, name: str) -> dict[Identity, Any]:
    """Every document behind ``name``."""
    found: dict[Identity, Any] = {}
    status, page = raw("POST", f"/{name}/_search?scroll=1m", {"size": 500, "sort": ["_doc"]})
    while True:
        assert status == 200, page
        assert page["_shards"]["successful"] == page["_shards"]["total"], page["_shards"]
        for hit in page["hits"]["hits"]:
            found[hit.get("_type", "_doc"), hit["_id"], hit.get("_routing")] = hit["_source"]
        if not page["hits"]["hits"]:
            return found
        status, page = raw("POST", "/_search/scroll", {"scroll": "1m", "scroll_id": page["_scroll_id"]})


class Replay:
    """Events applied in order, strictly: what is created must not be there, what is updated or deleted must."""

    def __init__(self) -> None:
        self.documents: dict[Identity, Any] = {}
        self.ids: dict[str, int] = {}
        self.faults: list[str] = []
        self.count = 0

    def apply(self, events: Iterable[Mapping[str, Any]]) -> None:
        """``events`` are CloudEvents, parsed. One that was applied before (same id) is passed over, as consumers do."""
        for event in events:
            data = event["data"]
            identity = data["type"], data["id"], data["origin"]["routing"]
            if event["id"] in self.ids:
                if self.ids[event["id"]] != data["position"]:
                    self.faults.append(f"two events share the id {event['id']}: {identity}")
                continue
            self.ids[event["id"]] = data["position"]
            self.count += 1
            self._apply(identity, data)

    def _apply(self, identity: Identity, data: Mapping[str, Any]) -> None:
        there = identity in self.documents
        if data["op"] == "deleted":
            if not there:
                self.faults.append(f"deleted, but it was not there: {identity}")
            self.documents.pop(identity, None)
            return
        if there != (data["op"] == "updated"):
            self.faults.append(f"{data['op']}, but it was{'' if there else ' not'} there: {identity}")
        if data["op"] == "updated" and data["before"] is not None and data["before"] != self.documents.get(identity):
            self.faults.append(f"updated from a state that no event told: {identity}")
        self.documents[identity] = data["after"]

    def differences(self, documents: Mapping[Identity, Any]) -> list[str]:
        """How the replayed state differs from ``documents``, and every fault so far; empty where all is well."""
        lost = [f"lost: {key}" for key in documents.keys() - self.documents.keys()]
        phantom = [f"phantom: {key}" for key in self.documents.keys() - documents.keys()]
        stale = [
            f"stale: {key}"
            for key, source in documents.items()
            if key in self.documents and self.documents[key] != source
        ]
        return [*self.faults, *lost, *phantom, *stale]
