"""The proof at the end: a reader of only the events of a route has exactly what the index holds for that role."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from esfeed.changes.profiles.searchlight import ROLE_FIELD, SUFFIXES
from esfeed.demo.demo_index import DemoIndex, EngineClient
from esfeed.model.event import View

_MAX_DOCUMENTS = 1000


class Compared(msgspec.Struct, frozen=True):
    """The difference between the replayed events of a route and the index: ids of documents by kind of difference."""

    role: View
    documents: int
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    different: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return not (self.missing or self.left_over or self.different)


def compare(role: View, events: Path, demo_index: DemoIndex, client: EngineClient) -> Compared:
    """Replays ``events`` (CloudEvents, one per line) and compares the result with a new search of the index."""
    replayed = _replayed(events)
    there = _indexed(role, demo_index, client)
    return Compared(
        role,
        len(there),
        tuple(sorted(there.keys() - replayed.keys())),
        tuple(sorted(replayed.keys() - there.keys())),
        tuple(sorted(key for key in there.keys() & replayed.keys() if there[key] != replayed[key])),
    )


def _replayed(events: Path) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for line in events.read_bytes().splitlines():
        data = json.loads(line)["data"]
        key = f"{data['type']}/{data['id']}"
        if data["op"] == "deleted":
            state.pop(key, None)
        else:
            state[key] = data["after"]
    return state


def _indexed(role: View, demo_index: DemoIndex, client: EngineClient) -> dict[str, Any]:
    client.request("POST", f"/{demo_index.index}/_refresh")
    hits = client.request("POST", f"/{demo_index.index}/_search", {"size": _MAX_DOCUMENTS})["hits"]["hits"]
    found = {}
    for hit in hits:
        roles = hit["_source"][ROLE_FIELD]
        if role in ([roles] if isinstance(roles, str) else roles):
            doc_id = hit["_id"].removesuffix(SUFFIXES[role])
            found[f"{hit.get('_type') or '_doc'}/{doc_id}"] = hit["_source"]
    return found
