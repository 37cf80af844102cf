"""The proof at the end: whoever only read a route's events has exactly what the index holds for that role."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from esfeed.changes.profiles.searchlight import ROLE_FIELD, SUFFIXES
from esfeed.demo.place import EngineClient, Place
from esfeed.model.event import View

_MOST = 1000


class Compared(msgspec.Struct, frozen=True):
    """How a route's events, replayed, and the index compare: ids of documents by what is wrong with them."""

    role: View
    documents: int
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    different: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return not (self.missing or self.left_over or self.different)


def compare(role: View, events: Path, place: Place, door: EngineClient) -> Compared:
    """Replays ``events`` (CloudEvents, a line each) and compares with a new search of the index."""
    told = _replayed(events)
    there = _indexed(role, place, door)
    return Compared(
        role,
        len(there),
        tuple(sorted(there.keys() - told.keys())),
        tuple(sorted(told.keys() - there.keys())),
        tuple(sorted(key for key in there.keys() & told.keys() if there[key] != told[key])),
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


def _indexed(role: View, place: Place, door: EngineClient) -> dict[str, Any]:
    door.request("POST", f"/{place.index}/_refresh")
    hits = door.request("POST", f"/{place.index}/_search", {"size": _MOST})["hits"]["hits"]
    found = {}
    for hit in hits:
        roles = hit["_source"][ROLE_FIELD]
        if role in ([roles] if isinstance(roles, str) else roles):
            doc_id = hit["_id"].removesuffix(SUFFIXES[role])
            found[f"{hit.get('_type') or '_doc'}/{doc_id}"] = hit["_source"]
    return found
