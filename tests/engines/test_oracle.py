"""A random, hostile world against a real engine: after every poll the replayed events are what the index holds."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from esfeed.config.load import build
from esfeed.envelopes.cloudevents import cloudevent
from esfeed.runtime.factory import App
from esfeed.trackers.seq_no import State
from tests.support.engines import Engine
from tests.support.world import Replay, World

pytestmark = pytest.mark.engines

SEED = int(os.environ.get("ESFEED_TEST_SEED", random.randrange(10**6)))


class Feed:
    """The product, in this process: one watch, and its log as parsed CloudEvents."""

    def __init__(self, url: str, index: str, folder: Path, tries: int = 4, **watch: Any) -> None:
        config = {
            "state": f"sqlite:///{folder}/state.db",
            "clusters": {"main": {"hosts": [url], "retries": tries}},
            "watches": {"w": {"index": index, **watch}},
            "sinks": {"none": {"type": "file", "path": f"{folder}/events.jsonl"}},
        }
        self.app = App(build(config), "test")
        self._position = 0

    def poll(self) -> list[dict[str, Any]]:
        """One poll; the events that it logged."""
        self.app.runner.poll("w")
        return self.new()

    def new(self) -> list[dict[str, Any]]:
        """Events logged since the last call."""
        found = []
        while rows := self.app.store.log.read(self._position, 1000):
            self._position = rows[-1].position
            found += [json.loads(cloudevent(row.event), parse_float=Decimal) for row in rows]
        return found

    def close(self) -> None:
        self.app.__exit__(None, None, None)


def check(replay: Replay, world: World, where: str) -> None:
    """Fails with the differences and the seed that brings them back."""
    found = replay.differences(world.truth())
    assert not found, f"{where}, ESFEED_TEST_SEED={SEED}: {len(found)} faults\n" + "\n".join(found[:12])


@pytest.fixture(params=[False, True], ids=["internal", "external"])
def world(request: pytest.FixtureRequest, engine: Engine) -> Iterator[World]:
    """A world on one engine, once with the engine's own versions and once with external ones as Searchlight's."""
    made = World(engine, SEED, external=request.param)
    made.make_index()
    yield made
    made.drop()


def test_every_poll_brings_the_replay_to_what_the_index_holds(world: World, tmp_path: Path) -> None:
    """Creates, updates, rewrites, deletes, re-creations; late, tied, undated, future and unreadable dates."""
    rng = random.Random(SEED)
    feed, replay = Feed(world.raw.engine.url, world.index, tmp_path), Replay()
    world.write(150, rng)
    for step in range(12):
        world.refresh()
        replay.apply(feed.poll())
        check(replay, world, f"step {step}")
        world.write(rng.choice((1, 1, 2, 30, 80)), rng)
    feed.close()


def test_nothing_is_lost_while_writers_go_on(world: World, tmp_path: Path) -> None:
    """Polls beside three bulk writers; once those are done and all is refreshed, the replay is what the index holds."""
    feed, replay = Feed(world.raw.engine.url, world.index, tmp_path), Replay()
    for round_ in range(3):
        writers = world.write_concurrently(600)
        while any(writer.is_alive() for writer in writers):
            replay.apply(feed.poll())
        world.refresh()
        replay.apply(feed.poll())
        check(replay, world, f"round {round_}")
    feed.close()


def test_a_world_that_is_put_back(engine: Engine, tmp_path: Path) -> None:
    """Snapshots and restores in place between any two polls, with writes before and after them."""
    world, rng = World(engine, SEED), random.Random(SEED)
    world.make_index()
    feed, replay = Feed(engine.url, world.index, tmp_path), Replay()
    world.write(100, rng)
    world.snapshot()
    for step in range(10):
        world.refresh()
        if rng.random() < 0.7:
            replay.apply(feed.poll())
            check(replay, world, f"step {step}")
        if rng.random() < 0.3:
            world.snapshot()
        if rng.random() < 0.6:
            world.restore(rng)
        world.write(rng.choice((0, 1, 2, 30, 80)), rng)
    world.refresh()
    replay.apply(feed.poll())
    check(replay, world, "at the end")
    feed.close()
    world.drop()


def test_an_alias_that_rolls_over(engine: Engine, tmp_path: Path) -> None:
    """Now and then one more index behind the alias, writes to all of them, and restores of any."""
    world, rng = World(engine, SEED, rolling=True), random.Random(SEED)
    world.make_index(shards=1)
    feed, replay = Feed(engine.url, world.index, tmp_path), Replay()
    world.write(100, rng)
    world.snapshot()
    for step in range(10):
        world.refresh()
        if rng.random() < 0.7:
            replay.apply(feed.poll())
            check(replay, world, f"step {step}")
        if step in (3, 6):
            world.roll()
        if rng.random() < 0.2:
            world.restore(rng)
        world.write(rng.choice((1, 2, 30, 80)), rng)
    world.refresh()
    replay.apply(feed.poll())
    check(replay, world, "at the end")
    feed.close()
    world.drop()


@pytest.mark.parametrize("engine", ["es7", "es9", "os2", "os3"], indirect=True)
def test_a_first_reading_that_waited_for_proof(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside writers, a large index is not listed again after the first poll; and nothing is lost for that."""
    # As if it were too large to list twice, however late a busy engine refreshes.
    monkeypatch.setattr("esfeed.trackers.initial_sync.looks", lambda docs, refresh: 200)
    world = World(engine, SEED)
    world.make_index()
    rng = random.Random(SEED)
    world.write(150, rng)
    world.refresh()
    feed, replay = Feed(engine.url, world.index, tmp_path, tracker="seq_no"), Replay()
    writers = world.write_concurrently(4000, rest=0.04)
    replay.apply(feed.poll())
    assert any(writer.is_alive() for writer in writers), "no writer was left, so this says nothing"
    checkpoint = feed.app.store.commits.checkpoint("w")
    assert checkpoint is not None
    proven = [one.mark for one in msgspec.json.decode(checkpoint.data, type=State).marks.values()]
    while any(writer.is_alive() for writer in writers):
        replay.apply(feed.poll())
    world.refresh()
    replay.apply(feed.poll())
    check(replay, world, "at the end")
    assert min(proven) > 20
    feed.close()
    world.drop()
