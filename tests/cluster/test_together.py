"""The counters of many watches in one request: each as if it had asked alone, and no harm done by one to another."""

from __future__ import annotations

import time
from typing import Any

import pytest

from esfeed.cluster import adapter, together
from esfeed.cluster.adapter import EngineCluster
from esfeed.cluster.client import Client
from esfeed.cluster.connection import Connection
from esfeed.cluster.link import Link
from esfeed.cluster.lots import encoded
from esfeed.cluster.stats import read_each, read_stats
from esfeed.cluster.together import SharedAnswer, SharedCounters
from esfeed.errors import ClusterError
from esfeed.model.reads import Resolved, StatsSnapshot
from esfeed.ports import COUNTERS_AGE
from tests.cluster.test_odd_answers import Answering
from tests.support.clients import Raw
from tests.support.engines import Engine
from tests.support.proxy import Proxy, answer, cut_before

ONE, TWO = StatsSnapshot({}, {"one": "1"}), StatsSnapshot({}, {"two": "2"})


def copy(primary: bool = True, state: str = "STARTED") -> dict[str, Any]:
    return {"routing": {"state": state, "primary": primary, "node": "n"}, "docs": {"count": 3}}


def test_what_is_not_whole_is_left_out() -> None:
    """Not there, red, its shards gone or failed: that one asks by itself, the others have theirs."""
    there = {name: {"uuid": name, "shards": {"0": [copy()]}} for name in ("well", "failed")}
    red = {"uuid": "r", "shards": {"0": [copy(state="INITIALIZING")], "1": [copy()]}}
    bare = {"uuid": "b", "shards": {}}
    head = {"total": 9, "failed": 1, "failures": [{"shard": 0, "index": "failed", "reason": {}}]}
    client: Any = Answering({"_shards": head, "indices": {**there, "red": red, "bare": bare}})
    found = read_each(client, ["gone", "red", "well", "failed", "bare"])
    assert {name: (one.docs, one.indices) for name, one in found.items()} == {"well": (3, {"well": "well"})}


@pytest.mark.parametrize("failures", [[], [{"shard": 0, "reason": {}}]])
def test_where_it_is_not_said_which_failed_none_counts(failures: list[Any]) -> None:
    """Any of them may be the one."""
    head = {"total": 2, "failed": 1, "failures": failures}
    client: Any = Answering({"_shards": head, "indices": {"well": {"shards": {"0": [copy()]}}}})
    assert read_each(client, ["well"]) == {}


def test_an_answer_is_handed_once_and_only_while_it_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the name it is of; its cost is the watch's that has to bear it."""
    monkeypatch.setattr(adapter, "read_stats", lambda client, name: TWO)
    cluster, now = EngineCluster(Connection("main", ["http://127.0.0.1:9"])), time.monotonic()
    cluster.hand(SharedAnswer("one", ONE, now, 1, 700))
    assert [cluster.counters("one"), cluster.counters("one")] == [ONE, TWO]
    assert cluster.meter.totals() == (1, 700)
    cluster.hand(SharedAnswer("one", ONE, now))
    assert [cluster.counters("two"), cluster.counters("one")] == [TWO, TWO]
    cluster.hand(SharedAnswer("one", ONE, now - COUNTERS_AGE - 1))
    assert cluster.counters("one") == TWO
    cluster.hand(SharedAnswer("one", ONE, now))
    cluster.hand(None)
    assert cluster.counters("one") == TWO
    cluster.hand(SharedAnswer("one", ClusterError("nobody answers"), now))
    with pytest.raises(ClusterError, match="nobody answers"):
        cluster.counters("one")
    assert cluster.counters("one") == TWO
    cluster.close()


