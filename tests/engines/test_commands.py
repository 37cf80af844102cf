"""The commands against real engines, as users run them: ``poll``, ``run`` under kill -9, ``backfill`` beside a feed.

On one engine of each family: that a feed in one process is exact on all of them, ``test_oracle`` shows.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.engines.test_oracle import SEED
from tests.support.clients import Raw, eventually
from tests.support.engines import FAMILIES, Engine
from tests.support.feed import Feed
from tests.support.proxy import Proxy, delay
from tests.support.world import Identity, Replay, World

pytestmark = pytest.mark.engines

FUTURE = "2099-01-01T00:00:00Z"


@pytest.fixture(params=FAMILIES)
def engine(request: pytest.FixtureRequest, started: Callable[[str], Engine]) -> Engine:
    """One of each family; some tests name others."""
    return started(request.param)


@pytest.fixture
def world(engine: Engine) -> Iterator[World]:
    made = World(engine, SEED)
    made.make_index()
    yield made
    made.drop()


@pytest.fixture
def feed(world: World, tmp_path: Path) -> Iterator[Feed]:
    made = Feed(tmp_path, world.raw.engine.url, world.index)
    yield made
    made.clean_up()


def replayed(feed: Feed) -> Replay:
    """All events of the file so far, replayed."""
    replay = Replay()
    replay.apply(feed.lines())
    return replay


def test_poll_tells_each_kind_of_change_by_its_name(world: World, feed: Feed) -> None:
    """Late, tied, undated and future-dated documents, a rewrite that leaves the date alone, delete and re-creation."""
    raw, index = Raw(world.raw.engine, kind=world.kind), world.index
    now, late = "2026-11-24T10:00:00Z", "2026-11-24T09:00:00Z"
    raw.put(index, "a", {"updated_at": now, "name": "one"})
    raw.put(index, "b", {"updated_at": now, "name": "one"})
    raw.refresh(index)
    feed.poll()
    assert told(feed) == [("read", "a", None), ("read", "b", None)]

    raw.put(index, "tied", {"updated_at": now})
    raw.put(index, "late", {"updated_at": late})
    raw.put(index, "undated", {"name": "x"})
    raw.put(index, "future", {"updated_at": FUTURE})
    raw.put(index, "b", {"updated_at": now, "name": "two"})
    raw.delete(index, "a")
    raw.refresh(index)
    feed.poll()
    assert told(feed, 2) == [
        ("created", "future", None),
        ("created", "late", None),
        ("created", "tied", None),
        ("created", "undated", None),
        ("deleted", "a", None),
        ("updated", "b", ["name"]),
    ]

    raw.put(index, "a", {"updated_at": late, "name": "again"})
    raw.put(index, "undated", {"name": "y"})
    raw.put(index, "future", {"updated_at": FUTURE, "name": "z"})
    raw.put(index, "new", {"updated_at": "2026-11-24T10:00:01Z"})
    raw.refresh(index)
    feed.poll()
    assert told(feed, 8) == [
        ("created", "a", None),
        ("created", "new", None),
        ("updated", "future", ["name"]),
        ("updated", "undated", ["name"]),
    ]

    raw.put(index, "undated", {"name": "y"})
    raw.refresh(index)
    feed.poll()
    assert told(feed, 12) == []
    assert replayed(feed).differences(world.truth()) == []


def told(feed: Feed, after: int = 0) -> list[tuple[str, str, list[str] | None]]:
    """(op, id, changed) of the events after so many, in order of op and id: documents have no order among them."""
    return sorted((e["data"]["op"], e["data"]["id"], e["data"]["changed"]) for e in feed.lines()[after:])


def test_poll_after_poll_the_replay_is_the_index(world: World, feed: Feed) -> None:
    """The same hostile world as the oracle's, through the command and the file sink."""
    rng = random.Random(SEED)
    for operations in (60, 5, 40):
        world.write(operations, rng)
        world.refresh()
        feed.poll()
        assert replayed(feed).differences(world.truth()) == [], f"ESFEED_TEST_SEED={SEED}"


def test_run_loses_nothing_when_killed_ten_times(world: World, feed: Feed) -> None:
    """kill -9 at any moment, while documents are written: every line stays whole, a repeat carries the same id."""
    rng = random.Random(SEED)
    for _ in range(10):
        feed.start()
        until = time.monotonic() + rng.uniform(0.9, 2.2)
        while time.monotonic() < until:
            world.write(rng.choice((1, 5, 20)), rng)
            time.sleep(0.05)
        feed.kill()
    world.write(30, rng)
    world.refresh()
    feed.start()
    truth = world.truth()
    tells(feed, truth)
    assert feed.stop() < 10
    assert replayed(feed).differences(truth) == [], f"ESFEED_TEST_SEED={SEED}"


def tells(feed: Feed, truth: Mapping[Identity, Any], seconds: float = 60) -> None:
    """A running feed comes to tell that truth; or fails with what is wrong, and what the feed says of it."""
    until = time.monotonic() + seconds
    while wrong := replayed(feed).differences(truth):
        if time.monotonic() > until:
            said = [feed("status").stdout, feed.log.read_text()[-3000:]]
            raise AssertionError("\n".join([f"ESFEED_TEST_SEED={SEED}, after {seconds:g} s", *wrong[:12], *said]))
        time.sleep(0.05)


def fill(raw: Raw, index: str, documents: int) -> None:
    """So many documents, a second apart from 2023-11 on."""
    for start in range(0, documents, 1000):
        raw.bulk(
            index,
            [
                ({"index": {"_id": str(n)}}, {"updated_at": 1_700_000_000_000 + n * 1000, "name": "x" * 50})
                for n in range(start, start + 1000)
            ],
        )


