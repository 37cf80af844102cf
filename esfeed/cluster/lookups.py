"""Realtime lookups by id, in the form that each engine accepts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from esfeed.cluster.client import Client, unreadable, way
from esfeed.cluster.reasons import of_error
from esfeed.cluster.responses import Hit, Multi, decode
from esfeed.errors import ClusterError, NameGone, NameMoved
from esfeed.model.event import Key

_UNREADABLE = "illegal_state_exception"  # 2.x, for a number beyond 64 bits in a document that is not refreshed yet


def mget(client: Client, wanted: Sequence[tuple[str, Key]], preference: str = "") -> list[Hit]:
    """Realtime reads by (concrete index, key), without content.

    Returns one hit for each, in the same order: found, not found, or with its ``error``. A realtime read sees what no
    refresh has shown yet. Raises ``NameMoved`` if an index does not exist any more, ``ClusterError`` if a shard does
    not answer or an answer is missing.
    """
    known = client.dialect
    docs: list[dict[str, Any]] = []
    for index, key in wanted:
        doc: dict[str, Any] = {"_index": index, "_id": key.id, "_source": False}
        doc[known.stored_key] = ["_routing", "_parent"] if known.typed else ["_routing"]
        if known.typed:
            doc["_type"] = key.type
        if key.routing is not None:
            doc[known.routing_key] = key.routing
        docs.append(doc)
    preference = preference or known.lookup_preference
    params = {"preference": preference} if preference else None
    answer = decode(client.request("POST", "/_mget", params=params, body={"docs": docs}), Multi)
    if [hit.id for hit in answer.docs] != [key.id for _, key in wanted]:
        raise ClusterError(
            f"cluster {client.name!r} answered {len(answer.docs)} of {len(docs)} lookups, or other ones",
            "esfeed discards the answer; check the proxies between esfeed and the cluster",
        )
    for hit in answer.docs:
        if hit.error is not None:
            _check(client, hit)
    return answer.docs


def _check(client: Client, hit: Hit) -> None:
    """Raises the error of a failed lookup, unless the document itself causes it (see ``_UNREADABLE``)."""
    kind, reason = of_error(hit.error)
    if kind == "index_not_found_exception":
        raise NameMoved(f"cluster {client.name!r}: {reason}", "the next poll reads it again")
    if unreadable(kind):
        raise NameGone(f"cluster {client.name!r}: index {hit.index!r} cannot be read ({reason})", way(reason))
    if kind != _UNREADABLE:
        raise ClusterError(
            f"cluster {client.name!r} could not look up {hit.id!r} ({kind}: {reason})",
            "esfeed discards the answer and tries again; check the health of the cluster",
        )