def test_that_documents_have_numbers_is_handed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the counters, and for their name only; otherwise the watch searches by itself."""
    monkeypatch.setattr("esfeed.cluster.adapter.shards.without_seq_no", lambda client, of: f"searched {of.name}")
    monkeypatch.setattr(adapter, "read_stats", lambda client, name: TWO)
    cluster = EngineCluster(Connection("main", ["http://127.0.0.1:9"]))
    one, two = Resolved("one", False, ()), Resolved("two", False, ())

    def handed(numbered: bool) -> None:
        cluster.hand(SharedAnswer("one", ONE, time.monotonic(), numbered=numbered))
        cluster.counters("one")

    handed(True)
    assert [cluster.without_seq_no(one), cluster.without_seq_no(one)] == ["", "searched one"]
    handed(True)
    assert cluster.without_seq_no(two) == "searched two"
    handed(True)
    cluster.counters("one")
    assert cluster.without_seq_no(one) == "searched one"
    handed(False)
    assert cluster.without_seq_no(one) == "searched one"
    cluster.close()


def test_lots_are_as_long_as_a_url_takes() -> None:
    """Every name once, in order."""
    link: Any = None
    asked = SharedCounters(Connection("main", ["http://127.0.0.1:9"]), link)
    names = [f"some-index-{number:04}-é" for number in range(500)]
    lots = asked.lots(names)
    assert [name for lot in lots for name in lot] == names
    assert max(sum(len(encoded(name)) + 1 for name in lot) for lot in lots) <= together.LONGEST
    assert len(lots) == 4
    assert asked.lots(["x" * 5000, "y"]) == [["x" * 5000], ["y"]]


@pytest.fixture
def asked(proxy: Proxy) -> SharedCounters:
    """Asks through the proxy."""
    reach = Connection("main", [proxy.url], tries=2)
    return SharedCounters(reach, Link(reach), lambda seconds: None)


def test_each_has_what_it_would_be_told_alone(raw: Raw, index: str, proxy: Proxy, asked: SharedCounters) -> None:
    """One request; an alias, one that is closed and one that is gone are left to ask by themselves, from then on."""
    names = [f"{index}-{number}" for number in range(4)]
    for name in names:
        raw.create(name, settings={"number_of_shards": 2})
        raw.fill(name, 3)
    raw.alias(names[0], f"{index}-alias")
    raw.call("POST", f"/{names[3]}/_close")
    wanted = [*names, f"{index}-gone", f"{index}-alias"]
    assert all(map(asked.may_share, wanted))
    found = {one.name: one for one in asked.read(wanted)}
    assert sorted(found) == names[:3]
    if raw.engine.name in ("es2", "es5"):  # what engine this is, and for 2.x the recoveries, before the counters
        assert len(proxy.lines()) == (4 if raw.engine.name == "es2" else 2)
        asked.read(wanted)
        assert len(proxy.lines()) == (6 if raw.engine.name == "es2" else 3)
    else:
        assert len(proxy.lines()) == len(proxy.lines("_stats")) == 1
    assert [asked.may_share(name) for name in wanted] == [True, True, True, False, False, False]
    cluster = EngineCluster(Connection("main", [raw.engine.url]))
    for name in names[:3]:
        assert found[name].answer == cluster.counters(name)
    assert [one.requests > 0 for one in found.values()] == [True, False, False]
    for one in asked.read(names[:3], anew=True):
        resolved = cluster.resolve(one.name, "w")
        assert one.behind == (resolved, cluster.uuid())
        assert one.numbered == (not cluster.without_seq_no(resolved))
    assert len(proxy.lines("_search")) == int(one.numbered)
    cluster.close()


def test_a_refusal_is_left_to_each_and_silence_is_told_to_all(
    raw: Raw, index: str, proxy: Proxy, asked: SharedCounters
) -> None:
    """A cluster that is dead is not asked a thousand times; one that may be slow is asked for less at once."""
    raw.create(index)
    proxy.on("_stats", answer(503), times=2)
    assert asked.read([index, "other"]) == []
    proxy.on("_stats", cut_before(), times=2)
    found = asked.read([index, "other"])
    assert [one.name for one in found] == [index, "other"]
    assert all(isinstance(one.answer, ClusterError) and "cannot be reached" in str(one.answer) for one in found)
    many = [f"index-{number:04}" for number in range(300)]
    assert len(asked.lots(many)) == 2
    found = asked.read([index])
    assert isinstance(found[0].answer, StatsSnapshot)
    assert len(asked.lots(many)) == 1


def test_one_index_that_may_not_be_read_is_no_fault_of_others(secured: Engine) -> None:
    """Its own watch is told what to grant."""
    raw = Raw(secured)
    for name in ("qa-together-mine", "qa-together-theirs"):
        raw.create(name)
    try:
        roles = {"r": {"cluster": ["monitor"], "indices": [{"names": ["qa-together-mine"], "privileges": ["all"]}]}}
        key = raw.call("POST", "/_security/api_key", {"name": "qa", "role_descriptors": roles})["encoded"]
        reach = Connection("main", [secured.url], api_key=key, ca_certs=secured.ca_certs)
        link = Link(reach)
        found = SharedCounters(reach, link).read(["qa-together-mine", "qa-together-theirs"])
        assert [one.name for one in found] == ["qa-together-mine"]
        with pytest.raises(ClusterError, match="grant"):
            read_stats(Client(reach, link=link), "qa-together-theirs")
        link.close()
    finally:
        raw.drop("qa-together-")
