"""Clusters of two nodes: a replica is promoted, a primary moves, and what only a dead primary had is taken back."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3.exceptions

from esfeed.config.load import build
from esfeed.errors import ClusterError
from esfeed.runtime.factory import App
from tests.engines.test_oracle import SEED, Feed, check
from tests.support.clients import Raw, eventually
from tests.support.engines import selected
from tests.support.nodes import Pair, pair
from tests.support.world import Replay, World

pytestmark = pytest.mark.engines

REPLICATION = b"indices:data/write/bulk[s][r]"
STAMP = 1_700_000_000_000


class Both(Feed):
    """A feed that knows both nodes."""

    def __init__(self, cluster: Pair, index: str, folder: Path, tracker: str) -> None:
        super().__init__(cluster.stays.url, index, folder)
        self.close()
        config = {
            "state": f"sqlite:///{folder}/state.db",
            "clusters": {"main": {"hosts": [cluster.falls.url, cluster.stays.url], "retries": 3}},
            "watches": {"w": {"index": index, "tracker": tracker}},
            "sinks": {"none": {"type": "file", "path": f"{folder}/events.jsonl"}},
        }
        self.app = App(build(config), "test")

    def settle(self) -> list[dict[str, Any]]:
        """Polls until one succeeds; what all of them told."""

        def polled() -> bool:
            with contextlib.suppress(ClusterError):
                self.app.runner.poll("w")
                return True
            return False

        eventually(polled, seconds=60)
        return self.new()


@pytest.fixture(scope="module", params=["es2", "es8", "os2"])
def nodes(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two nodes of one engine, for all tests of this module."""
    if request.param not in selected():
        pytest.skip(f"ESFEED_TEST_ENGINES leaves out {request.param}")
    with pair(request.param, f"qa-pair-{os.getpid()}") as made:
        yield made


@pytest.fixture
def cluster(nodes: Pair) -> Iterator[Pair]:
    """Both nodes alive, before and after."""
    yield nodes
    nodes.wire.lose()  # or whoever writes next would wait for ever
    if nodes.raw.call("GET", "/_cluster/health")["number_of_nodes"] < 2:
        nodes.revive()


@pytest.fixture(params=["seq_no", "updated_at"])
def tracker(request: pytest.FixtureRequest, nodes: Pair) -> str:
    """Each way to follow that this engine has."""
    if request.param == "seq_no" and nodes.stays.name == "es2":
        pytest.skip("2.x has no sequence numbers")
    return str(request.param)


@pytest.fixture
def world(cluster: Pair) -> Iterator[World]:
    """A world whose primaries are all on the node that falls."""
    made = World(cluster.stays, SEED)
    made.make_index(shards=2)
    cluster.place(made.index)
    yield made
    made.drop()


def polling(feed: Both, replay: Replay, writers: list[threading.Thread]) -> int:
    """Polls while the writers write; returns how many polls failed."""
    failed = 0
    while any(writer.is_alive() for writer in writers):
        try:
            feed.app.runner.poll("w")
        except ClusterError:
            failed += 1
            time.sleep(0.2)
        replay.apply(feed.new())
    return failed


def test_a_replica_takes_over_under_writes(cluster: Pair, world: World, tracker: str, tmp_path: Path) -> None:
    """The node of all primaries is killed while three writers write; later it comes back, and they write on."""
    rng = random.Random(SEED)
    feed, replay = Both(cluster, world.index, tmp_path, tracker), Replay()
    world.write(150, rng)
    world.refresh()
    replay.apply(feed.settle())
    writers = world.write_concurrently(900)
    killer = threading.Timer(0.7, cluster.kill)
    killer.start()
    polling(feed, replay, [*writers, killer])
    world.refresh()
    replay.apply(feed.settle())
    check(replay, world, "after the failover")
    assert cluster.primaries(world.index) == {cluster.stays_name}
    world.write(40, rng)
    world.refresh()
    replay.apply(feed.settle())
    check(replay, world, "one node")
    writers = world.write_concurrently(300)
    back = threading.Thread(target=cluster.revive)
    back.start()
    polling(feed, replay, [*writers, back])
    world.refresh()
    replay.apply(feed.settle())
    check(replay, world, "both nodes again")
    feed.close()


