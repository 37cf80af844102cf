"""Moves of the watched name beyond ``test_moves``: rollovers, lists, closed and half-filled indices, and the guard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from esfeed.errors import ClusterError, ConfigError, MassDelete, NameGone
from tests.engines.test_moves import fill, switch, told
from tests.engines.test_oracle import Feed
from tests.support import feed as command
from tests.support.clients import Raw
from tests.support.engines import FAMILIES, Engine
from tests.support.world import Replay, truth

pytestmark = pytest.mark.engines

DATE = {"updated_at": {"type": "date"}}
EARLY, LATE = 1_700_000_000_000, 1_700_000_009_000


@pytest.fixture(params=FAMILIES)
def engine(request: pytest.FixtureRequest, started: Callable[[str], Engine]) -> Engine:
    """One of each family; some tests name others."""
    return started(request.param)


def copy(raw: Raw, source: str, target: str, **names: str | None) -> None:
    """Writes the documents of ``source`` into ``target``, keys in another order, at versions of the new index's own.

    ``names`` gives some ids another name, or leaves them out (``None``).
    """
    actions = []
    for (kind, id, _), body in truth(raw, source).items():
        if names.get(id, "") is None:
            continue
        turned: Mapping[str, Any] = dict(reversed(body.items())) | ({"name": names[id]} if id in names else {})
        actions.append(({"index": {"_id": id, **({"_type": kind} if raw.typed else {})}}, turned))
    raw.bulk(target, actions)
    raw.refresh(target)


def opened(raw: Raw, index: str) -> None:
    """Opens a closed index and waits until it is searchable."""
    raw.call("POST", f"/{index}/_open")
    raw.call("GET", f"/_cluster/health/{index}", wait_for_status="yellow", timeout="30s")


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "not-kept"])
def test_a_reindexed_copy_tells_just_what_differs(
    raw: Raw, index: str, follow: Callable[..., Feed], keep: bool
) -> None:
    """Other versions and key orders tell nothing, whether contents are kept or their digests alone; a change does."""
    raw.create(f"{index}-1", DATE, {"number_of_shards": 2})
    fill(raw, f"{index}-1", 60, version=9)
    raw.alias(f"{index}-1", f"{index}-alias")
    feed = follow(f"{index}-alias", keep_documents=keep)
    feed.poll()
    raw.create(f"{index}-2", DATE)
    copy(raw, f"{index}-1", f"{index}-2")
    switch(raw, f"{index}-alias", f"{index}-1", f"{index}-2")
    for _ in range(3):
        assert feed.poll() == []
    raw.create(f"{index}-3", DATE, {"number_of_shards": 3})
    copy(raw, f"{index}-2", f"{index}-3", d1="other", d2=None)
    raw.put(f"{index}-3", "new", {"updated_at": EARLY})
    raw.refresh(f"{index}-3")
    switch(raw, f"{index}-alias", f"{index}-2", f"{index}-3")
    raw.drop(f"{index}-2")
    assert told(feed.poll()) == [("created", "new"), ("deleted", "d2"), ("updated", "d1")]
    assert feed.poll() == []


def test_a_re_sync_after_a_silent_start(raw: Raw, index: str, follow: Callable[..., Feed]) -> None:
    """With ``initial = "now"`` no content was read, so all may have changed; none was created, and what is gone is."""
    raw.create(f"{index}-1", DATE)
    fill(raw, f"{index}-1", 10)
    raw.alias(f"{index}-1", f"{index}-alias")
    feed = follow(f"{index}-alias", initial="now")
    assert feed.poll() == []
    raw.create(f"{index}-2", DATE)
    copy(raw, f"{index}-1", f"{index}-2", d3=None)
    switch(raw, f"{index}-alias", f"{index}-1", f"{index}-2")
    events = told(feed.poll())
    assert ("deleted", "d3") in events
    assert {op for op, _ in events} <= {"deleted", "updated"}
    assert feed.poll() == []


def test_a_rollover(raw: Raw, index: str, follow: Callable[..., Feed]) -> None:
    """The write alias moves to a second index behind the read alias: nothing; then what is written there, and here."""
    read, write = f"{index}-read", f"{index}-write"
    raw.create(f"{index}-000001", DATE, {"number_of_shards": 2})
    raw.alias(f"{index}-000001", read)
    raw.alias(f"{index}-000001", write)
    fill(raw, write, 12)
    feed, replay = follow(read), Replay()
    replay.apply(feed.poll())
    raw.create(f"{index}-000002", DATE)
    raw.alias(f"{index}-000002", read)
    switch(raw, write, f"{index}-000001", f"{index}-000002")
    assert feed.poll() == []
    raw.bulk(write, [({"index": {"_id": f"new{n}"}}, {"updated_at": LATE, "name": "x"}) for n in range(5)])
    raw.put(f"{index}-000001", "d1", {"updated_at": EARLY, "name": "late"})
    raw.delete(f"{index}-000001", "d2")
    raw.refresh(read)
    events = feed.poll()
    assert told(events) == [*[("created", f"new{n}") for n in range(5)], ("deleted", "d2"), ("updated", "d1")]
    replay.apply(events)
    raw.delete(write, "new1")
    raw.refresh(read)
    replay.apply(feed.poll())
    assert replay.differences(truth(raw, read)) == []


@pytest.mark.parametrize("engine", ["es6", "es7", "es8", "es9", "os2", "os3"], indirect=True)
def test_an_alias_of_two_indices_under_seq_no_is_refused_until_it_is_one_again(
    raw: Raw, index: str, follow: Callable[..., Feed]
) -> None:
    """In the moment of a re-sync where both stand behind it: an error that changes nothing; afterwards all is told."""
    raw.create(f"{index}-1", DATE)
    fill(raw, f"{index}-1", 5)
    raw.alias(f"{index}-1", f"{index}-alias")
    feed = follow(f"{index}-alias", tracker="seq_no")
    feed.poll()
    raw.create(f"{index}-2", DATE)
    raw.alias(f"{index}-2", f"{index}-alias")
    for _ in range(2):
        with pytest.raises(ConfigError, match="points to several indices"):
            feed.poll()
    assert feed.new() == []
    copy(raw, f"{index}-1", f"{index}-2", d1="other", d4=None)
    raw.drop(f"{index}-1")
    assert told(feed.poll()) == [("deleted", "d4"), ("updated", "d1")]


@pytest.mark.parametrize("tracker", ["auto", "updated_at"])
def test_a_pattern_over_aliases_follows_each_of_them(
    raw: Raw, index: str, follow: Callable[..., Feed], tracker: str
) -> None:
    """Two of Searchlight's resource groups, of which one is synced anew: nothing is told but what differs.

    The same id in both groups is two documents; and for a while both the old and the new index are behind one alias.
    """
    for group in "ab":
        raw.create(f"{index}-{group}-1", DATE)
        fill(raw, f"{index}-{group}-1", 5)
        raw.alias(f"{index}-{group}-1", f"{index}-{group}-search")
    feed = follow(f"{index}-*-search", tracker=tracker)
    assert len(feed.poll()) == 10
    raw.create(f"{index}-a-2", DATE)
    raw.alias(f"{index}-a-2", f"{index}-a-search")
    copy(raw, f"{index}-a-1", f"{index}-a-2", d1="other", d4=None)
    assert told(feed.poll()) == [("updated", "d1")]
    raw.drop(f"{index}-a-1")
    raw.delete(f"{index}-b-1", "d2")
    raw.refresh(f"{index}-b-1")
    events = feed.poll()
    assert told(events) == [("deleted", "d2"), ("deleted", "d4")]
    assert {event["data"]["id"]: event["data"]["origin"]["index"] for event in events} == {
        "d2": f"{index}-b-1",
        "d4": f"{index}-a-1",
    }
    assert feed.poll() == []
    raw.put(f"{index}-a-2", "d2", {"updated_at": LATE})
    raw.refresh(f"{index}-a-2")
    assert told(feed.poll()) == [("updated", "d2")]


def test_a_comma_list(raw: Raw, index: str, follow: Callable[..., Feed]) -> None:
    """Two names and an exclusion: equal ids are two documents; a listed index that is gone is an error, no delete."""
    for part in "abc":
        raw.create(f"{index}-{part}", DATE)
        fill(raw, f"{index}-{part}", 3)
    feed = follow(f"{index}-a,{index}-b*")
    assert len(feed.poll()) == 6
    raw.delete(f"{index}-b", "d1")
    raw.put(f"{index}-a", "d1", {"updated_at": LATE})
    raw.put(f"{index}-c", "d1", {"updated_at": LATE})
    raw.refresh(f"{index}-*")
    events = feed.poll()
    assert told(events) == [("deleted", "d1"), ("updated", "d1")]
    assert {event["data"]["op"]: event["data"]["origin"]["index"] for event in events} == {
        "deleted": f"{index}-b",
        "updated": f"{index}-a",
    }
    raw.drop(f"{index}-a")
    for _ in range(2):
        with pytest.raises(NameGone):
            feed.poll()
    assert feed.new() == []


def test_a_pattern_whose_indices_come_and_go(raw: Raw, index: str, follow: Callable[..., Feed]) -> None:
    """One goes and another comes between two polls; one made anew under its name; the last one's end is an error."""
    for part in "ab":
        raw.create(f"{index}-{part}", DATE)
        fill(raw, f"{index}-{part}", 2)
    feed = follow(f"{index}-*")
    feed.poll()
    raw.drop(f"{index}-a")
    raw.create(f"{index}-c", DATE)
    fill(raw, f"{index}-c", 2)
    assert told(feed.poll()) == sorted(
        [("created", f"d{n}") for n in range(2)] + [("deleted", f"d{n}") for n in range(2)]
    )
    raw.drop(f"{index}-b")
    raw.create(f"{index}-b", DATE)
    fill(raw, f"{index}-b", 2, d1="other")
    assert told(feed.poll()) == [("updated", "d1")]
    raw.drop(f"{index}-")
    for _ in range(2):
        with pytest.raises(NameGone):
            feed.poll()
    assert feed.new() == []
    raw.create(f"{index}-b", DATE)
    fill(raw, f"{index}-b", 2, d1="other")
    assert told(feed.poll()) == [("deleted", "d0"), ("deleted", "d1")]
    assert feed.poll() == []


