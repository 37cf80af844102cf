"""What a watch cannot see any more is not gone: lost privileges, hidden, blocked and red indices, other clusters.

Each of these is an error that names the index, and tells no delete; and once it is in sight again, all is as it was.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from esfeed.config.load import build
from esfeed.errors import ClusterError, NameGone
from esfeed.ports import Checkpoint, Commit
from esfeed.runtime.factory import App
from tests.engines.test_moves import switch, told
from tests.engines.test_oracle import Feed
from tests.support.clients import Raw
from tests.support.engines import Engine
from tests.support.proxy import Proxy, answer, rewrite

pytestmark = pytest.mark.engines

ALL = ["read", "view_index_metadata", "monitor"]
HIDING = ["es8", "es9", "os3"]


def fill(raw: Raw, *indices: str, **aliases: str) -> None:
    """Three documents in each; ids are the end of the index's name and a number."""
    for index in indices:
        raw.create(index)
        end = index.rpartition("-")[2]
        raw.bulk(index, [({"index": {"_id": f"{end}{n}"}}, {"v": n}) for n in range(3)], refresh="true")


def ops(op: str, *ends: str) -> list[tuple[str, str]]:
    return [(op, f"{end}{n}") for end in sorted(ends) for n in range(3)]


def stays(feed: Feed, *said: str) -> ClusterError:
    """Two polls fail, say that, and tell nothing."""
    for _ in range(2):
        with pytest.raises(ClusterError) as caught:
            feed.poll()
        assert feed.new() == []
        for text in said:
            assert text in str(caught.value)
    return caught.value


def poll(feed: Feed) -> str:
    """One poll, and the error that it fails with; empty where it does not."""
    try:
        feed.app.runner.poll("w")
    except ClusterError as error:
        return str(error)
    return ""


@pytest.fixture
def follow(raw: Raw, tmp_path: Path) -> Iterator[Callable[..., Feed]]:
    """Makes a feed on a name of this engine."""
    made: list[Feed] = []

    def on(name: str, url: str = "", **watch: Any) -> Feed:
        watch.setdefault("timestamp_field", "")
        made.append(Feed(url or raw.engine.url, name, tmp_path, tries=1, **watch))
        return made[-1]

    yield on
    for feed in made:
        feed.close()


@pytest.fixture
def blocked(raw: Raw, index: str) -> Iterator[Callable[[str, str], None]]:
    """Blocks an index; nobody else could delete it until that is taken back."""
    made: list[tuple[str, str]] = []

    def block(name: str, what: str) -> None:
        made.append((name, what))
        raw.call("PUT", f"/{name}/_settings", {f"index.blocks.{what}": True})

    yield block
    for name, what in made:
        raw.call("PUT", f"/{name}/_settings", {f"index.blocks.{what}": False})


