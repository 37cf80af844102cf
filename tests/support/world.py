"""A seeded, hostile world of documents on a real engine, and the oracle that compares a feed's events with it.

The oracle knows nothing of esfeed but its events: it replays them and reads the index by requests of its own.
"""

from __future__ import annotations

import json
import random
import re
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from tests.support.clients import Raw, Refused
from tests.support.engines import Engine

ODD_IDS = ("a/b", "a b", "50%", "a+b", "é😀", "x" * 512, 'quo"te', "back\\slash", "?q=1&r", "#frag", "..", "ünï")
_DAY = 86_400_000
_DECIMALS = (
    "12345678901234567.89",
    "12345678901234567.12",
    "9007199254740993.0",
    "9007199254740992.0",
    "-0.0",
    "0.0",
    "1e-400",
    "1e400",
    "1e401",
)
"""Numbers that a double does not tell apart, or does not hold."""

Identity = tuple[str, str, str | None]
"""What makes a document one document: (type, id, routing)."""


def dumps(source: Mapping[str, Any]) -> str:
    """JSON text; what is written ``number 1e400`` in it is that number."""
    return re.sub(r'"number ([^"]+)"', r"\1", json.dumps(source))


class World:
    """Writes seeded operations to an index. The same seed gives the same operations (their order in threads aside).

    ``external``: versions are given from outside, as Searchlight's are; else the engine counts them. ``rolling``: what
    is watched is an alias, and each ``roll`` adds an index; each has documents of its own.
    """

    def __init__(
        self, engine: Engine, seed: int, *, external: bool = False, documents: int = 120, rolling: bool = False
    ) -> None:
        self.raw = Raw(engine, numbers=Decimal)
        self.index = f"world-{secrets.token_hex(5)}"
        self.seed = seed
        self.written = 0
        self._old = self.raw.typed and engine.major < 5
        self._types = ("server", "image") if self.raw.typed and engine.major < 6 else ("doc",)
        self.kind = self._types[0]
        self._external = external
        # 2.x takes no number beyond 64 bits, wherever it stands.
        self._huge = 2**62 if self._old else 2**70
        self._ids = [*ODD_IDS, *(f"doc-{number}" for number in range(documents))]
        self._rolling = rolling
        self._indices: list[str] = []
        self._kept: list[str] = []
        self._how: dict[str, Any] = {}
        self._versions: dict[Identity, int] = {}
        self._lock = threading.Lock()

    def make_index(self, shards: int = 2, replicas: int = 0) -> None:
        """Creates the index: dates that cannot be read are kept, a nested field, and no other rule."""
        properties = {
            "updated_at": {"type": "date", "ignore_malformed": True},
            "name": {"type": "string" if self._old else "keyword"},
            "extra": {"type": "object", "enabled": False},
            "addresses": {"type": "nested", "properties": {"port": {"type": "integer"}}},
        }
        mapping: dict[str, Any] = {"properties": properties}
        settings = {"number_of_shards": shards, "number_of_replicas": replicas}
        mappings = dict.fromkeys(self._types, mapping) if self.raw.typed else mapping
        self._how = {"settings": settings, "mappings": mappings}
        if self._rolling:
            self.roll()
        else:
            self._indices = [self.index]
            self.raw.create(self.index, **self._how)

    def roll(self) -> None:
        """One more index behind the alias, to which most is written from now on."""
        name = f"{self.index}-{len(self._indices) + 1:06}"
        self.raw.create(name, **self._how)
        self.raw.alias(name, self.index)
        self._indices.append(name)

    def snapshot(self) -> None:
        """Keeps all that there is, in the place of what was kept before."""
        where = f"/_snapshot/{self.index}"
        if self._kept:
            self.raw.call("DELETE", f"{where}/one")
        else:
            self.raw.call("PUT", where, {"type": "fs", "settings": {"location": self.index}})
        self._kept = [*self._indices]
        about = {"indices": f"{self.index}*", "include_global_state": False}
        self.raw.call("PUT", f"{where}/one", about, wait_for_completion="true")

    def restore(self, rng: random.Random) -> None:
        """Puts one index back to what was kept of it. Nobody may write meanwhile."""
        name = rng.choice(self._kept)
        self.raw.call("POST", f"/{name}/_close")
        about = {"indices": name, "include_global_state": False, "include_aliases": False}
        self.raw.call("POST", f"/_snapshot/{self.index}/one/_restore", about, wait_for_completion="true")
        if self._rolling:
            self.raw.alias(name, self.index)
        self.raw.call("GET", f"/_cluster/health/{name}", wait_for_status="yellow", timeout="30s")

    def refresh(self) -> None:
        """Makes all operations visible."""
        self._call("POST", f"/{self.index}/_refresh")

    def write(self, operations: int, rng: random.Random, ids: Iterable[str] | None = None, rest: float = 0.0) -> None:
        """Some bulk requests with that many operations in all, and ``rest`` seconds between two, on average."""
        pool = list(ids) if ids is not None else self._ids
        left = operations
        while left > 0:
            size = min(left, rng.choice((1, 1, 2, 7, 40)))
            self._bulk([self._operation(rng, pool) for _ in range(size)])
            left -= size
            if rest:
                time.sleep(rng.uniform(0, 2 * rest))

    def write_concurrently(self, operations: int, writers: int = 3, rest: float = 0.0) -> list[threading.Thread]:
        """Starts ``writers`` threads, each with ids of its own and its own seed; join them to wait."""
        threads = []
        for number in range(writers):
            rng = random.Random(f"{self.seed}/{number}/{self.written}")
            ids = self._ids[number::writers]
            threads.append(threading.Thread(target=self.write, args=(-(-operations // writers), rng, ids, rest)))
            threads[-1].start()
        return threads

    def _bulk(self, operations: list[tuple[dict[str, Any], dict[str, Any] | None]]) -> None:
        lines = []
        for action, source in operations:
            lines.append(json.dumps(action))
            if source is not None:
                lines.append(dumps(source))
        answer = self._send(("\n".join(lines) + "\n").encode())
        for item in answer["items"]:
            (verdict,) = item.values()
            # A delete of what is not there and an external version that is not newer are part of the world.
            assert verdict["status"] in (200, 201, 404, 409), verdict
        with self._lock:
            self.written += len(operations)

    def _send(self, body: bytes) -> Any:
        return self._call("POST", "/_bulk", body)

    def _call(self, method: str, path: str, body: bytes | None = None) -> Any:
        """One request; a small heap may want a moment first."""
        while True:
            try:
                return self.raw.call(method, path, body)
            except Refused as error:
                if error.status != 429:
                    raise
                time.sleep(0.5)

    def _operation(self, rng: random.Random, ids: list[str]) -> tuple[dict[str, Any], dict[str, Any] | None]:
        doc_id, index = rng.choice(ids), self._indices[-1]
        if self._rolling:
            index = rng.choice((index, index, rng.choice(self._indices)))
            doc_id = f"{doc_id}-{index[-6:]}"[-512:]
        routing = rng.choice((None, None, None, "r1", "r2"))
        kind = rng.choice(self._types)
        where: dict[str, Any] = {"_index": index, "_id": doc_id}
        if self.raw.typed:
            where["_type"] = kind
        if routing is not None:
            where["_routing" if self.raw.typed else "routing"] = routing
        if self._external:
            where |= self._next_version((kind, doc_id, routing), rng)
        if rng.random() < 0.25:
            return {"delete": where}, None
        return {"index": where}, self._source(rng)

    def _next_version(self, identity: Identity, rng: random.Random) -> dict[str, Any]:
        with self._lock:
            version = self._versions.get(identity, 10**17) + rng.choice((1, 1, 1000, -5))
            self._versions[identity] = max(version, self._versions.get(identity, 0))
        key = "_version" if self.raw.typed else "version"
        return {key: version, f"{key}_type": "external"}

    def _source(self, rng: random.Random) -> dict[str, Any]:
        now = int(time.time() * 1000)
        source: dict[str, Any] = {"name": f"n{rng.randrange(50)}"}
        odd: Any = rng.choice(
            (1, 2**53 + 1, self._huge, 0.5, 1.0, True, None, [], {"a": {}}, *(f"number {text}" for text in _DECIMALS))
        )
        source["extra"] = {"odd": odd}
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
        if rng.random() < 0.01:
            source["big"] = "é" * rng.choice((5_000, 5_000, 5_000, 200_000))
        return source

    def truth(self) -> dict[Identity, Any]:
        """What the index holds, by a scroll of its own; call ``refresh`` first."""
        return truth(self.raw, self.index)

    def drop(self) -> None:
        """Deletes the index, or all behind the alias, and what was kept."""
        self.raw.drop(self.index)
        if self._kept:
            self.raw.call("DELETE", f"/_snapshot/{self.index}/one")
            self.raw.call("DELETE", f"/_snapshot/{self.index}")


def truth(raw: Raw, name: str) -> dict[Identity, Any]:
    """Every document behind ``name``."""
    found: dict[Identity, Any] = {}
    page = raw.call("POST", f"/{name}/_search", {"size": 500, "sort": ["_doc"]}, scroll="1m")
    while page["hits"]["hits"]:
        assert page["_shards"]["successful"] == page["_shards"]["total"], page["_shards"]
        for hit in page["hits"]["hits"]:
            found[hit.get("_type", "_doc"), hit["_id"], hit.get("_routing")] = hit["_source"]
        page = raw.call("POST", "/_search/scroll", {"scroll": "1m", "scroll_id": page["_scroll_id"]})
    raw.call("DELETE", "/_search/scroll", {"scroll_id": [page["_scroll_id"]]})
    return found


class Replay:
    """Events applied in order, strictly: what is created must not be there, what is updated or deleted must."""

    def __init__(self) -> None:
        self.documents: dict[Identity, Any] = {}
        self.ids: dict[str, int] = {}
        self.faults: list[str] = []
        self.count = 0
        self.repeats = 0
        self._position = 0

    def apply(self, events: Iterable[Mapping[str, Any]]) -> None:
        """``events`` are CloudEvents, parsed. One that was applied before (same id) is passed over, as consumers do."""
        for event in events:
            data = event["data"]
            identity = data["type"], data["id"], data["origin"]["routing"]
            if event["id"] in self.ids:
                if self.ids[event["id"]] != data["position"]:
                    self.faults.append(f"two events share the id {event['id']}: {identity}")
                self.repeats += 1
                continue
            if data["position"] <= self._position:
                self.faults.append(f"position {data['position']} comes after {self._position}: {identity}")
            self._position = data["position"]
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