def test_an_index_made_anew_with_the_same_of_everything(raw: Raw, index: str, follow: Callable[..., Feed]) -> None:
    """Same contents, versions, sequence numbers and number of operations: silent, and the next change is seen."""
    raw.create(index, DATE)
    fill(raw, index, 30)
    feed = follow(index)
    feed.poll()
    feed.poll()
    raw.drop(index)
    raw.create(index, DATE)
    fill(raw, index, 30)
    for _ in range(2):
        assert feed.poll() == []
    raw.put(index, "d3", {"name": "other", "updated_at": EARLY})
    raw.delete(index, "d4")
    raw.refresh(index)
    assert told(feed.poll()) == [("deleted", "d4"), ("updated", "d3")]


@pytest.mark.parametrize("indices", [1, 2])
def test_a_closed_index_behind_an_alias_deletes_nothing(
    raw: Raw, index: str, follow: Callable[..., Feed], indices: int
) -> None:
    """Whether it is the only one or one of two: an error, poll after poll; opened again, all is as it was."""
    for part in "ab"[:indices]:
        raw.create(f"{index}-{part}", DATE)
        raw.alias(f"{index}-{part}", f"{index}-alias")
        raw.bulk(f"{index}-{part}", [({"index": {"_id": f"{part}{n}"}}, {"updated_at": EARLY}) for n in range(3)])
    raw.refresh(f"{index}-alias")
    feed = follow(f"{index}-alias")
    feed.poll()
    raw.call("POST", f"/{index}-a/_close")
    for _ in range(2):
        with pytest.raises(ClusterError):
            feed.poll()
    assert feed.new() == []
    opened(raw, f"{index}-a")
    for _ in range(2):
        assert feed.poll() == []
    raw.delete(f"{index}-a", "a1")
    raw.refresh(f"{index}-a")
    assert told(feed.poll()) == [("deleted", "a1")]


