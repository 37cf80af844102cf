"""Reads ``_stats?level=shards``, the cheapest request that shows whether anything happened, on an index of any size.

https://www.elastic.co/guide/en/elasticsearch/reference/7.17/indices-stats.html
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

import msgspec

from esfeed.cluster.client import Client
from esfeed.cluster.lots import each, encoded
from esfeed.cluster.responses import decode
from esfeed.errors import ClusterError, NothingThere, brief, many
from esfeed.model.reads import ShardStats, StatsSnapshot

_SHARD = "indices.*.shards.*"
_FIELDS = (
    "_shards",
    "indices.*.uuid",
    f"{_SHARD}.routing",
    f"{_SHARD}.docs.count",
    f"{_SHARD}.store.size_in_bytes",
    f"{_SHARD}.indexing.index_total",
    f"{_SHARD}.indexing.delete_total",
    f"{_SHARD}.refresh.total",
    f"{_SHARD}.refresh.external_total",
    f"{_SHARD}.commit.user_data.translog_uuid",
    f"{_SHARD}.commit.user_data.history_uuid",
    f"{_SHARD}.commit.user_data.max_unsafe_auto_id_timestamp",
    f"{_SHARD}.seq_no",
    f"{_SHARD}.retention_leases.primary_term",
)
_COPY = "i*.*.s*.*."
_SHORT = (
    "_shards",
    "i*.*.uuid",
    f"{_COPY}routing",
    f"{_COPY}docs.c*",
    f"{_COPY}store.si*",
    f"{_COPY}in*.*_total",
    f"{_COPY}ref*.*total",
    f"{_COPY}commit.u*.*_uuid",
    f"{_COPY}seq_no",
    f"{_COPY}ret*.p*",
)
"""Patterns for the same fields and few others, a third as long, which leaves more of a URL to names."""
_STARTED = ("STARTED", "RELOCATING")

_Recovered = Mapping[tuple[str, int, str], int]
"""When the copy of a shard (index, number, node) was recovered the last time, in milliseconds."""


class _Routing(msgspec.Struct):
    state: str
    primary: bool
    node: str | None = None


class _Docs(msgspec.Struct):
    count: int = 0


class _Store(msgspec.Struct):
    size_in_bytes: int = 0


class _Indexing(msgspec.Struct):
    index_total: int = 0
    delete_total: int = 0


class _Refresh(msgspec.Struct):
    total: int = 0
    external_total: int | None = None


class _UserData(msgspec.Struct):
    translog_uuid: str = ""
    history_uuid: str = ""
    max_unsafe_auto_id_timestamp: str = ""
    """Not before 5.x."""


class _LuceneCommit(msgspec.Struct):
    user_data: _UserData = msgspec.field(default_factory=_UserData)


class _SeqNo(msgspec.Struct):
    max_seq_no: int | None = None
    global_checkpoint: int | None = None


class _Leases(msgspec.Struct):
    primary_term: int = 0


class _Copy(msgspec.Struct):
    routing: _Routing
    docs: _Docs = msgspec.field(default_factory=_Docs)
    store: _Store = msgspec.field(default_factory=_Store)
    indexing: _Indexing = msgspec.field(default_factory=_Indexing)
    refresh: _Refresh = msgspec.field(default_factory=_Refresh)
    commit: _LuceneCommit = msgspec.field(default_factory=_LuceneCommit)
    seq_no: _SeqNo = msgspec.field(default_factory=_SeqNo)
    retention_leases: _Leases = msgspec.field(default_factory=_Leases)


class _Index(msgspec.Struct):
    uuid: str = ""
    shards: dict[str, list[_Copy]] = {}


class _Target(msgspec.Struct):
    id: str = ""


class _Recovery(msgspec.Struct):
    id: int
    start_time_in_millis: int = 0
    target: _Target = msgspec.field(default_factory=_Target)


class _Recoveries(msgspec.Struct):
    shards: list[_Recovery] = []


class _Failure(msgspec.Struct):
    index: str | None = None


class _ShardsHead(msgspec.Struct):
    total: int = 0
    failed: int = 0
    failures: list[_Failure] = []


class _Stats(msgspec.Struct):
    shards: _ShardsHead = msgspec.field(name="_shards")
    indices: dict[str, _Index] = {}


def read_stats(client: Client, name: str) -> StatsSnapshot:
    """The counters of all primaries behind ``name``.

    Raises ``NameGone`` if nothing is behind it, ``ClusterError`` if a shard gave no statistics.
    """
    indices: dict[str, _Index] = {}
    recovered: dict[tuple[str, int, str], int] = {}
    for stats, times in each(name, lambda some: _with_recoveries(client, some, lambda: _whole(client, some))):
        indices.update(stats.indices)
        recovered.update(times)
    return _reading(indices, recovered)


def read_each(client: Client, names: Sequence[str]) -> Mapping[str, StatsSnapshot]:
    """The counters of those ``names`` that are open indices themselves; for each, what ``read_stats`` returns for it.

    One request (two on 2.x), so the names must fit into one URL. A name that is no index, or an index that is closed,
    out of sight or incomplete, is left out and does not affect the others. Raises ``ClusterError`` if the request
    fails.
    """
    joined = ",".join(names)
    more = {"ignore_unavailable": "true"}
    stats, recovered = _with_recoveries(client, joined, lambda: _read(client, joined, _SHORT, **more), **more)
    failed = {failure.index for failure in stats.shards.failures}
    if stats.shards.failed and (not failed or None in failed):
        return {}
    found: dict[str, StatsSnapshot] = {}
    for name in names:
        one = stats.indices.get(name)
        if one is not None and one.shards and name not in failed:
            with contextlib.suppress(ClusterError):
                found[name] = _reading({name: one}, recovered)
    return found


def _reading(indices: Mapping[str, _Index], recovered: _Recovered) -> StatsSnapshot:
    """Raises ``ClusterError`` if a primary is missing."""
    shards: dict[str, ShardStats] = {}
    docs = size_bytes = 0
    for index, found in indices.items():
        for number, copies in found.shards.items():
            primary = next((copy for copy in copies if copy.routing.primary), None)
            if primary is None or primary.routing.state not in _STARTED:
                raise ClusterError(
                    f"the primary of shard {number} of {index!r} is missing (red)", "check the health of the cluster"
                )
            docs += primary.docs.count
            size_bytes += primary.store.size_in_bytes
            at = recovered.get((index, int(number), primary.routing.node or ""))
            shards[f"{index}/{number}"] = _shard(primary, copies, at)
    return StatsSnapshot(shards, {index: found.uuid for index, found in indices.items()}, docs, size_bytes)


def _read(client: Client, name: str, fields: Sequence[str] = _FIELDS, **more: str) -> _Stats:
    params = {"level": "shards", "filter_path": ",".join(fields), **more}
    raw = client.request("GET", f"/{encoded(name)}/_stats/docs,store,indexing,refresh", params=params)
    return decode(raw, _Stats)


def _with_recoveries(client: Client, name: str, read: Callable[[], _Stats], **more: str) -> tuple[_Stats, _Recovered]:
    """The counters, and before them the times of recoveries where the engine needs them to tell a restored shard.

    A restore in between is seen by the next poll. If the engine is not known yet, the counters show most that are too
    new to need this, so that an idle poll of a new process stays one request.
    """
    if client.known_engine is None:
        stats = read()
        if _newer_than_2x(stats) or not client.dialect.restored_alike:
            return stats, {}
    elif not client.dialect.restored_alike:
        return read(), {}
    recovered = _recoveries(client, name, **more)
    return read(), recovered


def _newer_than_2x(stats: _Stats) -> bool:
    copies = (copy for index in stats.indices.values() for shard in index.shards.values() for copy in shard)
    commits = (copy.commit.user_data for copy in copies)
    return any(commit.history_uuid or commit.max_unsafe_auto_id_timestamp for commit in commits)


def _recoveries(client: Client, name: str, **more: str) -> _Recovered:
    """https://www.elastic.co/guide/en/elasticsearch/reference/2.4/indices-recovery.html"""
    fields = ",".join(f"*.shards.{field}" for field in ("id", "start_time_in_millis", "target.id"))
    raw = client.request("GET", f"/{encoded(name)}/_recovery", params={"filter_path": fields, **more})
    return {
        (index, one.id, one.target.id): one.start_time_in_millis
        for index, found in decode(raw, dict[str, _Recoveries]).items()
        for one in found.shards
    }


