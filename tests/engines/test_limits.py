"""Where an index or a cluster gives little at once, a watch goes in smaller steps, and still tells everything."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from esfeed.model.reads import Shard
from tests.engines.test_oracle import SEED, Feed, check
from tests.engines.test_values import backfilled
from tests.support.clients import Raw
from tests.support.engines import NAMES, Engine, selected, start, stop
from tests.support.world import Replay, World

pytestmark = pytest.mark.engines

MANY = 130
PREFIX = f"limits-{os.getpid()}-"
"""Of the indices of this process: others run the same tests at the same time."""
DATES = {"updated_at": {"type": "date"}, "n": {"type": "integer"}}
BY_NUMBER = ("es6", "es7", "es8", "es9", "os2", "os3")
CLUSTER = {
    "search.default_keep_alive": "1m",
    "search.max_keep_alive": "1m",
    "search.max_buckets": 20,
    "search.max_open_scroll_context": 0,
}


def _document(number: int, text: str) -> dict[str, Any]:
    """Dates that lie far apart: each is in a bucket of its own."""
    day = datetime(1975, 1, 1, tzinfo=UTC) + timedelta(days=100 * number)
    return {"updated_at": day.isoformat(), "n": number, "text": text}


class Followed:
    """An index and a watch on it; after each poll, what was told is what the index holds."""

    def __init__(self, raw: Raw, folder: Path, settings: dict[str, Any], **watch: Any) -> None:
        self.raw = raw
        self.index = f"{PREFIX}{secrets.token_hex(4)}"
        raw.create(self.index, DATES, settings)
        self.truth: dict[str, dict[str, Any]] = {}
        self.told: dict[str, dict[str, Any]] = {}
        self.write(range(MANY), "one")
        self.feed = Feed(raw.engine.url, self.index, folder, tries=1, **watch)

    def write(self, numbers: Any, text: str | None) -> None:
        """Writes these documents, or deletes them."""
        actions = []
        for number in numbers:
            id = str(number)
            if text is None:
                del self.truth[id]
                actions.append(({"delete": {"_id": id}}, None))
            else:
                self.truth[id] = _document(number, text)
                actions.append(({"index": {"_id": id}}, self.truth[id]))
        self.raw.bulk(self.index, actions, refresh="true")

    def poll(self) -> int:
        """Polls, compares, and says how much was told."""
        events = [event["data"] for event in self.feed.poll()]
        for data in events:
            if data["op"] == "deleted":
                del self.told[data["id"]]
            else:
                self.told[data["id"]] = data["after"]
        assert self.told == self.truth
        return len(events)

    def reconcile(self) -> int:
        self.feed.app.trackers["w"].reconcile = True
        return self.poll()

    def everything(self) -> None:
        """First poll, later polls, a reconcile and a backfill."""
        assert self.poll() == MANY
        self.write(range(100), "two")
        self.write(range(MANY, MANY + 20), "late")
        assert self.poll() == 120
        self.write(range(1, MANY, 4), None)
        assert self.poll() == len(range(1, MANY, 4))
        self.write(range(2, MANY, 4), None)
        self.write([0, 3, 4], "three")
        assert self.poll() == len(range(2, MANY, 4)) + 3
        assert self.reconcile() == 0
        assert backfilled(self.feed.app, self.index) == set(self.truth)
        self.feed.close()


@pytest.fixture
def raw(engine: Engine) -> Iterator[Raw]:
    made = Raw(engine)
    yield made
    made.drop(PREFIX)


@pytest.mark.parametrize(
    ("engine", "tracker"),
    [*((name, "auto") for name in NAMES), *((name, "updated_at") for name in ("es6", "es9", "os3"))],
    indirect=["engine"],
)
def test_small_pages(raw: Raw, tmp_path: Path, tracker: str) -> None:
    """``index.max_result_window``: fewer documents at once than are asked for anywhere."""
    Followed(raw, tmp_path, {"index.max_result_window": 25}, tracker=tracker).everything()


@pytest.mark.parametrize("engine", BY_NUMBER, indirect=True)
def test_small_steps(raw: Raw, tmp_path: Path) -> None:
    """Few terms in a query, no values of fields beside documents, no hits within hits."""
    settings = {
        "index.max_terms_count": 3,
        "index.max_docvalue_fields_search": 0,
        "index.max_inner_result_window": 1,
    }
    followed = Followed(raw, tmp_path, settings, tracker="updated_at")
    followed.raw.bulk(followed.index, [({"index": {"_id": "undated"}}, {"n": 1})], refresh="true")
    followed.truth["undated"] = {"n": 1}
    assert followed.poll() == MANY + 1
    followed.write(range(1, MANY, 2), None)
    followed.write(range(0, MANY, 2), "two")
    assert followed.poll() == MANY
    assert followed.reconcile() == 0
    followed.feed.close()


@pytest.mark.parametrize("engine", BY_NUMBER, indirect=True)
def test_few_numbers_at_once(raw: Raw, tmp_path: Path) -> None:
    """Documents by their numbers, of which a query holds few and an answer fewer."""
    followed = Followed(raw, tmp_path, {"index.max_terms_count": 7, "index.max_result_window": 5})
    cluster = followed.feed.app.clusters["w"]
    of = cluster.resolve(followed.index, "w")
    (place,) = cluster.counters(followed.index).shards.values()
    found = cluster.numbered(of, Shard(followed.index, 0, place.node), range(0, 60, 2))
    assert sorted(doc.seq_no or 0 for doc in found) == [*range(0, 60, 2)]
    followed.feed.close()


def test_one_index_of_two_gives_less(raw: Raw, tmp_path: Path) -> None:
    """A refusal of some shards, in an answer that is whole to HTTP."""
    name = f"{PREFIX}{secrets.token_hex(4)}"
    for number, window in enumerate((1000, 25)):
        index = f"{name}-{number}"
        raw.create(index, DATES, {"index.max_result_window": window})
        documents = [({"index": {"_id": f"{number}/{n}"}}, _document(n, "x")) for n in range(MANY)]
        raw.bulk(index, documents, refresh="true")
    feed = Feed(raw.engine.url, f"{name}-*", tmp_path, tries=1)
    told = [event["data"]["id"] for event in feed.poll()]
    assert len(told) == len(set(told)) == 2 * MANY
    feed.close()


@contextmanager
def _cluster(name: str) -> Iterator[Raw]:
    """A cluster of its own, which allows little."""
    instance = f"qa-limits-{os.getpid()}"
    raw = Raw(start([name], instance=instance)[0])
    try:
        raw.call("PUT", "/_cluster/settings", {"persistent": CLUSTER})
        yield raw
    finally:
        stop([name], instance)


@pytest.mark.parametrize("name", ["es9", "os3"])
def test_a_cluster_that_allows_little(name: str, tmp_path: Path) -> None:
    """Few buckets, short scrolls or none, beside small pages; then scrolls that are kept for a short time."""
    if name not in selected():
        pytest.skip(f"ESFEED_TEST_ENGINES leaves out {name}")
    with _cluster(name) as raw:
        for tracker in ("auto", "updated_at"):
            folder = tmp_path / tracker
            folder.mkdir()
            settings = {"index.max_result_window": 50, "number_of_shards": 2}
            Followed(raw, folder, settings, tracker=tracker).everything()
        (tmp_path / "writers").mkdir()
        feed, replay, world = _beside_writers(raw, tmp_path / "writers")
        raw.call("PUT", "/_cluster/settings", {"persistent": {"search.max_open_scroll_context": None}})
        check(replay, world, "without scrolls")
        feed.close()
        followed = Followed(raw, tmp_path, {"index.max_result_window": 50})
        assert followed.poll() == MANY
        followed.feed.close()


def _beside_writers(raw: Raw, folder: Path) -> tuple[Feed, Replay, World]:
    """Without a scroll a read is no snapshot: what is written meanwhile comes once more, and nothing is missed."""
    world = World(raw.engine, SEED)
    world.make_index()
    world.write(200, random.Random(SEED))
    feed, replay = Feed(raw.engine.url, world.index, folder, max_page_bytes="20KB"), Replay()
    writers = world.write_concurrently(400, rest=0.01)
    while any(writer.is_alive() for writer in writers):
        replay.apply(feed.poll())
        feed.app.trackers["w"].reconcile = True
    world.refresh()
    replay.apply(feed.poll())
    return feed, replay, world
