"""Each fact of the dialect table, held against the real engine; and ids, routings and parents of every odd kind."""

from __future__ import annotations

import itertools
import json
import threading

import pytest

from esfeed.cluster.adapter import EngineCluster
from esfeed.cluster.client import Client
from esfeed.errors import ClusterError
from esfeed.model.event import UNTYPED, Document, Key
from esfeed.model.reads import TAKEN, Resolved
from tests.support.clients import Raw, Refused

ODD = [
    "plain",
    "a/b",
    "/",
    "a b",
    " ",
    "50%",
    "%2F",
    "a+b",
    "😀",
    "e\u0301",
    "\u00e9",
    'quo"te',
    "apos'trophe",
    "back\\slash",
    "?q=1&r",
    "#frag",
    "..",
    "../x",
    "_all",
    "a,b",
    "*",
    "[0]",
    "line\nfeed",
    "tab\t",
    "\x01\x1f",
    "\x7f",
    "\u2028",
    "\ufeff",
    "x" * 512,
    "😀" * 128,
    "0",
    "-1",
    "null",
    "{}",
]


def all_docs(cluster: EngineCluster, of: Resolved) -> list[Document]:
    return [doc for page in cluster.everything(of, source=True, size=1000) for doc in page.docs]


Found = list[tuple[Key, int, str | None] | None]


def looked_up(cluster: EngineCluster, of: Resolved, docs: list[Document]) -> Found:
    """(key, version, parent) of each of ``docs`` that a lookup has, the same one in its place."""
    found = cluster.lookup(of, [(doc.uuid, doc.key) for doc in docs])
    assert all(doc is None or doc.source is None for doc in found)
    return [doc and (doc.key, doc.version, doc.parent) for doc in found]


def told(docs: list[Document]) -> Found:
    return [(doc.key, doc.version, doc.parent) for doc in docs]


def shown(cluster: EngineCluster, of: Resolved, docs: list[Document]) -> list[Document]:
    """What a search shows of ``docs``, in their order."""
    found = {doc.key: doc for doc in cluster.shown(of, {doc.key for doc in docs}, source=True)}
    return [found[doc.key] for doc in docs]


def test_types(raw: Raw, client: Client, cluster: EngineCluster, index: str) -> None:
    """`typed`: the engine names the type, and cannot look up without it; else every document is a `_doc`."""
    raw.kind = "OS::Nova::Server"
    raw.create(index, {"n": {"type": "integer"}})
    raw.put(index, "1", {"n": 1})
    raw.refresh(index)
    (doc,) = all_docs(cluster, cluster.resolve(index, "w"))
    assert client.dialect.typed is raw.typed
    assert doc.key.type == ("OS::Nova::Server" if raw.typed else UNTYPED)