def test_a_primary_moves_under_writes(cluster: Pair, tracker: str, tmp_path: Path) -> None:
    """Without a replica, to the other node and back, while writers write and polls go on."""
    rng = random.Random(SEED)
    world = World(cluster.stays, SEED)
    world.make_index(shards=2)
    cluster.place(world.index, replicas=0)
    feed, replay = Both(cluster, world.index, tmp_path, tracker), Replay()
    world.write(150, rng)
    world.refresh()
    replay.apply(feed.settle())
    for node in (cluster.stays_name, cluster.falls_name):
        writers = world.write_concurrently(400)
        mover = threading.Thread(target=cluster.move, args=(world.index, node))
        mover.start()
        polling(feed, replay, [*writers, mover])
        world.refresh()
        replay.apply(feed.settle())
        check(replay, world, f"moved to {node}")
    world.drop()
    feed.close()


def test_a_failover_and_back_between_two_polls(cluster: Pair, world: World, tracker: str, tmp_path: Path) -> None:
    """The primary dies, comes back as a replica and is promoted again; as many refreshes as before, and more."""
    rng = random.Random(SEED)
    feed, replay = Both(cluster, world.index, tmp_path, tracker), Replay()
    world.write(150, rng)
    world.refresh()
    replay.apply(feed.settle())
    cluster.kill()
    world.write(60, rng)
    cluster.revive()
    world.write(30, rng)
    cluster.promote(world.index)
    world.write(60, rng)
    for _ in range(40):
        world.refresh()
    replay.apply(feed.settle())
    check(replay, world, "back again")
    world.write(30, rng)
    world.refresh()
    replay.apply(feed.settle())
    check(replay, world, "after it")
    feed.close()


def test_a_replica_that_lags_hides_no_delete(cluster: Pair, tracker: str, tmp_path: Path) -> None:
    """A poll sees deletes that the replica has not got yet; nothing happens after it has, and still they are told."""
    world = World(cluster.stays, SEED)
    world.make_index(shards=4)  # each asked of a copy of its own, so that chance hides nothing
    cluster.place(world.index)
    falling = Raw(cluster.falls, kind=world.kind)
    falling.bulk(world.index, [({"index": {"_id": f"d{n}"}}, {"name": "x", "updated_at": STAMP}) for n in range(20)])
    world.refresh()
    feed, replay = Both(cluster, world.index, tmp_path, tracker), Replay()
    replay.apply(feed.settle())
    cluster.wire.hold(REPLICATION)
    actions: list[tuple[dict[str, Any], Any]] = [({"delete": {"_id": f"d{n}"}}, None) for n in range(10)]
    writer = threading.Thread(target=falling.bulk, args=(world.index, actions))
    writer.start()
    assert cluster.wire.held.wait(30)
    stats = f"/{world.index}/_stats/indexing"
    eventually(lambda: falling.call("GET", stats)["_all"]["primaries"]["indexing"]["delete_total"] == 10)
    world.refresh()
    for _ in range(2):
        replay.apply(feed.settle())
    cluster.wire.let_go()
    writer.join(30)
    assert not writer.is_alive()
    if tracker == "updated_at" and cluster.stays.name != "es2":
        world.refresh()  # it may read the replica, which nobody else searches, and which so need not refresh by itself
    for _ in range(3):
        replay.apply(feed.settle())
    assert sorted(id for _, id, _ in replay.documents) == sorted(f"d{n}" for n in range(10, 20))
    assert replay.faults == []
    world.drop()
    feed.close()


def write_other(raw: Raw, index: str) -> None:
    """As many operations as are taken back, on other documents."""
    for n in range(3, 6):
        raw.put(index, f"d{n}", {"name": "later", "updated_at": STAMP})


def write_same(raw: Raw, index: str) -> None:
    """The same operations on the same documents, in the same order, with other contents."""
    raw.put(index, "d0", {"name": "later", "updated_at": STAMP})
    raw.put(index, "d1", {"name": "later", "updated_at": STAMP})
    raw.put(index, "new", {"name": "later", "updated_at": STAMP})


def write_delete(raw: Raw, index: str) -> None:
    """Another delete, so that there are as many documents as before the one that is taken back."""
    raw.delete(index, "d2")


def write_none(raw: Raw, index: str) -> None:
    """Nothing."""


def prove(world: World, raw: Raw, feed: Both) -> list[dict[str, Any]]:
    """Polls, refreshes between them, until a mark stands above all that was written before."""
    events = []
    for n in range(4):
        for word in ("one", "other"):
            raw.put(world.index, "d7", {"name": f"{word} {n}", "updated_at": STAMP})
            world.refresh()
        events += feed.settle()
    return events