class Reader:
    """A user of a secured engine whose one role can be changed, and a feed that is that user."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.raw = Raw(engine)
        self.name = f"qa-{secrets.token_hex(5)}"
        self._engine = engine
        self._folder = folder
        self._feeds: list[Feed] = []
        self.may()
        body = {"password": "qa-passw0rd", "roles": [self.name]}
        self.raw.call("PUT", f"/_security/user/{self.name}", body)

    def may(self, *names: str, privileges: list[str] = ALL, **more: list[str]) -> None:
        """The names (beside ``more``: privileges by name) that it may read from now on."""
        indices = [{"names": [name], "privileges": privileges} for name in names]
        indices += [{"names": [name], "privileges": some} for name, some in more.items()]
        self.raw.call("PUT", f"/_security/role/{self.name}", {"cluster": ["monitor"], "indices": indices})

    def follow(self, index: str, **watch: Any) -> Feed:
        feed = Feed(self._engine.url, index, self._folder)
        feed.close()
        cluster = {
            "hosts": [self._engine.url],
            "basic_auth": f"{self.name}:qa-passw0rd",
            "ca_certs": self._engine.ca_certs,
        }
        config = {
            "state": f"sqlite:///{self._folder}/state.db",
            "clusters": {"main": cluster},
            "watches": {"w": {"index": index, "timestamp_field": "", **watch}},
            "sinks": {"none": {"type": "file", "path": f"{self._folder}/events.jsonl"}},
        }
        feed.app = App(build(config), "test")
        self._feeds.append(feed)
        return feed

    def close(self) -> None:
        for feed in self._feeds:
            feed.close()
        self.raw.call("DELETE", f"/_security/user/{self.name}")
        self.raw.call("DELETE", f"/_security/role/{self.name}")
        self.raw.drop(self.name)


@pytest.fixture
def reader(secured: Engine, tmp_path: Path) -> Iterator[Reader]:
    """Its name begins those of all indices of the test."""
    made = Reader(secured, tmp_path)
    yield made
    made.close()


# --- privileges


@pytest.mark.parametrize("tracker", ["auto", "updated_at"])
@pytest.mark.parametrize("kept", [("east",), ()], ids=["one of two", "both"])
def test_a_role_that_loses_indices_of_a_pattern(reader: Reader, tracker: str, kept: tuple[str, ...]) -> None:
    """Nothing is deleted, though the pattern shows less, or nothing; given back, all is as it was."""
    east, west = f"{reader.name}-east", f"{reader.name}-west"
    fill(reader.raw, east, west)
    reader.may(east, west)
    feed = reader.follow(f"{reader.name}-*", tracker=tracker)
    assert told(feed.poll()) == ops("read", "east", "west")
    reader.may(*(f"{reader.name}-{end}" for end in kept))
    stays(feed, f"on {west!r} again, or exclude it" if kept else f"{reader.name}-*", "403", "grant")
    reader.may(east, west)
    assert feed.poll() == []
    reader.raw.delete(west, "west1")
    reader.raw.refresh(west)
    assert told(feed.poll()) == [("deleted", "west1")]


@pytest.mark.parametrize("lost", ALL)
def test_a_role_that_loses_one_privilege(reader: Reader, lost: str) -> None:
    """On one of two indices of a pattern: nothing of it is deleted, and no change of it is passed over in silence."""
    east, west = f"{reader.name}-east", f"{reader.name}-west"
    fill(reader.raw, east, west)
    reader.may(east, west)
    feed = reader.follow(f"{reader.name}-*")
    feed.poll()
    fewer = [one for one in ALL if one != lost]
    reader.may(east, **{west: fewer})
    reader.raw.put(west, "new", {"v": 9})
    reader.raw.put(east, "east1", {"v": 9})
    reader.raw.refresh(f"{reader.name}-*")
    events: list[dict[str, Any]] = []
    for _ in range(2):
        failed = poll(feed)
        assert not failed or west in failed
        events += feed.new()
    assert not [event for event in events if event["data"]["op"] == "deleted"]
    reader.may(east, west)
    events += feed.poll()
    assert told(events) == [("created", "new"), ("updated", "east1")]


def test_a_role_lost_after_a_first_reading_that_broke_off(reader: Reader) -> None:
    """There is no checkpoint yet, and yet what was told is known."""
    east, west = f"{reader.name}-east", f"{reader.name}-west"
    fill(reader.raw, east, west)
    reader.may(east, west)
    feed = reader.follow(f"{reader.name}-*")
    watcher = feed.app.watchers["w"]
    watcher.run_once(stop=lambda: True)
    first = told(feed.new())
    assert first, "the first reading kept nothing, so this says nothing"
    assert feed.app.store.commits.checkpoint("w") is None
    end = first[0][1].rstrip("012")
    reader.may(west if end == "east" else east)
    stays(feed, f"{reader.name}-{end}", "403")
    reader.may(east, west)
    assert sorted(first + told(feed.poll())) == ops("read", "east", "west")


def test_a_role_behind_a_pattern_over_aliases(reader: Reader) -> None:
    """Whether the role loses the alias or its index: an error; an alias that moves, or whose index goes, is none."""
    one, two, three = (f"{reader.name}-{end}" for end in ("one", "two", "three"))
    fill(reader.raw, one, two)
    a, b = f"{reader.name}-a-search", f"{reader.name}-b-search"
    reader.raw.alias(one, a)
    reader.raw.alias(two, b)
    reader.may(a, b, one, two, three)
    feed = reader.follow(f"{reader.name}-*-search")
    assert told(feed.poll()) == ops("read", "one", "two")
    reader.may(a, one, two, three)
    stays(feed, two, b, "403")
    reader.may(a, b, one, three)
    poll(feed)
    assert feed.new() == []
    reader.may(a, one, three)
    stays(feed, two, "403")
    reader.may(a, b, one, two, three)
    assert feed.poll() == []
    fill(reader.raw, three)
    switch(reader.raw, a, one, three)
    assert told(feed.poll()) == [*ops("created", "three"), *ops("deleted", "one")]
    reader.raw.call("DELETE", f"/{two}")
    assert told(feed.poll()) == ops("deleted", "two")


def test_a_role_by_alias(reader: Reader) -> None:
    """The role loses the alias, or the index behind it; it moves while its old index may not be seen any more."""
    one, two = f"{reader.name}-one", f"{reader.name}-two"
    fill(reader.raw, one, two)
    alias = f"{reader.name}-alias"
    reader.raw.alias(one, alias)
    reader.may(alias, one, two)
    feed = reader.follow(alias)
    assert told(feed.poll()) == ops("read", "one")
    for kept in ((), (one,), (alias, two)):
        reader.may(*kept)
        raw, name = reader.raw, one if kept == (alias, two) else alias
        raw.put(one, "one1", {"v": 7 + len(kept)})
        raw.refresh(one)
        stays(feed, name, "unauthorized")
    reader.may(alias, one, two)
    assert told(feed.poll()) == [("updated", "one1")]
    switch(reader.raw, alias, one, two)
    reader.may(alias, two)
    stays(feed, one, "403")
    reader.raw.call("DELETE", f"/{one}")
    reader.may(alias, one, two)
    assert told(feed.poll()) == [*ops("created", "two"), *ops("deleted", "one")]


def test_an_index_that_is_left_out_by_the_settings(reader: Reader) -> None:
    """Whoever takes a privilege away for good leaves the index out of the name: then its documents leave the watch."""
    east, west = f"{reader.name}-east", f"{reader.name}-west"
    fill(reader.raw, east, west)
    reader.may(east, west)
    feed = reader.follow(f"{reader.name}-*")
    feed.poll()
    reader.may(east)
    stays(feed, west)
    feed.close()
    again = reader.follow(f"{reader.name}-*,-{west}")
    assert told(again.poll())[:3] == ops("deleted", "west")


# --- indices that do not show


@pytest.mark.parametrize("engine", HIDING, indirect=True)
@pytest.mark.parametrize("tracker", ["auto", "updated_at"])
def test_an_index_that_is_hidden(raw: Raw, index: str, follow: Callable[..., Feed], tracker: str) -> None:
    """A pattern leads no more to an index that is made hidden; the error says what to do."""
    fill(raw, f"{index}-a", f"{index}-b")
    feed = follow(f"{index}-*", tracker=tracker)
    feed.poll()
    raw.call("PUT", f"/{index}-b/_settings", {"index.hidden": True})
    stays(feed, f"{index}-b", "index.hidden")
    raw.call("PUT", f"/{index}-b/_settings", {"index.hidden": False})
    assert feed.poll() == []


@pytest.mark.parametrize("engine", ["es2", "es7", "es9", "os3"], indirect=True)
@pytest.mark.parametrize(
    ("block", "name"), [("read", "-*"), ("read", "-b"), ("metadata", "-*"), ("metadata", "-alias")]
)
def test_an_index_that_is_blocked(
    raw: Raw,
    index: str,
    follow: Callable[..., Feed],
    blocked: Callable[[str, str], None],
    block: str,
    name: str,
) -> None:
    """The error names the block, which no opening would take away."""
    fill(raw, f"{index}-a", f"{index}-b")
    for end in "ab":
        raw.alias(f"{index}-{end}", f"{index}-alias")
    feed = follow(f"{index}{name}")
    feed.poll()
    raw.put(f"{index}-b", "b1", {"v": 7})
    raw.refresh(f"{index}-b")
    blocked(f"{index}-b", block)
    stays(feed, f"remove `index.blocks.{block}`")
    raw.call("PUT", f"/{index}-b/_settings", {f"index.blocks.{block}": False})
    assert told(feed.poll()) == [("updated", "b1")]


def test_an_index_that_was_closed_all_along(raw: Raw, index: str, follow: Callable[..., Feed]) -> None:
    """Behind a pattern it is passed over, at no more than an idle poll costs; opened, it is read."""
    fill(raw, f"{index}-a", f"{index}-b")
    raw.call("POST", f"/{index}-b/_close")
    feed = follow(f"{index}-*")
    assert told(feed.poll()) == ops("read", "a")
    feed.poll()
    feed.poll()
    before = feed.app.clusters["w"].meter.totals()[0]
    assert feed.poll() == []
    assert feed.app.clusters["w"].meter.totals()[0] - before <= 2
    raw.call("POST", f"/{index}-b/_open")
    raw.call("GET", f"/_cluster/health/{index}-b", wait_for_status="yellow", timeout="60s")
    assert told(feed.poll()) == ops("created", "b")


@pytest.mark.parametrize("engine", ["es2", "es9", "os3"], indirect=True)
def test_a_red_index(raw: Raw, index: str, follow: Callable[..., Feed]) -> None:
    """No node may hold it, so there is nothing that it shows: what is told is of others, or nothing."""
    fill(raw, f"{index}-a")
    feed = follow(f"{index}-*")
    feed.poll()
    settings = {"number_of_replicas": 0, "index.routing.allocation.require.nobody": "here"}
    wait = {"timeout": "1s"} if raw.typed else {"wait_for_active_shards": "0"}
    raw.call("PUT", f"/{index}-b", {"settings": settings}, **wait)
    raw.delete(f"{index}-a", "a1")
    raw.refresh(f"{index}-a")
    for _ in range(2):
        poll(feed)
    raw.call("DELETE", f"/{index}-b")
    poll(feed)
    assert told(feed.new()) == [("deleted", "a1")]


@pytest.mark.parametrize("engine", ["es2", "es9", "os3"], indirect=True)
@pytest.mark.parametrize("tracker", ["auto", "updated_at"])
def test_an_index_without_counters(
    raw: Raw, index: str, follow: Callable[..., Feed], proxy: Proxy, tracker: str
) -> None:
    """As while its shards are nowhere: what is known of it stays, and no poll passes it over in silence."""

    def without(body: Any) -> Any:
        body["indices"].pop(f"{index}-b", None)
        return body

    fill(raw, f"{index}-a", f"{index}-b")
    feed = follow(f"{index}-*", proxy.url, tracker=tracker)
    feed.poll()
    proxy.on("_stats", rewrite(without), times=1000)
    stays(feed, f"{index}-b")
    proxy.reset()
    assert feed.poll() == []


# --- answers that are none, and other clusters


@pytest.mark.parametrize("engine", ["es2", "es9", "os3"], indirect=True)
@pytest.mark.parametrize("what", ["_stats", "_settings", "_alias", "_search", "."])
def test_a_proxy_that_answers_with_nothing(
    raw: Raw, index: str, follow: Callable[..., Feed], proxy: Proxy, what: str
) -> None:
    """200 and ``{}``: to one kind of request, or to all of them; nothing of it is taken for the truth."""
    fill(raw, f"{index}-a", f"{index}-b")
    feed = follow(f"{index}-*", proxy.url)
    feed.poll()
    raw.call("DELETE", f"/{index}-a")
    proxy.on(what, answer(200, {}), times=1000)
    if what == "_alias":
        feed.poll()
    else:
        stays(feed)
    proxy.reset()
    assert told([*feed.new(), *feed.poll()])[:3] in ([], ops("deleted", "a"))
    assert feed.poll() == []


def test_an_index_asked_for_by_its_own_name_and_an_empty_answer(
    raw: Raw, index: str, follow: Callable[..., Feed], proxy: Proxy
) -> None:
    """It says neither that the index is there nor that it is gone."""
    fill(raw, f"{index}-a", f"{index}-b")
    feed = follow(f"{index}-*", proxy.url)
    feed.poll()
    raw.call("DELETE", f"/{index}-a")
    proxy.on(f"/{index}-a/_settings", answer(200, {}), times=1000)
    stays(feed, f"{index}-a", "the answer is empty")
    proxy.reset()
    assert told(feed.poll()) == ops("deleted", "a")


@pytest.mark.parametrize("tracker", ["auto", "updated_at"])
def test_another_cluster_at_the_same_address(
    raw: Raw, index: str, follow: Callable[..., Feed], proxy: Proxy, tracker: str
) -> None:
    """Its indices are others, under the same names: the watch stops and says so, until it is told to go on there."""

    def other(body: Any) -> Any:
        return json.loads(re.sub(r'"cluster_uuid": ?"[^"]*"', '"cluster_uuid":"another"', json.dumps(body)))

    fill(raw, f"{index}-a")
    feed = follow(f"{index}-a", proxy.url, tracker=tracker)
    feed.poll()
    proxy.on("cluster_uuid|GET /( |$)", rewrite(other), times=1000)
    assert feed.poll() == []
    raw.call("DELETE", f"/{index}-a")
    stays(feed, "is not the cluster", "clusters.main.hosts", "--allow-mass-delete")
    raw.create(f"{index}-a")
    raw.put(f"{index}-a", "a1", {"v": 1})
    raw.refresh(f"{index}-a")
    stays(feed, "is not the cluster")
    feed.app.runner.reconcile("w", True)
    assert told(feed.poll()) == [("deleted", "a0"), ("deleted", "a2")]
    assert feed.poll() == []


@pytest.mark.parametrize("engine", ["es2", "es9", "os3"], indirect=True)
def test_a_checkpoint_of_an_earlier_esfeed_takes_the_cluster_on(
    raw: Raw, index: str, follow: Callable[..., Feed]
) -> None:
    """At the next poll that finds anything."""
    fill(raw, f"{index}-a")
    feed = follow(f"{index}-a")
    feed.poll()
    before = feed.app.store.commits.checkpoint("w")
    assert before is not None
    known = json.loads(before.data)
    assert known.pop("cluster")
    feed.app.store.commits.commit("w", Commit(checkpoint=Checkpoint(before.tracker, json.dumps(known).encode())))
    raw.put(f"{index}-a", "a1", {"v": 7})
    raw.refresh(f"{index}-a")
    assert told(feed.poll()) == [("updated", "a1")]
    after = feed.app.store.commits.checkpoint("w")
    assert after is not None
    assert json.loads(after.data)["cluster"]


def test_the_last_index_of_a_pattern_that_is_deleted(raw: Raw, index: str, follow: Callable[..., Feed]) -> None:
    """It is gone for certain, and yet an error, as ever: a name that leads to nothing."""
    fill(raw, f"{index}-a")
    feed = follow(f"{index}-*")
    feed.poll()
    raw.call("DELETE", f"/{index}-a")
    assert isinstance(stays(feed, f"{index}-*"), NameGone)
