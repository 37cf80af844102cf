"""Errors are never data: every request of a poll is spoilt in every way, and nothing is lost or invented by it.

Of requests of one kind in a row, such as the pages of a scroll, the first two and the last. That each fault of each
request is an error, on each engine, ``tests/cluster/test_faults.py`` shows; here it is what a poll makes of one.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from esfeed.errors import ClusterError
from tests.engines.test_moves import switch
from tests.engines.test_oracle import SEED, Feed
from tests.support.engines import Engine
from tests.support.proxy import (
    Action,
    Proxy,
    answer,
    cut_after,
    cut_before,
    cut_middle,
    failed_shard,
    rewrite,
    silent_shard,
    terminated_early,
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
EMPTY = {"timed_out": False, "_shards": {"total": 0, "successful": 0, "failed": 0}, "hits": {"total": 0, "hits": []}}
FAULTS: dict[str, Action] = {
    "cut before": cut_before(),
    "cut after": cut_after(),
    "cut in the middle": cut_middle(),
    "truncated": truncate(),
    "503": answer(503),
    "404 context lost": answer(404, LOST),
    "a page of HTML": answer(200, b"<html>maintenance</html>"),
    "a failed shard": everywhere(failed_shard),
    "a silent shard": everywhere(silent_shard),
    "timed out": everywhere(timed_out),
    "terminated early": everywhere(terminated_early),
    "an empty object": answer(200, {}),
    "no shard at all": answer(200, {**EMPTY, "indices": {}, "docs": [], "responses": []}),
}
STEPS = {
    "es2": ("_stats", "_search\\?", "_search/scroll", "_mget"),
    "es9": ("_stats", "_msearch", "_search\\?", "_mget"),
}
STEPS["os2"] = STEPS["es9"]
ALIKE = ("cut after", "cut in the middle", "a page of HTML")
"""To a poll, whose requests change nothing: as cut before, and as truncated."""
EACH = [("es9", fault) for fault in FAULTS if fault not in ALIKE]
"""By date, as 2.x is followed, other requests are spoilt, but a fault is the same to a poll of either kind: one of each
sort is tried there. OpenSearch answers as Elasticsearch 9 does. Each takes as many polls as a poll takes requests."""
EACH += [("es2", fault) for fault in ("cut before", "404 context lost", "a silent shard", "no shard at all")]
EACH += [("os2", fault) for fault in ("truncated", "a silent shard")]
AFTER_A_SWITCH = [
    *[("es2", fault) for fault in ("cut before", "no shard at all")],
    *[("es9", fault) for fault in ("503", "no shard at all")],
    ("os2", "a silent shard"),
]


def places(lines: Sequence[str]) -> list[int]:
    """Which of the requests of a poll to spoil, counted from 1: of one kind in a row the first two and the last.

    The shards of an index are no kinds of their own.
    """
    kinds = [re.sub(r"/[^/?]*world-[^/?]*|\?.*", "", line) for line in lines]
    around = [None, None, *kinds, None]
    return [n + 1 for n, kind in enumerate(kinds) if not around[n] == around[n + 1] == kind == around[n + 3]]


@pytest.fixture
def world(engine: Engine) -> Iterator[World]:
    made = World(engine, SEED, documents=40)
    made.make_index()
    yield made
    made.drop()


@pytest.mark.parametrize(("engine", "fault"), EACH, indirect=["engine"])
def test_each_request_of_a_poll_is_spoilt(world: World, tmp_path: Path, fault: str) -> None:
    """The poll fails clearly or is none the worse, and the next one brings the replay to what the index holds."""
    rng = random.Random(SEED)
    with Proxy(world.raw.engine.url) as proxy:
        feed, replay = Feed(proxy.url, world.index, tmp_path, tries=1, max_page_bytes="40KB"), Replay()
        world.write(60, rng)
        world.refresh()
        replay.apply(feed.poll())
        world.write(25, rng)
        world.refresh()
        proxy.reset()
        replay.apply(feed.poll())
        wanted = places(proxy.lines())
        failed = 0

        def spoil(path: str, nth: int) -> str | None:
            """One poll whose ``nth`` request of that ``path`` is spoilt: which one that was, if there was one."""
            nonlocal failed
            world.write(25, rng)
            world.refresh()
            proxy.reset()
            proxy.on(path, FAULTS[fault], nth=nth)
            try:
                replay.apply(feed.poll())
            except ClusterError:
                failed += 1
            spoilt = proxy.lines(path)[nth - 1 : nth]
            proxy.reset()
            replay.apply(feed.new())
            replay.apply(feed.poll())
            found = replay.differences(world.truth())
            assert not found, f"request {nth} of {path!r}, ESFEED_TEST_SEED={SEED}: {found[:5]}"
            return spoilt[0] if spoilt else None

        met = [*filter(None, [spoil("", number) for number in wanted])]
        for step in STEPS[world.raw.engine.name]:
            # Which requests come in which place is by chance; each kind is to be spoilt in any case.
            tries = 0
            while not any(re.search(step, line) for line in met) and tries < 20:
                tries += 1
                met += filter(None, [spoil(step, 1)])
            assert any(re.search(step, line) for line in met), (step, met)
        assert failed >= (fault != "terminated early") * 2
        feed.close()


@pytest.mark.parametrize(
    ("engine", "fault"),
    [("es2", "cut before"), ("es2", "a silent shard"), ("es9", "503"), ("es9", "truncated")],
    indirect=["engine"],
)
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
            feed, replay = Feed(proxy.url, world.index, folder, tries=1, max_page_bytes="40KB"), Replay()
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


@pytest.mark.parametrize(("engine", "fault"), AFTER_A_SWITCH, indirect=["engine"])
def test_each_request_of_the_poll_after_a_switch_is_spoilt(world: World, tmp_path: Path, fault: str) -> None:
    """The alias leads to another index, with some documents changed, gone and new: told once, whatever breaks off."""
    rng = random.Random(SEED)
    alias, raw = f"{world.index}-alias", world.raw
    world.write(60, rng)
    world.refresh()
    raw.alias(world.index, alias)
    with Proxy(raw.engine.url) as proxy:
        feed, replay = Feed(proxy.url, alias, tmp_path, tries=1, max_page_bytes="40KB"), Replay()
        replay.apply(feed.poll())
        failed, old, wanted = 0, world.index, [0]  # none is spoilt after the first switch
        for turn in itertools.count(1):
            if not wanted:
                break
            number = wanted.pop(0)
            other = World(raw.engine, SEED, documents=40)
            other.index = f"{world.index}-{turn}"
            other.make_index()
            other.write(60, rng)
            other.refresh()
            switch(raw, alias, old, other.index)
            proxy.reset()
            if number:
                proxy.on("", FAULTS[fault], nth=number)
            try:
                replay.apply(feed.poll())
            except ClusterError:
                failed += 1
            if not number:
                wanted = places(proxy.lines())
            proxy.reset()
            replay.apply(feed.new())
            replay.apply(feed.poll())
            found = replay.differences(other.truth())
            assert not found, f"request {number}, ESFEED_TEST_SEED={SEED}: {found[:5]}"
            raw.call("DELETE", f"/{old}")
            old = other.index
        assert failed >= 4
        feed.close()


@pytest.mark.parametrize("engine", ["es2", "es9", "os2"], indirect=True)
def test_from_one_request_on_nothing_is_answered(world: World, tmp_path: Path) -> None:
    """The cluster is away from the n-th request on, longer than all tries: an error that says so, poll after poll."""
    rng = random.Random(SEED)
    with Proxy(world.raw.engine.url) as proxy:
        feed, replay = Feed(proxy.url, world.index, tmp_path, tries=2), Replay()
        world.write(60, rng)
        world.refresh()
        replay.apply(feed.poll())
        for number in range(1, 6):
            world.write(25, rng)
            world.refresh()
            proxy.reset()
            proxy.on("", answer(503), nth=number, times=10**6)
            for _ in range(2):
                with contextlib.suppress(ClusterError):
                    feed.poll()
            with pytest.raises(ClusterError, match="2 tries"):
                feed.poll()
            proxy.reset()
            replay.apply(feed.new())
            replay.apply(feed.poll())
            found = replay.differences(world.truth())
            assert not found, f"request {number}, ESFEED_TEST_SEED={SEED}: {found[:5]}"
        feed.close()


@pytest.mark.parametrize("engine", ["es2", "es9", "os2"], indirect=True)
@pytest.mark.parametrize("fault", ["cut before", "cut in the middle", "503"])
def test_a_passing_fault_is_tried_again_unseen(world: World, tmp_path: Path, fault: str) -> None:
    """One bad answer to each kind of request that may be sent twice: the same poll tries again and tells all."""
    rng = random.Random(SEED)
    with Proxy(world.raw.engine.url) as proxy:
        feed, replay = Feed(proxy.url, world.index, tmp_path, tries=3), Replay()
        world.write(60, rng)
        world.refresh()
        replay.apply(feed.poll())
        for pattern in ("_stats", r"POST /[^/]*/_search", "_msearch", "_mget"):
            world.write(25, rng)
            world.refresh()
            proxy.reset()
            proxy.on(pattern, FAULTS[fault])
            replay.apply(feed.poll())
            found = replay.differences(world.truth())
            assert not found, f"{pattern}, ESFEED_TEST_SEED={SEED}: {found[:5]}"
        feed.close()