@pytest.mark.parametrize(
    ("then", "proven"),
    [(write_none, False), (write_other, False), (write_same, False), (write_none, True), (write_delete, True)],
)
def test_what_only_a_dead_primary_had_is_taken_back(
    cluster: Pair, tracker: str, tmp_path: Path, then: Callable[[Raw, str], None], proven: bool
) -> None:
    """An update, a delete and a create that the replica never got are seen by a poll; then the primary is killed.

    ``proven``: what they take the place of is below a mark, and so is not listed again.
    """
    world = World(cluster.stays, SEED)
    world.make_index(shards=1)
    cluster.place(world.index)
    raw, falling = Raw(cluster.stays, kind=world.kind), Raw(cluster.falls, kind=world.kind)
    for n in range(8):
        raw.put(world.index, f"d{n}", {"name": "first", "updated_at": STAMP})
    world.refresh()
    feed, replay = Both(cluster, world.index, tmp_path, tracker), Replay()
    replay.apply(feed.settle())
    check(replay, world, "at first")
    if proven:
        replay.apply(prove(world, raw, feed))
        check(replay, world, "proven")

    cluster.wire.hold(REPLICATION)
    phantom = {"name": "phantom", "updated_at": STAMP}
    actions = [
        ({"index": {"_id": "d0"}}, phantom),
        ({"delete": {"_id": "d1"}}, None),
        ({"index": {"_id": "new"}}, phantom),
    ]

    def write() -> None:
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            falling.bulk(world.index, actions)

    writer = threading.Thread(target=write)
    writer.start()
    assert cluster.wire.held.wait(30)
    world.refresh()
    events = feed.settle()
    replay.apply(events)
    # By dates, a modern engine is read from one of its copies, which may be the replica.
    if tracker == "seq_no" or cluster.stays.name == "es2":
        assert sorted((event["data"]["op"], event["data"]["id"]) for event in events) == [
            ("created", "new"),
            ("deleted", "d1"),
            ("updated", "d0"),
        ]
    assert writer.is_alive()

    cluster.kill()
    writer.join(30)
    assert not writer.is_alive()
    then(raw, world.index)
    world.refresh()
    replay.apply(feed.settle())
    check(replay, world, "after the failover")
    # As whoever had no answer will: where nothing else was written, the same revisions come once more.
    raw.bulk(world.index, actions)
    world.refresh()
    replay.apply(feed.settle())
    check(replay, world, "the same once more")
    for n in range(2):
        raw.put(world.index, f"d{n}", {"name": "last", "updated_at": STAMP})
        raw.delete(world.index, f"d{n + 4}")
        world.refresh()
        replay.apply(feed.settle())
        check(replay, world, f"{n} after it")
    world.drop()
    feed.close()


@pytest.mark.parametrize("what", ["stale", "empty"])
def test_a_stale_or_an_empty_copy_is_made_the_primary(cluster: Pair, tracker: str, tmp_path: Path, what: str) -> None:
    """By force, as operators do when the node that had the primary is lost: numbers are given again."""
    if cluster.stays.name == "es2":
        pytest.skip("2.x does it by other words, and has no numbers to give again")
    world = World(cluster.stays, SEED)
    world.make_index(shards=1)
    cluster.place(world.index)
    raw = Raw(cluster.stays, kind=world.kind)
    for n in range(8):
        raw.put(world.index, f"d{n}", {"name": "first", "updated_at": STAMP})
    world.refresh()
    feed, replay = Both(cluster, world.index, tmp_path, tracker), Replay()
    replay.apply(feed.settle())
    check(replay, world, "at first")
    cluster.unassign(world.index)

    def write() -> None:
        raw.put(world.index, "d0", {"name": "second", "updated_at": STAMP})
        raw.put(world.index, "new", {"name": "second", "updated_at": STAMP})
        raw.delete(world.index, "d1")

    write()
    world.refresh()
    replay.apply(feed.settle())
    replay.apply(prove(world, raw, feed))
    check(replay, world, "proven")
    cluster.kill()
    with pytest.raises(ClusterError):
        feed.app.runner.poll("w")
    assert feed.new() == []
    cluster.force(world.index, what)
    world.refresh()
    replay.apply(feed.settle())
    check(replay, world, f"{what} primary")
    write()
    world.refresh()
    replay.apply(feed.settle())
    check(replay, world, "the same once more")
    replay.apply(prove(world, raw, feed))
    check(replay, world, "proven again")
    world.drop()
    feed.close()
