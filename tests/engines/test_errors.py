"""Errors are never data: every request of a poll is spoilt in every way, and nothing is lost or invented by it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from esfeed.errors import ClusterError
from tests.engines.test_oracle import SEED, Feed
from tests.support.engines import Engine
from tests.support.proxy import (
    Action,
    Proxy,
    answer,
    cut_before,
    cut_middle,
    failed_shard,
    rewrite,
    silent_shard,
    timed_out,
    truncate,
)
from tests.support.world import Replay, World

pytestmark = pytest.mark.engines


def everywhere(change: Callable[[dict[str, Any]], None]) -> Action:
    """``change`` in the answer, or in each of the answers of an ``_msearch``, where it has ``_shards``."""

    def act(parsed: dict[str, Any]) -> None:
        for part in [parsed, *parsed.get("responses", [])]:
            if part.get("_shards", {}).get("total"):
                change(part)

    return rewrite(act)


LOST = {"error": {"root_cause": [{"type": "search_context_missing_exception", "reason": "made up"}]}, "status": 404}
FAULTS: dict[str, Action] = {
    "cut before": cut_before(),
    "cut in the middle": cut_middle(),
    "truncated": truncate(),
    "503": answer(503),
    "404 context lost": answer(404, LOST),
    "a page of HTML": answer(200, b"<html>maintenance</html>"),
    "a failed shard": everywhere(failed_shard),
    "a silent shard": everywhere(silent_shard),
    "timed out": everywhere(timed_out),
}


@pytest.fixture
def world(engine: Engine) -> Iterator[World]:
    made = World(engine, SEED, documents=40)
    made.make_index()
    yield made
    made.drop()


@pytest.mark.parametrize("engine", ["es2", "es9"], indirect=True)
@pytest.mark.parametrize("fault", FAULTS)
def test_each_request_of_a_poll_is_spoilt(world: World, tmp_path: Path, fault: str) -> None:
    """The poll fails clearly or is none the worse, and the next one brings the replay to what the index holds."""
    rng = random.Random(SEED)
    with Proxy(world.raw.engine.url) as proxy:
        feed, replay = Feed(proxy.url, world.index, tmp_path, tries=1), Replay()
        world.write(60, rng)
        world.refresh()
        replay.apply(feed.poll())
        number = failed = 0
        while True:
            number += 1
            world.write(25, rng)
            world.refresh()
            proxy.reset()
            proxy.on("", FAULTS[fault], nth=number)
            try:
                replay.apply(feed.poll())
            except ClusterError:
                failed += 1
            spoilt = len(proxy.lines()) >= number
            proxy.reset()
            replay.apply(feed.new())
            replay.apply(feed.poll())
            found = replay.differences(world.truth())
            assert not found, f"request {number}, ESFEED_TEST_SEED={SEED}: {found[:5]}"
            if not spoilt:
                break
        assert failed >= 2
        feed.close()


@pytest.mark.parametrize("engine", ["es2", "es9"], indirect=True)
@pytest.mark.parametrize("fault", ["cut before", "503", "truncated", "a silent shard"])
def test_each_request_of_the_first_reading_is_spoilt(world: World, tmp_path: Path, fault: str) -> None:
    """A first reading that breaks off is begun anew: every document is told once, as read or as what it became."""
    rng = random.Random(SEED)
    world.write(150, rng)
    world.refresh()
    with Proxy(world.raw.engine.url) as proxy:
        number = 0
        while True:
            number += 1
            folder = tmp_path / str(number)
            folder.mkdir()
            feed, replay = Feed(proxy.url, world.index, folder, tries=1, max_page_bytes="10KB"), Replay()
            proxy.reset()
            proxy.on("", FAULTS[fault], nth=number)
            with contextlib.suppress(ClusterError):
                replay.apply(feed.poll())
            spoilt = len(proxy.lines()) >= number
            proxy.reset()
            replay.apply(feed.new())
            replay.apply(feed.poll())
            found = replay.differences(world.truth())
            assert not found, f"request {number}, ESFEED_TEST_SEED={SEED}: {found[:5]}"
            feed.close()
            if not spoilt:
                break
        assert number > 4
