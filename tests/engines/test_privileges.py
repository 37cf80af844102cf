"""With fewer privileges than esfeed would like: it says so, and is exact all the same."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from esfeed.config.load import build
from esfeed.errors import ClusterError, ConfigError
from esfeed.runtime.factory import App
from tests.engines.test_oracle import SEED, Feed, check
from tests.support.engines import Engine
from tests.support.world import Replay, World

pytestmark = pytest.mark.engines

ENOUGH = ["read", "view_index_metadata", "monitor"]


def follow(
    engine: Engine, world: World, privileges: list[str], folder: Path, tracker: str = "auto", index: str = ""
) -> Feed:
    """A feed (of ``index``, else the world's) whose API key has those privileges, and may tell the version."""
    role = {"cluster": ["monitor"], "indices": [{"names": [f"{world.index}*"], "privileges": privileges}]}
    body = {"name": "qa", "role_descriptors": {"reader": role}}
    key = world.raw.call("POST", "/_security/api_key", body)["encoded"]
    feed = Feed(engine.url, world.index, folder)
    feed.close()
    feed.app = App(
        build({
            "state": f"sqlite:///{folder}/state.db",
            "clusters": {"main": {"hosts": [engine.url], "api_key": key, "ca_certs": engine.ca_certs}},
            "watches": {"w": {"index": index or world.index, "tracker": tracker}},
            "sinks": {"none": {"type": "file", "path": f"{folder}/events.jsonl"}},
        }),
        "test",
    )  # fmt: skip
    return feed


@pytest.mark.parametrize("privileges", [ENOUGH, ENOUGH[:2]], ids=["all", "without monitor"])
def test_every_poll_is_exact(secured: Engine, privileges: list[str], tmp_path: Path) -> None:
    """By sequence number where the counters may be read; else by dates and full readings, and the status says why."""
    world = World(secured, SEED)
    world.make_index()
    rng = random.Random(SEED)
    feed, replay = follow(secured, world, privileges, tmp_path), Replay()
    world.write(150, rng)
    for step in range(6):
        world.refresh()
        replay.apply(feed.poll())
        check(replay, world, f"step {step}")
        world.write(rng.choice((1, 2, 30, 80)), rng)
    tracker = feed.app.trackers["w"]
    if privileges == ENOUGH:
        assert tracker.name == "seq_no"
    else:
        assert tracker.name == "updated_at"
        assert "may not read the counters" in tracker.why
        assert "grant `monitor`" in tracker.why
        assert "without counters" in tracker.check(None)
    feed.close()
    world.drop()


def test_sequence_numbers_that_were_asked_for_are_an_error_without_counters(secured: Engine, tmp_path: Path) -> None:
    """It names the key, what stands there, and what to grant."""
    world = World(secured, SEED)
    world.make_index()
    feed = follow(secured, world, ENOUGH[:2], tmp_path, tracker="seq_no")
    with pytest.raises(ConfigError, match=r"watches\.w\.tracker = 'seq_no'.*grant `monitor`"):
        feed.poll()
    feed.close()
    world.drop()


def test_an_alias_that_moves_is_followed_without_counters(secured: Engine, tmp_path: Path) -> None:
    """To an index with the same documents, of which one differs."""
    world = World(secured, SEED)
    raw, name = world.raw, f"{world.index}-name"
    for number in (1, 2):
        raw.create(f"{world.index}{number}", {"updated_at": {"type": "date"}})
        raw.fill(f"{world.index}{number}", 5, updated_at="2026-01-01T00:00:00Z")
    raw.bulk(f"{world.index}2", [({"index": {"_id": "3"}}, {"n": 77})], refresh="true")
    raw.alias(f"{world.index}1", name)
    feed = follow(secured, world, ENOUGH[:2], tmp_path, index=name)
    assert [event["data"]["op"] for event in feed.poll()] == ["read"] * 5
    actions = [
        {"remove": {"index": f"{world.index}1", "alias": name}},
        {"add": {"index": f"{world.index}2", "alias": name}},
    ]
    raw.call("POST", "/_aliases", {"actions": actions})
    assert [(event["data"]["op"], event["data"]["id"]) for event in feed.poll()] == [("updated", "3")]
    assert feed.poll() == []
    feed.close()
    raw.drop(world.index)


def test_privileges_that_come_and_go(secured: Engine, tmp_path: Path) -> None:
    """At random, on one index of two or on both, between writes: nothing is told of what is out of sight."""
    world, rng = World(secured, SEED, rolling=True), random.Random(SEED)
    world.make_index(shards=1)
    world.roll()
    raw, name = world.raw, f"{world.index}-role"

    def sees(*names: str) -> None:
        role = {"cluster": ["monitor"], "indices": [{"names": [*names], "privileges": ENOUGH}]}
        raw.call("PUT", f"/_security/role/{name}", role)

    everything = f"{world.index}*"
    sees(everything)
    raw.call("PUT", f"/_security/user/{name}", {"password": "come-and-go", "roles": [name]})
    feed, replay = Feed(secured.url, world.index, tmp_path), Replay()
    feed.close()
    cluster = {"hosts": [secured.url], "basic_auth": f"{name}:come-and-go", "ca_certs": secured.ca_certs}
    feed.app = App(
        build({
            "state": f"sqlite:///{tmp_path}/state.db",
            "clusters": {"main": cluster},
            "watches": {"w": {"index": f"{world.index}-0*"}},
            "sinks": {"none": {"type": "file", "path": f"{tmp_path}/events.jsonl"}},
        }),
        "test",
    )  # fmt: skip
    world.write(100, rng)
    for step in range(12):
        hidden = step and rng.random() < 0.5
        if hidden:
            sees(rng.choice((f"{world.index}-000001", f"{world.index}-000002", "nothing")))
            with pytest.raises(ClusterError):
                feed.poll()
            assert feed.new() == [], f"step {step}, ESFEED_TEST_SEED={SEED}"
            sees(everything)
        world.write(rng.choice((0, 1, 2, 40)), rng)
        world.refresh()
        replay.apply(feed.poll())
        check(replay, world, f"step {step}")
    feed.close()
    world.drop()
    raw.call("DELETE", f"/_security/user/{name}")
    raw.call("DELETE", f"/_security/role/{name}")
