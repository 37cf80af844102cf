"""What is asked of a cluster, on every real engine: its version, counters, names, documents, and dates."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from esfeed.cluster.adapter import EngineCluster
from esfeed.cluster.client import Client
from esfeed.cluster.connection import Connection
from esfeed.errors import ClusterError, ConfigError, NameGone
from esfeed.model.event import Key
from esfeed.model.reads import ODD as ODD_DATES
from esfeed.model.reads import TAKEN, Dated, Dates, DocumentPage, Part, Resolved, Shard, Span, StatsSnapshot, bucket
from esfeed.trackers.accounting import restarted
from tests.support.clients import Raw, Refused, eventually
from tests.support.engines import Engine
from tests.support.proxy import Proxy, answer

DATE = {"updated_at": {"type": "date"}}


def everything(cluster: EngineCluster, of: Resolved, size: int = 1000) -> list[Any]:
    return [doc for page in cluster.everything(of, source=True, size=size) for doc in page.docs]


# --- the engine


def test_the_version_is_found(engine: Engine, client: Client) -> None:
    """Distribution and version are those of the engine, asked for once."""
    assert client.engine.distribution == engine.distribution
    assert ".".join(map(str, client.engine.version)) == engine.version
    asked = client.meter.totals()[0]
    assert client.engine
    assert client.dialect
    assert client.meter.totals()[0] == asked


@pytest.mark.parametrize("status", [403, 404, 405])
def test_the_version_is_found_without_the_root_page(engine: Engine, proxy: Proxy, status: int) -> None:
    """A `GET /` that is missing or forbidden hides nothing; OpenSearch 2 and 3 are no Elasticsearch 2 and 3."""
    proxy.on(r"^GET /$", answer(status), times=99)
    client = Client(Connection("main", [proxy.url]))
    assert client.engine.distribution == engine.distribution
    assert ".".join(map(str, client.engine.version)) == engine.version
    client.close()


# --- counters


def operations(reading: StatsSnapshot) -> int:
    return sum(shard.ops for shard in reading.shards.values())


def test_every_operation_counts_once(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """Creates, updates, deletes, deletes of nothing: one each; conflicts, no-op updates, reads, refreshes: none."""
    raw.create(index, DATE, {"number_of_shards": 2})
    counted = []

    def count() -> None:
        counted.append(operations(cluster.counters(index)))

    count()
    raw.bulk(index, [({"create": {"_id": str(n)}}, {"n": n}) for n in range(10)])
    count()
    raw.put(index, "1", {"n": 11})
    count()
    raw.put(index, "1", {"n": 11})
    count()
    raw.delete(index, "1")
    count()
    raw.delete(index, "never-there")
    count()
    with pytest.raises(Refused, match="409"):
        raw.bulk(index, [({"create": {"_id": "2"}}, {"n": 2})])
    raw.bulk(index, [({"update": {"_id": "2"}}, {"doc": {"n": 2}})])
    raw.call("POST", f"/{index}/_search")
    raw.refresh(index)
    count()
    raw.bulk(index, [({"update": {"_id": "2"}}, {"doc": {"n": 22}})])
    count()
    assert counted == [0, 10, 11, 12, 13, 14, 14, 15]


def test_refreshes_move_and_nothing_else_does(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """A refresh that shows something is counted; flush and force-merge change neither operations nor identity."""
    raw.create(index, DATE, {"refresh_interval": "-1"})
    raw.put(index, "1", {"n": 1})
    before = cluster.counters(index)
    raw.refresh(index)
    after = cluster.counters(index)
    assert refreshes(after) > refreshes(before)
    raw.put(index, "2", {"n": 1})
    again = cluster.counters(index)
    raw.call("POST", f"/{index}/_flush", force="true")
    raw.call("POST", f"/{index}/_forcemerge", max_num_segments=1)
    flushed = cluster.counters(index)
    assert operations(flushed) == operations(again) == 2
    assert not restarted(before, flushed)


def refreshes(reading: StatsSnapshot) -> int:
    return sum(count for shard in reading.shards.values() for _, count in shard.refreshes)


def test_a_reopened_or_recreated_index_shows(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """Counters that began anew are never compared with what was: after close and open, and after delete and create."""
    raw.create(index, DATE)
    raw.fill(index, 3)
    first = cluster.counters(index)
    raw.call("POST", f"/{index}/_close")
    raw.call("POST", f"/{index}/_open")
    second = eventually(lambda: counters_or_none(cluster, index))
    assert restarted(first, second)
    raw.drop(index)
    raw.create(index, DATE)
    raw.fill(index, 3)
    third = cluster.counters(index)
    assert restarted(first, third)
    assert restarted(second, third)


def counters_or_none(cluster: EngineCluster, index: str) -> StatsSnapshot | None:
    try:
        return cluster.counters(index)
    except ClusterError:
        return None


# --- names


def test_what_is_behind_a_name(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """An index, an alias over two, a pattern and a list lead to uuids, oldest first; only the last two are patterns."""
    raw.create(f"{index}-b", DATE, {"refresh_interval": "30s", "number_of_shards": 2})
    eventually(lambda: raw.create(f"{index}-a", DATE, {"refresh_interval": "-1"}) is None)
    for part in ("a", "b"):
        raw.alias(f"{index}-{part}", f"{index}-both")
    told = raw.call("GET", f"/{index}-*/_settings", flat_settings="true")
    uuids = {name: found["settings"]["index.uuid"] for name, found in told.items()}

    one = cluster.resolve(f"{index}-b", "w")
    assert [(found.name, found.uuid, found.shards, found.refresh) for found in one.indices] == [
        (f"{index}-b", uuids[f"{index}-b"], 2, 30.0)
    ]
    assert not one.pattern
    for name, pattern in ((f"{index}-both", False), (f"{index}-*", True), (f"{index}-a,{index}-b", True)):
        both = cluster.resolve(name, "w")
        assert both.pattern is pattern
        assert {found.name: found.uuid for found in both.indices} == uuids
        assert [found.created for found in both.indices] == sorted(found.created for found in both.indices)
        assert set(cluster.counters(name).indices) == uuids.keys()
    assert cluster.resolve(f"{index}-a", "w").indices[0].refresh < 0


FILTER = {"filter": {"term": {"n": 1}}}


@pytest.mark.parametrize("how", [FILTER, {"search_routing": "x"}, {"routing": "x"}], ids=["filter", "search", "both"])
@pytest.mark.parametrize("name", ["{}-part", "{}-par*", "{}-part,{}-other"])
def test_an_alias_that_hides_documents_is_refused(
    raw: Raw, cluster: EngineCluster, index: str, how: dict[str, Any], name: str
) -> None:
    """What leaves a filter cannot be told from what is deleted: the error names the index, by whatever name it came."""
    raw.create(f"{index}-x", {"n": {"type": "integer"}})
    raw.create(f"{index}-other", {"n": {"type": "integer"}})
    raw.alias(f"{index}-x", f"{index}-part", **how)
    with pytest.raises(ConfigError, match=f"{index}-x") as caught:
        cluster.resolve(name.format(index, index), "w")
    assert caught.value.key == "watches.w.index"


def test_a_filtered_alias_beside_the_index_itself_is_harmless(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """A pattern that matches the index too searches all of it, whatever its other aliases filter."""
    raw.create(f"{index}-x", {"n": {"type": "integer"}})
    raw.fill(f"{index}-x", 4)
    raw.alias(f"{index}-x", f"{index}-part", **FILTER)
    of = cluster.resolve(f"{index}*", "w")
    assert len(everything(cluster, of)) == 4


@pytest.mark.parametrize("name", ["{}", "{}*", "{}-a,{}-b", "{}-*,-{}-x"])
def test_a_name_without_anything_is_an_error(raw: Raw, cluster: EngineCluster, index: str, name: str) -> None:
    """A missing index, alias, pattern or list raises NameGone from every read; never an empty answer."""
    name = name.format(index, index)
    for ask in (
        lambda: cluster.counters(name),
        lambda: cluster.resolve(name, "w"),
        lambda: cluster.newest(name, "updated_at"),
        lambda: list(cluster.window(Resolved(name, False, ()), "updated_at", 0, 10)),
        lambda: list(cluster.everything(Resolved(name, False, ()), True, 10)),
    ):
        with pytest.raises(NameGone):
            ask()


def test_a_closed_index_is_an_error(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """A closed index, by its name or an alias, raises NameGone from every read."""
    raw.create(index, DATE)
    raw.alias(index, f"{index}-alias")
    raw.fill(index, 2)
    of = cluster.resolve(index, "w")
    raw.call("POST", f"/{index}/_close")
    for name in (index, f"{index}-alias"):
        for ask in (
            lambda name=name: cluster.counters(name),
            lambda name=name: cluster.newest(name, "updated_at"),
            lambda name=name: list(cluster.everything(Resolved(name, False, of.indices), True, 10)),
        ):
            with pytest.raises(NameGone):
                ask()
    key = Key(raw.kind if raw.typed else "_doc", "1")
    with pytest.raises(NameGone):
        cluster.lookup(of, [(of.indices[0].uuid, key)])
    with pytest.raises(NameGone):
        cluster.shown(of, [key], source=True)


def test_a_closed_index_behind_a_pattern_is_known(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """It is among the indices, so that whoever looks up a document there gets an error and not `not there`."""
    for part in ("a", "b"):
        raw.create(f"{index}-{part}", DATE)
        raw.fill(f"{index}-{part}", 2)
    raw.call("POST", f"/{index}-b/_close")
    of = cluster.resolve(f"{index}-*", "w")
    assert {one.name for one in of.indices} == {f"{index}-a", f"{index}-b"}
    assert set(cluster.counters(f"{index}-*").indices) == {f"{index}-a"}
    assert len(everything(cluster, of)) == 2
    closed = next(one.uuid for one in of.indices if one.name == f"{index}-b")
    with pytest.raises(NameGone, match=f"{index}-b"):
        cluster.lookup(of, [(closed, Key(raw.kind if raw.typed else "_doc", "1"))])


def test_mapped_fields(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """Fields are dotted, nested ones left out; a date in one index and a text in the next has both types."""
    text = {"type": "string"} if raw.engine.major < 5 and raw.typed else {"type": "text"}
    fields = {"at": {"type": "date"}, "meta": {"properties": {"when": {"type": "date"}, "what": text}}}
    raw.create(f"{index}-a", {**fields, "parts": {"type": "nested", "properties": {"at": {"type": "date"}}}})
    raw.create(f"{index}-b", {"at": text, "meta": {"properties": {"when": text}}})
    found = cluster.field_types(f"{index}-*")
    assert found["at"] == found["meta.when"] == f"date and {text['type']}"
    assert cluster.field_types(f"{index}-a")["meta.when"] == "date"
    assert found["meta.what"] == text["type"]
    assert found["parts"] == "nested"
    assert "parts.at" not in found
    assert cluster.field_types(f"{index}-b")["at"] == text["type"]


# --- documents


def test_a_scroll_is_exact(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """More documents than a search may count or show: every one comes once, and the total is right."""
    raw.create(index, {"n": {"type": "integer"}}, {"number_of_shards": 3})
    raw.fill(index, 10_050)
    pages = list(cluster.everything(cluster.resolve(index, "w"), source=False, size=3000))
    ids = [doc.key.id for page in pages for doc in page.docs]
    assert sorted(map(int, ids)) == list(range(10_050))
    assert {page.total for page in pages} == {10_050}
    assert all(doc.source is None and doc.version == 1 for page in pages for doc in page.docs)


def test_pages_of_one_scroll_are_one_snapshot(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """What is written between two pages neither shows nor hides anything of a scroll that began."""
    raw.create(index, {"n": {"type": "integer"}})
    raw.fill(index, 30)
    pages = cluster.everything(cluster.resolve(index, "w"), source=True, size=10)
    docs = list(next(pages).docs)
    for n in range(30):
        raw.delete(index, str(n))
    raw.put(index, "new", {"n": 99})
    raw.refresh(index)
    docs += [doc for page in pages for doc in page.docs]
    assert {doc.key.id for doc in docs} == {str(n) for n in range(30)}


def test_nested_documents_do_not_count(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """Totals and documents are the user's, not the hidden ones of nested fields."""
    raw.create(index, {"n": {"type": "integer"}, "parts": {"type": "nested", "properties": {"x": {"type": "integer"}}}})
    raw.fill(index, 5, parts=[{"x": 1}, {"x": 2}, {"x": 3}])
    pages = list(cluster.everything(cluster.resolve(index, "w"), source=True, size=2))
    assert [page.total for page in pages] == [5, 5, 5]
    assert sum(len(page.docs) for page in pages) == 5