@pytest.mark.parametrize("engine", ["es2", "es5"], indirect=True)
def test_equal_ids_of_two_types_are_two_documents(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """Where an index has several types, each has ids of its own."""
    types = ("OS::Nova::Server", "OS::Glance::Image")
    raw.create(index)
    for kind in types:
        raw.put(index, "1", {"kind": kind}, type=kind)
    raw.refresh(index)
    of = cluster.resolve(index, "w")
    docs = all_docs(cluster, of)
    assert {doc.key.type for doc in docs} == set(types)
    assert looked_up(cluster, of, docs) == told(docs)
    assert all(json.loads(doc.source or b"")["kind"] == doc.key.type for doc in docs)


@pytest.mark.parametrize("engine", ["es7"], indirect=True)
def test_a_type_of_old_on_7(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """An index on 7.x that still has a type of its own can be read and looked up."""
    raw.call(
        "PUT", f"/{index}", {"mappings": {"old": {"properties": {"n": {"type": "integer"}}}}}, include_type_name="true"
    )
    raw.call("PUT", f"/{index}/old/1", {"n": 1}, refresh="true")
    of = cluster.resolve(index, "w")
    docs = all_docs(cluster, of)
    assert len(docs) == 1
    assert looked_up(cluster, of, docs) == told(docs)
    assert cluster.field_types(index) == {"n": "integer"}


def test_sequence_numbers(raw: Raw, client: Client, cluster: EngineCluster, index: str) -> None:
    """`seq_no`: searches and lookups tell the same number where the engine has one, and none elsewhere."""
    raw.create(index, {"n": {"type": "integer"}})
    raw.fill(index, 3)
    of = cluster.resolve(index, "w")
    docs = all_docs(cluster, of)
    assert sorted(doc.seq_no or 0 for doc in docs) == ([0, 1, 2] if client.dialect.seq_no else [0, 0, 0])
    assert all((doc.seq_no is not None) is client.dialect.seq_no for doc in docs)
    assert looked_up(cluster, of, docs) == told(docs)
    assert shown(cluster, of, docs) == docs
    if client.dialect.seq_no:
        found = cluster.lookup(of, [(doc.uuid, doc.key) for doc in docs])
        assert [doc and doc.seq_no for doc in found] == [doc.seq_no for doc in docs]


def test_sequence_numbers_under_a_writer(raw: Raw, client: Client, cluster: EngineCluster, index: str) -> None:
    """What becomes visible while it is tried must not look like a document without a number."""
    if not client.dialect.seq_no:
        pytest.skip("there are none")
    raw.create(index, {"n": {"type": "integer"}}, {"number_of_shards": 2})
    of, over = cluster.resolve(index, "w"), threading.Event()

    def write() -> None:
        for start in itertools.takewhile(lambda _: not over.is_set(), itertools.count(step=20)):
            raw.bulk(index, [({"index": {"_id": str(start + n)}}, {"n": n}) for n in range(20)], refresh="true")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert {cluster.without_seq_no(of) for _ in range(50)} == {""}
    finally:
        over.set()
        writer.join()


def test_totals_are_exact(raw: Raw, client: Client, index: str) -> None:
    """A search counts all hits, beyond the 10,000 that newer engines stop at when not asked."""
    raw.create(index, {"n": {"type": "integer"}})
    raw.fill(index, 10_001)
    assert client.search(index, {"size": 1, **client.versions()}).total == 10_001


def test_external_versions(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """Searchlight's 18-digit versions come back to the digit, up to the largest."""
    raw.create(index, {"n": {"type": "integer"}})
    versions = [1, 2**53 + 1, 179081280_123456789, 2**63 - 1]
    for n, version in enumerate(versions):
        raw.put(index, str(n), {"n": n}, version=version, version_type="external")
    raw.refresh(index)
    of = cluster.resolve(index, "w")
    docs = sorted(all_docs(cluster, of), key=lambda doc: doc.key.id)
    assert [doc.version for doc in docs] == versions
    assert looked_up(cluster, of, docs) == told(docs)
    raw.put(index, "1", {"n": 1}, version=2**53 + 2, version_type="external")
    with pytest.raises(Refused):
        raw.put(index, "1", {"n": 1}, version=2**53 + 1, version_type="external")


def test_odd_ids(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """Slashes, spaces, percent signs, emoji, control characters, 512 bytes: read, paged and looked up as they are."""
    raw.create(index, {"updated_at": {"type": "date"}, "is": {"type": "object", "enabled": False}})
    stamp = "2026-10-01T10:00:00Z"
    raw.bulk(index, [({"index": {"_id": id}}, {"updated_at": stamp, "is": {"id": id}}) for id in ODD], refresh="true")
    of = cluster.resolve(index, "w")
    docs = all_docs(cluster, of)
    assert sorted(doc.key.id for doc in docs) == sorted(ODD)
    assert all(json.loads(doc.source or b"")["is"]["id"] == doc.key.id for doc in docs)
    assert looked_up(cluster, of, docs) == told(docs)
    assert shown(cluster, of, docs) == docs
    windowed = [doc for page in cluster.window(of, "updated_at", 0, 7) for doc in page.docs]
    assert sorted(doc.key.id for doc in windowed) == sorted(ODD)


def test_odd_routings(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """A document is found by the routing that it was written with, whatever that is; and by no other."""
    raw.create(index, {"n": {"type": "integer"}}, {"number_of_shards": 5})
    routings = [id for id in ODD if id.strip()]
    actions = [
        ({"index": {"_id": f"r{n}", **raw._named({"routing": text})}}, {"n": n}) for n, text in enumerate(routings)
    ]
    raw.bulk(index, actions, refresh="true")
    of = cluster.resolve(index, "w")
    docs = all_docs(cluster, of)
    assert {doc.key.id: doc.key.routing for doc in docs} == {f"r{n}": text for n, text in enumerate(routings)}
    assert looked_up(cluster, of, docs) == told(docs)
    assert shown(cluster, of, docs) == docs
    wrong = [(doc.uuid, doc.key._replace(routing="elsewhere")) for doc in docs]
    # By chance "elsewhere" leads to the shard of some of them: then another document is found there, not this one.
    assert {doc and doc.version for doc in cluster.lookup(of, wrong)} <= {None, TAKEN}
    assert cluster.shown(of, {key for _, key in wrong}, source=False) == []


def test_equal_ids_under_two_routings_are_two_documents(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """One id on several shards: each is read, and looked up, as itself; a delete under one leaves the others."""
    raw.create(index, {"n": {"type": "integer"}}, {"number_of_shards": 5})
    for n in range(10):
        raw.put(index, "same", {"n": n}, routing=f"r{n}")
    raw.refresh(index)
    of = cluster.resolve(index, "w")
    docs = all_docs(cluster, of)
    assert len(docs) > 1
    assert len({doc.key for doc in docs}) == len(docs)
    assert looked_up(cluster, of, docs) == told(docs)
    assert shown(cluster, of, docs) == docs
    assert cluster.shown(of, {docs[0].key}, source=True) == docs[:1]
    raw.delete(index, "same", routing=docs[0].key.routing)
    assert [doc is None for doc in looked_up(cluster, of, docs)] == [True, *[False] * (len(docs) - 1)]


@pytest.mark.parametrize("engine", ["es2", "es5"], indirect=True)
def test_parents_and_children(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """A child tells its parent, which is its routing unless it has one of its own; both kinds are looked up."""
    raw.create(
        index, mappings={"parent": {}, "child": {"_parent": {"type": "parent"}}}, settings={"number_of_shards": 5}
    )
    for n in range(5):
        raw.put(index, f"p{n}", {"n": n}, type="parent")
        raw.put(index, f"c{n}", {"n": n}, type="child", parent=f"p{n}")
        raw.put(index, f"d{n}", {"n": n}, type="child", parent=f"p{n}", routing="own")
    raw.refresh(index)
    of = cluster.resolve(index, "w")
    docs = {doc.key.id: doc for doc in all_docs(cluster, of)}
    assert len(docs) == 15
    for n in range(5):
        assert (docs[f"p{n}"].parent, docs[f"p{n}"].key.routing) == (None, None)
        assert (docs[f"c{n}"].parent, docs[f"c{n}"].key.routing) == (f"p{n}", f"p{n}")
        assert (docs[f"d{n}"].parent, docs[f"d{n}"].key.routing) == (f"p{n}", "own")
    assert looked_up(cluster, of, list(docs.values())) == told(list(docs.values()))
    assert shown(cluster, of, list(docs.values())) == list(docs.values())


def test_a_content_without_source(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """Where `_source` is switched off, documents are read all the same; their content is none."""
    body = {"_source": {"enabled": False}, "properties": {"n": {"type": "integer"}}}
    raw.create(index, mappings={raw.kind: body} if raw.typed else body)
    raw.fill(index, 2)
    of = cluster.resolve(index, "w")
    docs = all_docs(cluster, of)
    assert [(doc.source, doc.version) for doc in docs] == [(None, 1)] * 2
    assert looked_up(cluster, of, docs) == told(docs)
    assert shown(cluster, of, docs) == docs


@pytest.mark.parametrize("engine", ["es2"], indirect=True)
def test_a_number_that_2x_cannot_look_up(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """2.x cannot give a number beyond 64 bits before a refresh: it only says that the document is there."""
    raw.create(index, {"z": {"type": "object", "enabled": False}}, {"refresh_interval": "-1"})
    raw.put(index, "old", {"z": 1})
    raw.refresh(index)
    of = cluster.resolve(index, "w")
    (doc,) = all_docs(cluster, of)
    raw.put(index, "old", b'{"z": 12345678901234567890123}')
    (there,) = cluster.lookup(of, [(doc.uuid, doc.key)])
    assert there is not None
    assert there.version != doc.version


def test_half_of_a_surrogate_pair(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """A cut emoji, which engines keep but no text can hold, becomes U+FFFD; the rest of the page is as it was."""
    mapping = {"properties": {"z": {"type": "object", "enabled": False}}}
    raw.create(index, mappings={raw.kind: mapping} if raw.typed else mapping)
    written = {
        "cut": rb'{"z": {"a":"x\ud83d","b":"\uDE00\ud83d\u0041"}}',
        "whole": rb'{"z": {"a":"\ud83d\ude00","b":"\\ud83d","c":1.10}}',
    }
    for id, source in written.items():
        raw.put(index, id, source)
    raw.refresh(index)
    of = cluster.resolve(index, "w")
    docs = {doc.key.id: doc for doc in all_docs(cluster, of)}
    assert docs["cut"].source == rb'{"z": {"a":"x\ufffd","b":"\ufffd\ufffd\u0041"}}'
    assert docs["whole"].source == written["whole"]
    assert shown(cluster, of, list(docs.values())) == list(docs.values())


@pytest.mark.parametrize("engine", ["es2", "es7"], indirect=True)
def test_a_document_nested_beyond_reason(raw: Raw, cluster: EngineCluster, index: str) -> None:
    """900 levels are read as they are; 20,000 are an error with a hint, and no crash."""
    mapping = {"properties": {"z": {"type": "object", "enabled": False}}}
    raw.create(index, mappings={raw.kind: mapping} if raw.typed else mapping)
    source = b'{"z":' + b'{"a":' * 900 + b"1" + b"}" * 901
    raw.put(index, "1", source)
    raw.refresh(index)
    of = cluster.resolve(index, "w")
    assert [doc.source for doc in all_docs(cluster, of)] == [source]
    raw.put(index, "2", b'{"z":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001)
    raw.refresh(index)
    with pytest.raises(ClusterError, match="nested too deep"):
        all_docs(cluster, of)


def test_the_preferred_copy(raw: Raw, client: Client, index: str) -> None:
    """`preference`: the engine takes it, in a search and a scroll."""
    raw.create(index, {"n": {"type": "integer"}})
    raw.fill(index, 3)
    assert client.search(index, {"size": 0, **client.versions()}).total == 3
    assert sum(len(page.hits.hits) for page in client.scroll(index, {"size": 2, **client.versions()})) == 3