@pytest.mark.parametrize("engine", ["es2", "es9"], indirect=True)
def test_backfill_without_a_feed_killed_and_resumed(world: World, feed: Feed) -> None:
    """It goes past the log; after a kill -9 it goes on, nothing is missing, and what comes again has the same id."""
    raw, index = Raw(world.raw.engine, kind=world.kind), world.index
    fill(raw, index, 4000)
    raw.refresh(index)
    feed.config.write_text(feed.config.read_text().replace("[watches.w]\n", '[watches.w]\nmax_page_bytes = "1MB"\n'))
    with Proxy(raw.engine.url) as slow:
        slow.on("_search", delay(0.7), times=99)
        for more in (1, 1000):
            first = feed.backfill("--since", "2023-01-01", "--sink", "audit", through=slow.url)
            eventually(lambda more=more: len(feed.lines()) >= more, seconds=30)  # type: ignore[misc]
            first.kill()
            first.wait()
    assert 1000 <= len(feed.lines()) < 4000
    raw.put(index, "17", {"updated_at": 1_700_000_000_000 + 4_000_000, "name": "newer"})
    raw.refresh(index)
    done = feed("backfill", "--since", "2023-01-01", "--sink", "audit")
    assert done.returncode == 0, done.stderr

    events = feed.lines()
    assert {e["data"]["id"] for e in events} == {str(n) for n in range(4000)}
    versions = {(e["data"]["id"], e["data"]["origin"]["version"]): e["id"] for e in events}
    assert all(e["id"] == versions[e["data"]["id"], e["data"]["origin"]["version"]] for e in events)
    places = [e["data"]["position"] for e in events]
    assert places == sorted(set(places))
    assert len(events) < 4000 + 2 * 3000
    assert json.loads(feed("events", "--json").stdout or "[]") == []
    assert next(e["data"]["after"]["name"] for e in reversed(events) if e["data"]["id"] == "17") == "newer"


@pytest.mark.parametrize("engine", ["es2", "es9"], indirect=True)
@pytest.mark.parametrize("beside", [False, True])
def test_backfill_says_what_routes_left_out(world: World, feed: Feed, beside: bool) -> None:
    """A route that leaves out every read event is a warning and exit 3; if it leaves out some, that is said."""
    raw, index = Raw(world.raw.engine, kind=world.kind), world.index
    raw.bulk(index, [({"index": {"_id": str(n)}}, {"updated_at": 1_700_000_000_000 + n}) for n in range(40)])
    raw.refresh(index)
    settings = feed.config.read_text().replace("[watches.w]\n", '[watches.w]\ninitial = "now"\n')

    def ran(where: str, since: str) -> tuple[int, str]:
        feed.config.write_text(settings + f"[[routes]]\nsinks = ['audit']\nwhere = \"{where}\"\n")
        if beside:
            feed.start()
            eventually(lambda: '"documents": 40' in feed("status", "--json").stdout, seconds=60)
        done = feed("backfill", "--since", since)
        if beside:
            feed.stop()
        return done.returncode, done.stderr

    code, told = ran("op != 'read'", "2023-01-01")
    assert code == 3
    assert "w: 40 documents read for audit" in told
    assert "w: the routes left out 40 of 40 events for audit (routes[0].where = \"op != 'read'\")" in told
    assert "warning: nothing was sent" in told
    assert feed.lines() == []
    code, told = ran("int(id) < 30", "2023-01-02")
    assert (code, "left out 10 of 40 events for audit" in told) == (0, True)
    assert "warning" not in told
    assert len(feed.lines()) == 30
    code, told = ran("true", "2023-01-03")
    assert (code, "left out" in told) == (0, False)
    assert len(feed.lines()) == 70


def test_backfill_beside_a_running_feed_stopped_and_resumed(world: World, feed: Feed) -> None:
    """It sends what is there as read events through the running feed; stopped half-way, it goes on, with no repeat."""
    raw, index = Raw(world.raw.engine, kind=world.kind), world.index
    fill(raw, index, 6000)
    raw.put(index, "old", {"updated_at": "2001-01-01T00:00:00Z"})
    raw.refresh(index)
    few = '[watches.w]\ninitial = "now"\nmax_page_bytes = "1MB"\n'
    feed.config.write_text(feed.config.read_text().replace("[watches.w]\n", few))
    feed.start()
    eventually(lambda: feed("status", "--json").stdout.find('"documents": 6001') > 0, seconds=60)

    with Proxy(raw.engine.url) as slow:
        slow.on("_search", delay(0.7), times=99)
        first = feed.backfill("--since", "2023-01-01", "--sink", "audit", through=slow.url)
        eventually(lambda: len(feed.lines()) >= 1000, seconds=30)
        first.terminate()
        assert first.wait(timeout=30) == 1
    assert len(feed.lines()) < 6000
    raw.put(index, "5999", {"updated_at": 1_700_000_000_000 + 5_999_000, "name": "newer"})
    raw.refresh(index)
    done = feed("backfill", "--since", "2023-01-01", "--sink", "audit")
    assert done.returncode == 0, done.stderr

    events = feed.lines()
    reads = [e["data"]["id"] for e in events if e["data"]["op"] == "read"]
    assert sorted(reads, key=int) == [str(n) for n in range(6000)]
    last = {e["data"]["id"]: e["data"]["after"]["name"] for e in events}
    assert last["5999"] == "newer"
    feed.stop()