def test_the_source_is_the_engines_own_bytes(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """Numbers beyond 2**53, their spelling, the order of keys and odd spaces come back as they were written."""
    source = b'{"z": 12345678901234567890123, "a":1.10,  "e":1e2, "u":"\\u00e9\xc3\xa9\xf0\x9f\x98\x80"}'
    mapping = {"z": {"type": "object", "enabled": False}}
    body = {"properties": mapping, "dynamic": False}
    raw.create(index, mappings={raw.kind: body} if raw.typed else body)
    raw.put(index, "1", source)
    raw.refresh(index)
    of = cluster.resolve(index, "w")
    (doc,) = everything(cluster, of)
    assert doc.source == source
    assert cluster.shown(of, [doc.key], source=True) == [doc]


def test_a_lookup_is_realtime(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """It has creates, updates and deletes that searches do not show yet, in the order that was asked for."""
    raw.create(index, DATE, {"refresh_interval": "-1"})
    raw.fill(index, 3)
    of = cluster.resolve(index, "w")
    uuid = of.indices[0].uuid
    kind = raw.kind if raw.typed else "_doc"
    raw.put(index, "1", {"n": 111})
    raw.delete(index, "2")
    raw.put(index, "new", {"n": 4})
    wanted = [(uuid, Key(kind, id)) for id in ("new", "2", "1", "0", "nowhere")]
    shown = cluster.shown(of, [key for _, key in wanted], source=True)
    assert sorted((doc.key.id, doc.version, json.loads(doc.source or b"")) for doc in shown) == [
        (id, 1, {"n": int(id)}) for id in "012"
    ]
    found = cluster.lookup(of, wanted)
    assert [doc and (doc.key.id, doc.version) for doc in found] == [("new", 1), None, ("1", 2), ("0", 1), None]
    assert {doc.source for doc in found if doc} == {None}


# --- dates

SOON = "9999-01-01T00:00:00Z"


def dates(raw: Raw, index: str, how: dict[str, Any], stamps: list[Any]) -> None:
    raw.create(index, {"updated_at": how})
    actions = [({"index": {"_id": str(n)}}, {"updated_at": stamp} if stamp else {}) for n, stamp in enumerate(stamps)]
    raw.bulk(index, actions, refresh="true")


def test_the_newest_date_is_not_in_the_future(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """Documents of the year 9999, and those without a date, do not count; only such: there is no newest."""
    dates(raw, index, {"type": "date"}, [SOON, "2023-11-14T22:13:20.123Z", "2020-09-13T12:26:40Z", None])
    assert cluster.newest(index, "updated_at") == 1_700_000_000_123
    assert cluster.newest(index, "not_there") is None
    raw.create(f"{index}-far", DATE)
    raw.fill(f"{index}-far", 3, updated_at=SOON)
    assert cluster.newest(f"{index}-far", "updated_at") is None
    raw.create(f"{index}-empty")
    assert cluster.newest(f"{index}-empty", "updated_at") is None


def test_dates_in_seconds(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """A date mapped with a format of its own is asked for and told in milliseconds all the same."""
    dates(raw, index, {"type": "date", "format": "epoch_second"}, [1_700_000_000, 1_600_000_000])
    assert cluster.newest(index, "updated_at") == 1_700_000_000_000
    (page,) = cluster.window(cluster.resolve(index, "w"), "updated_at", 1_650_000_000_000, 10)
    assert [doc.stamp for doc in page.docs] == [1_700_000_000_000]


@pytest.mark.parametrize("engine", ["es7", "es8", "es9", "os2", "os3"], indirect=True)
def test_dates_in_nanoseconds(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """`date_nanos` is told in milliseconds."""
    dates(raw, index, {"type": "date_nanos"}, ["2026-01-01T00:00:00.123456789Z", "2025-01-01T00:00:00Z"])
    assert cluster.newest(index, "updated_at") == 1_767_225_600_123
    (page,) = cluster.window(cluster.resolve(index, "w"), "updated_at", 1_700_000_000_000, 10)
    assert [doc.stamp for doc in page.docs] == [1_735_689_600_000, 1_767_225_600_123]


def test_a_window_is_ordered_and_bounded(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """From `since` on, oldest first, ties and all, over as many pages as it takes."""
    stamps = [1_600_000_000_000 + (n // 2) * 1000 for n in range(40)]
    dates(raw, index, {"type": "date"}, [*reversed(stamps), None])
    of = cluster.resolve(index, "w")
    for size in (100, 7):
        pages = list(cluster.window(of, "updated_at", stamps[10], size))
        assert [doc.stamp for page in pages for doc in page.docs] == stamps[10:]
        assert {page.total for page in pages} == {30}
    everyone = [doc.stamp for page in cluster.window(of, "updated_at", 0, 9) for doc in page.docs]
    assert everyone == stamps


def ids(pages: Iterable[DocumentPage]) -> list[int]:
    return sorted(int(doc.key.id) for page in pages for doc in page.docs)


def test_parts_by_date(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """From a date to before another, or without one; as many pages as it takes, with content."""
    stamps = [1_600_000_000_000 + n * 1000 for n in range(40)]
    dates(raw, index, {"type": "date"}, [*stamps, None, None])
    of = cluster.resolve(index, "w")
    for size in (100, 20, 7):
        part = Part(20, Dates("updated_at", stamps[10], stamps[30]))
        assert ids(cluster.part(of, part, size)) == list(range(10, 30))
    assert ids(cluster.part(of, Part(0, Dates("updated_at", stamps[35])), 100)) == list(range(35, 40))
    assert ids(cluster.part(of, Part(0, Dates("updated_at", None, undated=True)), 1)) == [40, 41]
    both = Part(0, Dates("updated_at", stamps[39], undated=True))
    assert ids(cluster.part(of, both, 100)) == [39, 40, 41]
    assert all(doc.source for page in cluster.part(of, both, 100) for doc in page.docs)


@pytest.mark.parametrize("engine", ["es7", "es8", "es9", "os2", "os3"], indirect=True)
def test_parts_by_number(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """The numbers of one shard, of some dates only; and how many there are, by number."""
    stamps = [1_600_000_000_000 + n * 1000 for n in range(40)]
    dates(raw, index, {"type": "date"}, [*stamps, None])
    of, now = cluster.resolve(index, "w"), cluster.counters(index)
    late = Dates("updated_at", stamps[20])
    found: list[int] = []
    for place, reading in now.shards.items():
        shard = Shard(index, int(place.rpartition("/")[2]), reading.node)
        whole = ids(cluster.part(of, Part(0, late, shard, (0, None)), 7))
        half = (reading.max_seq_no or 0) // 2
        first = ids(cluster.part(of, Part(0, late, shard, (0, half)), 7))
        rest = ids(cluster.part(of, Part(0, late, shard, (half, None)), 100))
        assert sorted(first + rest) == whole
        assert sum(cluster.histograms(of, {shard: [(0, 1 << 40)]}, 2, late)[shard].values()) == len(whole)
        found += whole
    assert sorted(found) == list(range(20, 40))


ODD = [
    "2023-11-14T22:13:20.123Z",
    "2023-11-14T22:13:20.124Z",
    "1969-12-31T23:59:59.999Z",
    "1912-06-23T00:00:00Z",
    None,
    SOON,
    ["2020-09-13T12:26:40Z", "2023-11-14T22:13:20.123Z"],
]
"""Before 1970, none, far ahead, two at once: the stamps of these are ``STAMPS``."""

STAMPS = {
    "0": 1_700_000_000_123,
    "1": 1_700_000_000_124,
    "2": -1,
    "3": -1_815_350_400_000,
    "4": None,
    "5": 253_370_764_800_000,
    "6": 1_600_000_000_000,
}


def listed(cluster: EngineCluster, of: Resolved, spans: list[Span], without: bool = False) -> dict[str, int | None]:
    pages = cluster.within(of, "updated_at", spans, without)
    return {doc.key.id: doc.stamp for page in pages for doc in page.docs}


def test_stamps_are_told_with_whatever_is_read(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """In milliseconds, the oldest of several."""
    dates(raw, index, {"type": "date"}, ODD)
    of = cluster.resolve(index, "w")
    pages = cluster.everything(of, source=True, size=3, field="updated_at")
    assert {doc.key.id: doc.stamp for page in pages for doc in page.docs} == STAMPS
    assert [doc.stamp for page in cluster.everything(of, source=True, size=9) for doc in page.docs] == [None] * 7


@pytest.mark.parametrize("bits", [32, 10, 0])
def test_documents_are_counted_by_date(raw: Raw, cluster: EngineCluster, index: str, bits: int) -> None:
    """At any width; all of before 1970 and from 2248 on are one bucket, and two dates of one document count twice."""
    dates(raw, index, {"type": "date"}, ODD)
    of = cluster.resolve(index, "w")
    expected = Counter(bucket(stamp, bits) for stamp in STAMPS.values() if stamp is not None)
    expected[1_700_000_000_123 >> bits] += 1
    assert cluster.dated(of, "updated_at", None, bits) == Dated(expected, 1)
    spans = [(0, 1_700_000_000_124), ODD_DATES]
    found = cluster.dated(of, "updated_at", spans, 0)
    # A document within the span counts by all of its dates, so the other one is told as well.
    assert found == Dated({1_700_000_000_123: 2, 1_600_000_000_000: 1, -1: 3}, 0)
    assert cluster.dated(of, "updated_at", [ODD_DATES], bits) == Dated({-1: 3}, 0)


def test_documents_are_listed_by_spans_of_time(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """Many spans at once, odd dates, and those without a date."""
    dates(raw, index, {"type": "date"}, ODD)
    of = cluster.resolve(index, "w")
    assert listed(cluster, of, [ODD_DATES]) == {name: STAMPS[name] for name in "235"}
    assert listed(cluster, of, [], without=True) == {"4": None}
    many = [(n << 10, (n + 1) << 10) for n in range(900)]
    assert listed(cluster, of, [*many, (1_700_000_000_124, 1_700_000_000_125)]) == {"1": STAMPS["1"]}
    assert listed(cluster, of, many) == {}


@pytest.mark.parametrize("engine", ["es7", "es8", "es9", "os2", "os3"], indirect=True)
def test_nanoseconds_are_counted_as_milliseconds(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """`date_nanos` counts and lists like any date."""
    dates(raw, index, {"type": "date_nanos"}, ["2026-01-01T00:00:00.123456789Z", "2025-01-01T00:00:00Z"])
    of = cluster.resolve(index, "w")
    stamps = {"0": 1_767_225_600_123, "1": 1_735_689_600_000}
    assert listed(cluster, of, [(0, 1 << 42), ODD_DATES]) == stamps
    pages = cluster.everything(of, source=True, size=3, field="updated_at")
    assert {doc.key.id: doc.stamp for page in pages for doc in page.docs} == stamps
    assert cluster.dated(of, "updated_at", None, 0) == Dated(dict.fromkeys(stamps.values(), 1), 0)
    assert cluster.dated(of, "updated_at", None, 32) == Dated(Counter(stamp >> 32 for stamp in stamps.values()), 0)


@pytest.mark.parametrize("engine", ["es7", "es8", "es9", "os2", "os3"], indirect=True)
def test_dates_and_nanoseconds_behind_one_pattern_are_in_order(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """A backfill that is stopped in the middle goes on from the last date, so none may come late."""
    dates(raw, f"{index}-a", {"type": "date"}, ["2024-01-01T00:00:00Z", "2024-03-01T00:00:00Z"])
    nanoseconds = ["2024-02-01T00:00:00.123456789Z", "2023-02-01T00:00:00Z"]
    dates(raw, f"{index}-b", {"type": "date_nanos"}, nanoseconds)
    raw.create(f"{index}-c")
    raw.fill(f"{index}-c", 2)
    of = cluster.resolve(f"{index}-*", "w")
    stamps = [1_675_209_600_000, 1_704_067_200_000, 1_706_745_600_123, 1_709_251_200_000]
    for size in (10, 1):
        pages = list(cluster.window(of, "updated_at", 0, size))
        assert [doc.stamp for page in pages for doc in page.docs] == stamps
    assert cluster.newest(f"{index}-*", "updated_at") == stamps[-1]
    assert cluster.dated(of, "updated_at", None, 0) == Dated(dict.fromkeys(stamps, 1), 2)


def test_a_lookup_tells_what_another_document_took_the_place_of(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """In one shard, two routings of an id are one place."""
    raw.create(index)
    raw.put(index, "a", {"n": 1}, routing="one")
    of = cluster.resolve(index, "w")
    raw.put(index, "a", {"n": 2}, routing="two")
    raw.refresh(index)
    uuid = of.indices[0].uuid
    ((doc,),) = [page.docs for page in cluster.everything(of, source=False, size=5)]
    wanted = [(uuid, doc.key._replace(routing=routing)) for routing in ("one", "two")]
    taken, there = cluster.lookup(of, wanted)
    assert taken is not None
    assert (taken.key, taken.version) == (wanted[0][1], TAKEN)
    assert there is not None
    assert there.key == doc.key
    assert [one.key for one in cluster.shown(of, [key for _, key in wanted], source=False)] == [doc.key]


@pytest.mark.parametrize("engine", ["es7", "es8", "es9", "os2", "os3"], indirect=True)
@pytest.mark.parametrize("window", [10_000, 3])
def test_several_shards_in_one_request(raw: Raw, cluster: EngineCluster, index: str, window: int) -> None:
    """Each shard has what it has alone, also if it returns fewer documents at once than are asked for."""
    raw.create(index, settings={"number_of_shards": 3, "index.max_result_window": window})
    raw.fill(index, 40)
    of, now = cluster.resolve(index, "w"), cluster.counters(index)
    copies = [Shard(index, number, now.shards[f"{index}/{number}"].node) for number in range(3)]
    for bits, spans in ((0, [(0, 1 << 40)]), (2, [(3, 9), (11, 12)]), (20, [(0, 1 << 40)])):
        alone = {shard: cluster.histograms(of, {shard: spans}, bits)[shard] for shard in copies}
        assert cluster.histograms(of, dict.fromkeys(copies, spans), bits) == alone
    assert sum(alone[shard][0] for shard in copies) == 40
    keys = [Key(raw.kind if raw.typed else "_doc", str(n)) for n in range(60)]
    apart = [doc for shard in copies for doc in cluster.shown(of, keys, False, shard)]
    together = cluster.shown_by_shard(of, dict.fromkeys(copies, keys))
    assert sorted(together, key=repr) == sorted(apart, key=repr)
    assert {doc.key for doc in together} == set(keys[:40])
    assert cluster.shown_by_shard(of, {copies[0]: []}) == cluster.shown_by_shard(of, {}) == []
