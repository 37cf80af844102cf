"""``_bulk`` in the syntax of each engine: the actions for an event, and what the answer means. Pure.

https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from esfeed.model.event import UNTYPED, Event, one_line
from esfeed.ports import OK, Outcome, rejected, retry
from esfeed.sinks.common.http_status import shown

_json = msgspec.json.Encoder()
_EPOCH_BITS = 40


class Engine(NamedTuple):
    """The engine of a cluster: ``major`` is the version of Elasticsearch; OpenSearch counts as 7.10."""

    major: int
    minor: int = 0

    @property
    def typed(self) -> bool:
        """Whether documents have a ``_type``, which each request names."""
        return self.major < 7

    @property
    def composable(self) -> bool:
        """Whether index templates are those of ``_index_template``."""
        return (self.major, self.minor) >= (7, 8)


def engine(number: str, opensearch: bool) -> Engine:
    """``number`` is the version that the cluster reports, such as ``2.19.1``. Raises ``ValueError``."""
    major, minor = (int(part) for part in number.split(".")[:2])
    return Engine(7, 10) if opensearch else Engine(major, minor)


class _Meta(msgspec.Struct, frozen=True):
    id: str
    op: str
    time: str
    position: int


def mirror(event: Event, index: str, doc_id: str, target: Engine, epoch: int, stamp: str | None) -> bytes | Outcome:
    """The lines that bring ``event`` into a mirror, or why there are none.

    The version is the position in the log: it only grows, whereas the version of a document may decrease (that of
    Searchlight does after a re-sync). ``external_gte`` makes a repeat harmless, and an older state never overwrites a
    newer one.
    """
    old = "_" if target.major < 6 else ""
    about: dict[str, Any] = {"_index": index, "_id": doc_id}
    if target.typed:
        # An index of 6.x has one type only; before that, no type may begin with an underscore.
        about["_type"] = event.type if target.major < 6 and event.type != UNTYPED else "doc"
    about[f"{old}version"] = epoch << _EPOCH_BITS | event.position
    about[f"{old}version_type"] = "external_gte"
    if event.origin.routing is not None:
        about[f"{old}routing"] = event.origin.routing
    if event.origin.parent is not None and target.major < 6:
        about["_parent"] = event.origin.parent
    if event.op == "deleted":
        return _json.encode({"delete": about}) + b"\n"
    if event.after is None:
        return rejected("the event has no document, which a mirror needs")
    document = one_line(bytes(event.after)).strip()
    if stamp is not None:
        meta = _json.encode({stamp: _Meta(event.id, event.op, event.time, event.position)})
        rest = document[1:].lstrip()
        document = meta[:-1] + (b"" if rest == b"}" else b",") + rest
    return _json.encode({"index": about}) + b"\n" + document + b"\n"


def logged(event: Event, index: str, target: Engine, data: bytes) -> bytes:
    """The lines that bring ``event``, encoded as ``data``, into a log of events. A repeat replaces itself."""
    about: dict[str, Any] = {"_index": index, "_id": event.id}
    if target.typed:
        about["_type"] = "doc"
    return _json.encode({"index": about}) + b"\n" + one_line(data) + b"\n"


def log_mappings(target: Engine) -> dict[str, Any]:
    """Mappings that do not index the documents within events, so that their fields cannot conflict."""
    unread = {name: {"type": "object", "enabled": False} for name in ("before", "after", "doc")}
    nested = {name: {"properties": dict(unread)} for name in ("data", "payload")}
    whole = {"properties": unread | nested}
    return {"doc": whole} if target.typed else whole


def template(target: Engine, pattern: str, parts: Mapping[str, Any], gc_deletes: float | None) -> tuple[str, bytes]:
    """The path and body of the request that creates the index template. ``gc_deletes`` is in seconds."""
    name = "esfeed-" + (re.sub(r"[^a-z0-9_.-]+", "-", pattern.lower()).strip("-") or "all")
    settings = dict(parts.get("settings", {}))
    if gc_deletes is not None:
        settings = {"index.gc_deletes": f"{round(gc_deletes * 1000)}ms"} | settings
    body: dict[str, Any] = {**parts, "settings": settings}
    if target.composable:
        return f"/_index_template/{name}", _json.encode(
            {"index_patterns": [pattern], "priority": 200, "template": body}
        )
    key = {"index_patterns": [pattern]} if target.major >= 6 else {"template": pattern}
    return f"/_template/{name}", _json.encode(key | body)


def judge(item: Mapping[str, Any], versioned: bool) -> Outcome:
    """What the answer to one action means. ``versioned``: a conflict means that the target has a newer state."""
    ((action, result),) = item.items()
    status = result.get("status", 0)
    if 200 <= status < 300 or (status == 404 and action == "delete" and "error" not in result):
        return OK
    if status == 409 and versioned:
        return OK
    reason = f"{status} {why(result)}"
    kind = result["error"].get("type", "") if isinstance(result.get("error"), dict) else ""
    # 403: blocked (a full disk) or not allowed; 404: the index is missing and may not be created. The target is at
    # fault.
    if status in (401, 403, 404, 408, 429) or status >= 500 or kind in ("index_closed_exception", "aborted"):
        return retry(reason)
    return rejected(reason)


def why(answer: Mapping[str, Any]) -> str:
    """The text of the engine for an error, shortened: a string in some answers of 2.x, else type, reason and cause."""
    error = answer.get("error")
    if not isinstance(error, dict):
        return shown(str(error or ""))
    cause = error.get("caused_by")
    causes = [error] + ([cause] if isinstance(cause, dict) else [])
    return shown(", caused by ".join(f"{one.get('type')}: {one.get('reason')}" for one in causes))
