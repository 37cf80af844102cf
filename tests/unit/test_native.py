"""The native part does what the Python code does, to the byte, or leaves it to that."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from esfeed import native
from esfeed.changes.events import EventFactory
from esfeed.changes.profiles.plain import PlainProfile
from esfeed.cluster.responses import PackedResponse, SearchResponse, document, packed, page
from esfeed.errors import ClusterError
from esfeed.model.event import Document
from esfeed.model.reads import Kind, Unread

built = pytest.mark.skipif(native.hits is None, reason="the native part is not built: there is no Rust compiler")
_FIELD = "updated_at"
_PLACES = {"i-1": ("uuid/1", None), "i-2": ("uuid%2", "i-2"), "é": ("uuid-3", None)}


class _Clock:
    def now(self) -> datetime:
        return datetime(2026, 11, 24, 10, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


def test_it_is_there_where_it_can_be_built() -> None:
    if shutil.which("cargo") and os.environ.get("ESFEED_NATIVE") != "0":
        assert native.hits is not None, "run `pip install -e .` again"


def test_it_can_be_left_out() -> None:
    code = "import esfeed.native; print(esfeed.native.hits)"
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ESFEED_NATIVE": "0"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert told.stdout == "None\n"


_TEXT = st.text(max_size=4) | st.sampled_from(["a", 'q"', "\\", "é", "%d", "\u2028", "\x7f", "😀"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT | st.just(_FIELD), inner, max_size=3),
    max_leaves=6,
)
_DATES = st.sampled_from(["2026-11-24T10:00:00Z", "2026", "", 'a"b', "é", 1764000000000, 1.5, None, ["2026"], {"a": 1}])
_SOURCES = st.dictionaries(_TEXT, _JSON, max_size=3).flatmap(
    lambda rest: st.one_of(st.just(rest), _DATES.map(lambda date: {**rest, _FIELD: date}))
)
_HITS = st.fixed_dictionaries(
    {
        "_index": st.sampled_from([*_PLACES]),
        "_id": st.text(max_size=5) | st.sampled_from(["doc-1", "a b", "%s", 'a"b', "a\\b"]),
        "_source": _SOURCES,
    },
    optional={
        "_type": st.sampled_from(["_doc", "OS::Nova::Server", 'a"b']),
        "_version": st.integers(-(2**63), 2**63 - 1),
        "_seq_no": st.none() | st.integers(0, 2**53),
        "_routing": st.sampled_from(["r", None]),
        "_parent": st.just("p"),
        "sort": st.just([7]),
        "_score": st.none(),
        "_ignored": st.just(["x"]),
    },
)
_WAYS: Any = st.sampled_from([{}, {"indent": 1}, {"ensure_ascii": False}, {"separators": (",", ":")}])


def _answer(hits: list[dict[str, Any]], **way: Any) -> bytes:
    shards = {"total": 2, "successful": 2, "failed": 0}
    whole = {"_scroll_id": "x==", "took": 1, "timed_out": False, "_shards": shards}
    whole["hits"] = {"total": {"value": len(hits) + 5}, "max_score": None, "hits": hits}
    return json.dumps(whole, **way).encode()


def _documents(raw: bytes) -> list[Document]:
    return [document(hit, *_PLACES[hit.index]) for hit in page(raw).hits.hits]


@built
@given(hits=st.lists(_HITS, max_size=4), way=_WAYS, first=st.integers(1, 2**53))
@example(hits=[{"_index": "i-1", "_id": "a", "_source": {"text": "a\nb", "n": 2**80}}], way={"indent": 1}, first=1)
@settings(max_examples=600, deadline=None)
def test_lines_are_the_same(hits: list[dict[str, Any]], way: dict[str, Any], first: int) -> None:
    raw = _answer(hits, **way)
    event_factory = EventFactory("w/%d é", "main", _FIELD, PlainProfile(), _Clock())
    answer = packed(raw, _FIELD)
    plain, docs = page(raw), _documents(raw)
    assert (answer.total, answer.count, answer.scroll_id) == (plain.total, plain.count, plain.scroll_id)
    assert answer.shards == plain.shards
    if isinstance(answer, PackedResponse):
        kinds = [Kind(kind or "_doc", index, *_PLACES[index]) for index, kind in answer.found.kinds]
        unread = Unread(answer.found, kinds, _FIELD, lambda: docs)
        assert unread.hits.octets == sum(len(doc.source or b"") for doc in docs)
        assert [*(event_factory.lines(unread, first) or ())] == event_factory.lines(docs, first)
        assert [*unread] == docs
        assert answer.opened().hits == plain.hits


@built
@pytest.mark.parametrize(
    "hit",
    [
        {"_id": "doc-1", "_version": 7, "_seq_no": 3},
        {"_id": "doc-1", "_type": "server", "_version": 7},
        {"_id": "100% sure", "_routing": None},
    ],
)
@pytest.mark.parametrize("source", [{}, {_FIELD: None}, {_FIELD: "2026"}, {_FIELD: "2026", "x": [{_FIELD: 7}, "\\"]}])
def test_plain_hits_are_taken(hit: dict[str, Any], source: dict[str, Any]) -> None:
    answer = packed(_answer([{"_index": "i-1", "_source": source, **hit}]), _FIELD)
    assert isinstance(answer, PackedResponse)
    assert answer.count == 1


@built
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(_answer([{"_index": "i-1", "_id": "a", "_routing": "r", "_source": {}}]), id="routing"),
        pytest.param(_answer([{"_index": "i-1", "_id": "a", "_parent": "p", "_source": {}}]), id="parent"),
        pytest.param(_answer([{"_index": "i-1", "_id": 'a"b', "_source": {}}]), id="quote in the id"),
        pytest.param(_answer([{"_index": "i-1", "_id": "é", "_source": {}}], ensure_ascii=False), id="letters"),
        pytest.param(_answer([{"_index": "i-1", "_id": "a", "_source": {_FIELD: 7}}]), id="number for a date"),
        pytest.param(_answer([{"_index": "i-1", "_id": "a", "_source": {"x": "\ud83d"}}]), id="half a pair"),
        pytest.param(_answer([{"_index": "i-1", "_id": "a"}]), id="no content"),
        pytest.param(_answer([{"_index": "i-1", "_id": "a", "_source": None}]), id="null for content"),
        pytest.param(_answer([{"_index": "i-1", "_id": "a", "_source": {}, "_version": 2**64}]), id="large version"),
    ],
)
def test_what_is_not_plain_is_read_by_python(raw: bytes) -> None:
    answer = packed(raw, _FIELD)
    assert not isinstance(answer, PackedResponse)
    assert answer.count == 1


@built
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"<html>",
        b'{"timed_out":false,"hits":{"hits":[]}',
        b'{"timed_out":false,"hits":{"hits":[]}} x',
        b'{"timed_out":false,"hits":{"total":0}}',
        b'{"timed_out":false,"hits":{"hits":[{"_index":"i","_id":"a","_source":{"x":"\xff"}}]}}',
        b'{"timed_out":false,"hits":{"hits":[{"_index":"i","_id":"a","_source":{"x":}}]}}',
        _answer([{"_index": "i-1", "_id": "a", "_source": {"x": 1}}])[:-20],
    ],
)
def test_no_answer_is_told_as_python_does(raw: bytes) -> None:
    with pytest.raises(ClusterError, match="truncated"):
        packed(raw, _FIELD)


def _count(read: Callable[[bytes], SearchResponse], raw: bytes) -> int | None:
    try:
        return read(raw).count
    except ClusterError:
        return None


@built
@given(raw=st.binary(max_size=60), at=st.integers(0, 400), octets=st.binary(max_size=4))
@settings(max_examples=400, deadline=None)
def test_of_whatever_comes_both_say_the_same(raw: bytes, at: int, octets: bytes) -> None:
    sound = _answer([{"_index": "i-1", "_id": "a", "_version": 1, "_source": {"x": ["y", 1], _FIELD: "2026"}}] * 2)
    for hostile in (raw, sound[:at] + octets + sound[at + len(octets) :], sound[:at] + octets):
        assert _count(lambda raw: packed(raw, _FIELD), hostile) == _count(page, hostile)


@built
def test_forms_have_to_fit() -> None:
    answer = packed(_answer([{"_index": "i-1", "_id": "a", "_source": {}}]), _FIELD)
    assert isinstance(answer, PackedResponse)
    for forms in ([], [([b""], [b""] * 10)], [([b""] * 3, [b""] * 9)], [([b""] * 3, [b""] * 10)] * 2):
        with pytest.raises(ValueError, match=r"form|pieces"):
            answer.found.lines(forms, 1, b"")