def _whole(client: Client, name: str) -> _Stats:
    stats = _read(client, name)
    if stats.shards.failed:
        raise ClusterError(
            f"{many(stats.shards.failed, 'shard')} of {brief(name)!r} returned no statistics",
            "check the health of the cluster",
        )
    if not stats.indices:
        raise NothingThere(
            f"cluster {client.name!r} has no open index behind {brief(name)!r} that these credentials may see",
            "correct `index` of the watch, open the index, or grant `monitor` and `view_index_metadata` on it",
        )
    return stats


def _shard(primary: _Copy, copies: list[_Copy], recovered: int | None) -> ShardStats:
    refreshes = tuple(sorted((copy.routing.node or "", _refreshes(copy)) for copy in copies))
    # Before 6.x, the answer lacks the uuid of the index. That of the translog is as good: both are made together.
    identity = f"{primary.routing.node}/{primary.commit.user_data.translog_uuid}"
    if recovered is not None:
        identity += f"/{recovered}"
    done = primary.indexing.index_total + primary.indexing.delete_total
    numbers = primary.seq_no
    return ShardStats(
        done,
        identity,
        refreshes,
        primary.routing.node or "",
        numbers.max_seq_no,
        numbers.global_checkpoint,
        primary.commit.user_data.history_uuid,
        primary.retention_leases.primary_term,
    )


def _refreshes(copy: _Copy) -> int:
    total = copy.refresh.external_total
    return copy.refresh.total if total is None else total