def test_an_index_that_becomes_an_alias_of_its_name(raw: Raw, index: str, follow: Callable[..., Feed]) -> None:
    """Reindexing as manuals teach it: a copy, the index deleted, an alias with its name; only what differs is told."""
    raw.create(f"{index}-v1", DATE)
    fill(raw, f"{index}-v1", 20)
    feed = follow(f"{index}-v1")
    feed.poll()
    raw.create(f"{index}-w2", DATE, {"number_of_shards": 2})
    copy(raw, f"{index}-v1", f"{index}-w2", d7="other")
    raw.drop(f"{index}-v1")
    raw.alias(f"{index}-w2", f"{index}-v1")
    assert told(feed.poll()) == [("updated", "d7")]
    assert feed.poll() == []


def test_a_rewrite_in_place_is_silent(raw: Raw, index: str, follow: Callable[..., Feed]) -> None:
    """Every document is written again with the content that it has, twice: no event; a change among them is told."""
    raw.create(index, DATE, {"number_of_shards": 2})
    fill(raw, index, 50)
    feed = follow(index)
    feed.poll()
    for _ in range(2):
        copy(raw, index, index)
        assert feed.poll() == []
    copy(raw, index, index, d9="other")
    assert told(feed.poll()) == [("updated", "d9")]


