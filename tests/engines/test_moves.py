"""What stands behind the watched name changes: an alias that switches, a re-sync, an index made anew, a pattern."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from esfeed.errors import ClusterError, MassDelete, NameGone
from tests.engines.test_oracle import SEED, Feed
from tests.support.clients import Raw
from tests.support.engines import FAMILIES, Engine
from tests.support.world import Replay, truth

pytestmark = pytest.mark.engines

DATE = {"updated_at": {"type": "date"}, "name": {"type": "keyword"}}


@pytest.fixture(params=FAMILIES)
def engine(request: pytest.FixtureRequest, started: Callable[[str], Engine]) -> Engine:
    """One of each family; some tests name others."""
    return started(request.param)


@pytest.fixture
def fields(raw: Raw) -> dict[str, Any]:
    """The mapping of these tests."""
    return DATE if not (raw.typed and raw.engine.major < 5) else {**DATE, "name": {"type": "string"}}


def fill(raw: Raw, index: str, count: int, version: int = 1, **changes: str) -> None:
    """``count`` documents, of which ``changes`` names some with another name; ``version`` is external."""
    about = raw._named({"version": version, "version_type": "external"})
    raw.bulk(
        index,
        [
            (
                {"index": {"_id": f"d{n}", **about}},
                {"name": changes.get(f"d{n}", f"n{n}"), "updated_at": 1_700_000_000_000},
            )
            for n in range(count)
        ],
    )
    raw.refresh(index)


def told(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """(op, id) of the events, in order of both."""
    return sorted((event["data"]["op"], event["data"]["id"]) for event in events)


def switch(raw: Raw, alias: str, old: str, new: str) -> None:
    """One atomic switch of the alias."""
    actions = [{"remove": {"index": old, "alias": alias}}, {"add": {"index": new, "alias": alias}}]
    raw.call("POST", "/_aliases", {"actions": actions})


def test_a_re_sync_of_unchanged_documents_is_silent(
    raw: Raw, index: str, fields: dict[str, Any], follow: Callable[..., Feed]
) -> None:
    """A new index with the same contents, other versions and another order of keys: no event, then or later."""
    raw.create(f"{index}-1", fields, {"number_of_shards": 2})
    fill(raw, f"{index}-1", 300, version=7)
    raw.alias(f"{index}-1", f"{index}-alias")
    feed = follow(f"{index}-alias")
    assert len(feed.poll()) == 300
    raw.create(f"{index}-2", fields, {"number_of_shards": 3})
    raw.bulk(
        f"{index}-2",
        [({"index": {"_id": f"d{n}"}}, {"updated_at": 1_700_000_000_000, "name": f"n{n}"}) for n in range(300)],
    )
    raw.refresh(f"{index}-2")
    switch(raw, f"{index}-alias", f"{index}-1", f"{index}-2")
    raw.drop(f"{index}-1")
    for _ in range(3):
        assert feed.poll() == []
    raw.put(f"{index}-2", "d7", {"name": "changed", "updated_at": 1_700_000_001_000})
    raw.refresh(f"{index}-2")
    assert told(feed.poll()) == [("updated", "d7")]


def test_a_switch_tells_just_what_differs(
    raw: Raw, index: str, fields: dict[str, Any], follow: Callable[..., Feed]
) -> None:
    """Behind the new index some documents changed at the same version, some are missing, some are new."""
    raw.create(f"{index}-1", fields)
    fill(raw, f"{index}-1", 50)
    raw.alias(f"{index}-1", f"{index}-alias")
    feed = follow(f"{index}-alias")
    feed.poll()
    raw.create(f"{index}-2", fields)
    fill(raw, f"{index}-2", 48, d3="other")
    raw.put(f"{index}-2", "new", {"name": "x", "updated_at": 1_600_000_000_000})
    raw.refresh(f"{index}-2")
    switch(raw, f"{index}-alias", f"{index}-1", f"{index}-2")
    expected = [("created", "new"), ("deleted", "d48"), ("deleted", "d49"), ("updated", "d3")]
    assert told(feed.poll()) == expected
    assert feed.poll() == []


def test_a_re_sync_under_writes_loses_nothing(
    raw: Raw, index: str, fields: dict[str, Any], follow: Callable[..., Feed]
) -> None:
    """As Searchlight does it: the new index fills beside the old, the alias switches, the old goes; writers go on."""
    raw.create(f"{index}-1", fields)
    fill(raw, f"{index}-1", 200)
    raw.alias(f"{index}-1", f"{index}-alias")
    feed, replay = follow(f"{index}-alias"), Replay()
    replay.apply(feed.poll())
    raw.create(f"{index}-2", fields)
    rng, stop = random.Random(SEED), threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            doc = {"name": f"w{number}", "updated_at": 1_700_000_000_000 + number}
            targets = [f"{index}-2"] if rng.random() < 0.5 else [f"{index}-2", f"{index}-1"]
            for target in targets:
                if raw.call("HEAD", f"/{target}") is None and target in alive:
                    raw.put(target, f"d{rng.randrange(220)}", doc)

    alive = {f"{index}-1", f"{index}-2"}
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for step in range(6):
            replay.apply(feed.poll())
            if step == 2:
                fill(raw, f"{index}-2", 200, version=10**6)
                alive.discard(f"{index}-1")
                switch(raw, f"{index}-alias", f"{index}-1", f"{index}-2")
            if step == 3:
                raw.drop(f"{index}-1")
    finally:
        stop.set()
        writer.join()
    raw.refresh(f"{index}-2")
    replay.apply(feed.poll())
    assert replay.differences(truth(raw, f"{index}-2")) == []


def test_an_index_made_anew_under_its_name(
    raw: Raw, index: str, fields: dict[str, Any], follow: Callable[..., Feed]
) -> None:
    """Deleted and created again between two polls, with as many operations: what differs is told, nothing else."""
    raw.create(index, fields)
    fill(raw, index, 30)
    feed = follow(index)
    feed.poll()
    raw.drop(index)
    raw.create(index, fields)
    fill(raw, index, 30, d5="other")
    assert told(feed.poll()) == [("updated", "d5")]
    assert feed.poll() == []


def test_a_name_that_is_gone_deletes_nothing(
    raw: Raw, index: str, fields: dict[str, Any], follow: Callable[..., Feed]
) -> None:
    """The index is deleted: an error, poll after poll; once it is back, only real changes are told."""
    raw.create(index, fields)
    fill(raw, index, 20)
    feed = follow(index)
    feed.poll()
    raw.drop(index)
    for _ in range(2):
        with pytest.raises(NameGone):
            feed.poll()
    assert feed.new() == []
    raw.create(index, fields)
    fill(raw, index, 19)
    assert told(feed.poll()) == [("deleted", "d19")]


def test_a_pattern_tells_indices_apart(
    raw: Raw, index: str, fields: dict[str, Any], follow: Callable[..., Feed]
) -> None:
    """The same id in two indices is two documents; a new index is followed; a deleted one's documents are deleted."""
    for part in "ab":
        raw.create(f"{index}-{part}", fields)
        fill(raw, f"{index}-{part}", 3)
    feed = follow(f"{index}-*,-{index}-z*")
    assert told(feed.poll()) == sorted([("read", f"d{n}") for n in range(3)] * 2)
    raw.put(f"{index}-a", "d1", {"name": "x", "updated_at": 1_700_000_005_000})
    raw.refresh(f"{index}-a")
    (event,) = feed.poll()
    assert (event["data"]["op"], event["data"]["origin"]["index"]) == ("updated", f"{index}-a")
    for part in "cz":
        raw.create(f"{index}-{part}", fields)
        fill(raw, f"{index}-{part}", 2)
    assert told(feed.poll()) == [("created", "d0"), ("created", "d1")]
    raw.drop(f"{index}-a")
    assert told(feed.poll()) == [("deleted", f"d{n}") for n in range(3)]
    assert feed.poll() == []