@pytest.mark.parametrize("engine", ["es2", "es5"], indirect=True)
def test_two_types_keep_their_equal_ids_apart_through_a_switch(
    raw: Raw, index: str, follow: Callable[..., Feed]
) -> None:
    """The same id in two mapping types is two documents; behind the new index one of them changed, one is gone."""
    types = ("server", "image")
    for part in "12":
        raw.create(f"{index}-{part}", mappings={kind: {"properties": DATE} for kind in types})
    raw.bulk(
        f"{index}-1",
        [
            ({"index": {"_id": id, "_type": kind}}, {"updated_at": EARLY, "name": kind})
            for id in "xyz"
            for kind in types
        ],
    )
    raw.refresh(f"{index}-1")
    raw.alias(f"{index}-1", f"{index}-alias")
    feed, replay = follow(f"{index}-alias"), Replay()
    replay.apply(feed.poll())
    assert len(replay.documents) == 6
    copy(raw, f"{index}-1", f"{index}-2")
    raw.bulk(
        f"{index}-2",
        [
            ({"index": {"_id": "x", "_type": "server"}}, {"updated_at": EARLY, "name": "other"}),
            ({"delete": {"_id": "y", "_type": "image"}}, None),
        ],
    )
    raw.refresh(f"{index}-2")
    switch(raw, f"{index}-alias", f"{index}-1", f"{index}-2")
    events = feed.poll()
    replay.apply(events)
    assert sorted((e["data"]["op"], e["data"]["type"], e["data"]["id"]) for e in events) == [
        ("deleted", "image", "y"),
        ("updated", "server", "x"),
    ]
    raw.bulk(f"{index}-2", [({"delete": {"_id": "z", "_type": "server"}}, None)])
    raw.refresh(f"{index}-2")
    replay.apply(feed.poll())
    assert replay.differences(truth(raw, f"{index}-2")) == []


# --- the guard


def test_an_alias_that_switched_too_early_is_asked_about(raw: Raw, index: str, follow: Callable[..., Feed]) -> None:
    """The new index is not filled yet: the watch stops; once it is filled, nothing was told and nothing is."""
    raw.create(f"{index}-1", DATE)
    fill(raw, f"{index}-1", 1600)
    raw.alias(f"{index}-1", f"{index}-alias")
    feed = follow(f"{index}-alias")
    feed.poll()
    raw.create(f"{index}-2", DATE, {"number_of_shards": 2})
    switch(raw, f"{index}-alias", f"{index}-1", f"{index}-2")
    with pytest.raises(MassDelete):
        feed.poll()
    fill(raw, f"{index}-2", 500)
    for _ in range(2):
        with pytest.raises(MassDelete, match=r"1,100 of 1,600"):
            feed.poll()
    fill(raw, f"{index}-2", 1600, version=2)
    for _ in range(2):
        assert feed.poll() == []


@pytest.mark.parametrize("engine", ["es2", "es9", "os2"], indirect=True)
def test_an_index_of_a_pattern_that_goes_is_asked_about_where_it_is_large(
    raw: Raw, index: str, follow: Callable[..., Feed]
) -> None:
    """1,200 of 2,000 documents go with it: the watch stops, until it is allowed."""
    for part, count in (("a", 1200), ("b", 800)):
        raw.create(f"{index}-{part}", DATE)
        fill(raw, f"{index}-{part}", count)
    feed = follow(f"{index}-*")
    feed.poll()
    raw.drop(f"{index}-a")
    for _ in range(2):
        with pytest.raises(MassDelete, match=r"1,200 of 2,000"):
            feed.poll()
    raw.put(f"{index}-b", "d1", {"updated_at": LATE})
    raw.refresh(f"{index}-b")
    with pytest.raises(MassDelete):
        feed.poll()
    assert [op for op, _ in told(feed.new())] in ([], ["updated"])
    feed.app.runner.reconcile("w", True)
    events = feed.poll()
    assert told(events)[:1200] == sorted(("deleted", f"d{n}") for n in range(1200))
    assert {event["data"]["origin"]["index"] for event in events if event["data"]["op"] == "deleted"} == {f"{index}-a"}
    assert feed.poll() == []
    assert feed.app.store.commits.known("w").count() == 800


def test_the_commands_say_what_the_guard_asks(raw: Raw, index: str, tmp_path: Path) -> None:
    """``poll`` fails with 1 and names the way out, ``reconcile`` alone fails too; allowed, all deletes are told."""
    raw.create(index, DATE)
    fill(raw, index, 3000)
    feed = command.Feed(tmp_path, raw.engine.url, index, initial="now")
    feed.poll()
    raw.bulk(index, [({"delete": {"_id": f"d{n}"}}, None) for n in range(1200)])
    raw.put(index, "new", {"updated_at": LATE})
    raw.refresh(index)
    for args in (("poll",), ("poll",), ("reconcile",)):
        done = feed(*args)
        assert done.returncode == 1, done.stderr
        text = " ".join(done.stderr.split())
        assert "1,200 of 3,00" in text
        assert "more than 30%" in text
        assert "`esfeed reconcile --watch w --allow-mass-delete`" in text
    assert not [event for event in feed.lines() if event["data"]["op"] == "deleted"]
    done = feed("reconcile", "--watch", "w", "--allow-mass-delete")
    assert done.returncode == 0, done.stderr
    ops = [event["data"]["op"] for event in feed.lines()]
    assert (ops.count("deleted"), ops.count("created"), len(ops)) == (1200, 1, 1201)
    feed.poll()
    assert len(feed.lines()) == 1201