def test_two_indices_behind_an_alias_for_a_while(
    raw: Raw, index: str, fields: dict[str, Any], follow: Callable[..., Feed]
) -> None:
    """Where an id stands in both, the newer index has the truth; when the older goes, nothing is told of those."""
    raw.create(f"{index}-1", fields)
    fill(raw, f"{index}-1", 10)
    raw.alias(f"{index}-1", f"{index}-alias")
    feed, replay = follow(f"{index}-alias"), Replay()
    replay.apply(feed.poll())
    raw.create(f"{index}-2", fields)
    fill(raw, f"{index}-2", 8, d2="newer")
    raw.alias(f"{index}-2", f"{index}-alias")
    events = feed.poll()
    assert told(events) == [("updated", "d2")]
    replay.apply(events)
    raw.put(f"{index}-1", "d2", {"name": "old again", "updated_at": 1_700_000_009_000})
    raw.put(f"{index}-1", "d9", {"name": "only here", "updated_at": 1_700_000_009_000})
    raw.refresh(f"{index}-1")
    events = feed.poll()
    assert told(events) == [("updated", "d9")]
    replay.apply(events)
    raw.drop(f"{index}-1")
    events = feed.poll()
    assert told(events) == [("deleted", "d8"), ("deleted", "d9")]
    replay.apply(events)
    assert replay.differences(truth(raw, f"{index}-2")) == []


def test_a_closed_index_deletes_nothing(
    raw: Raw, index: str, fields: dict[str, Any], follow: Callable[..., Feed]
) -> None:
    """One of a pattern's indices is closed: an error; opened again, all is as it was."""
    for part in "ab":
        raw.create(f"{index}-{part}", fields)
        fill(raw, f"{index}-{part}", 3)
    feed = follow(f"{index}-*")
    feed.poll()
    raw.call("POST", f"/{index}-a/_close")
    with pytest.raises(ClusterError):
        feed.poll()
    raw.call("POST", f"/{index}-a/_open")
    raw.call("GET", f"/_cluster/health/{index}-a", wait_for_status="yellow", timeout="30s")
    assert feed.poll() == []
    assert feed.poll() == []


def test_much_gone_at_once_is_asked_about(
    raw: Raw, index: str, fields: dict[str, Any], follow: Callable[..., Feed]
) -> None:
    """More than 1,000 and more than the share: nothing is told or forgotten until it is allowed."""
    raw.create(index, fields)
    fill(raw, index, 3000)
    feed = follow(index)
    feed.poll()
    raw.bulk(index, [({"delete": {"_id": f"d{n}"}}, None) for n in range(1200)])
    raw.refresh(index)
    for _ in range(2):
        with pytest.raises(MassDelete, match=r"1,200 of 3,000 documents .* more than 30%"):
            feed.poll()
    assert feed.new() == []
    assert feed.app.store.commits.known("w").count() == 3000
    feed.app.runner.reconcile("w", True)
    assert len(feed.poll()) == 1200
    raw.bulk(index, [({"delete": {"_id": f"d{n}"}}, None) for n in range(1200, 2190)])
    raw.refresh(index)
    assert len(feed.poll()) == 990
