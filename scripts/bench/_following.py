"""What following costs the cluster: polls with nothing new, k deletes among N documents, a re-sync; beside a bare scan.

The scan is ``peers/ids.py``: ids and versions of all documents, read a thread a shard, nothing kept. It is run beside
each poll, in the same process.
"""

from __future__ import annotations

import random
import statistics
import time
from pathlib import Path
from typing import Any

from _data import SHARDS, documents, load
from _feed import TOUCHED, app, cost, settle
from peers import ids

from esfeed.runtime.factory import App
from tests.support.clients import Raw

_SMALL = 1_000
_IDLE = 50


class TrackerOptions:
    """One run of all three on ``count`` documents. ``name`` begins the names of its indices."""

    def __init__(self, raw: Raw, name: str, count: int, folder: Path) -> None:
        self._raw = raw
        self._name = name
        self._count = count
        self._folder = folder

    def measure(self, deletes: int, repeat: int) -> dict[str, Any]:
        """Loads, and measures each in turn; the feed keeps no documents, only what tells them apart."""
        feeds = {count: self._feed(count) for count in (_SMALL, self._count)}
        try:
            first = {count: self._first(feed, count) for count, feed in feeds.items()}
            told: dict[str, Any] = {"first": first[self._count], "tracker": feeds[self._count].trackers["w"].name}
            told["idle"] = self._idle(feeds)
            told["resync"] = self._resync(feeds[self._count])
            told["deletes"] = self._deletes(feeds[self._count], deletes, repeat)
        finally:
            for feed in feeds.values():
                feed.__exit__(None, None, None)
        return told

    def _index(self, count: int) -> str:
        return f"{self._name}-{count}"

    def _feed(self, count: int) -> App:
        load(self._raw, self._index(count), count, fingerprints=False)
        self._raw.alias(self._index(count), f"{self._index(count)}-alias")
        folder = self._folder / str(count)
        folder.mkdir()
        url = self._raw.engine.url
        return app(folder, url, index=f"{self._index(count)}-alias", keep_documents=False)

    def _first(self, feed: App, count: int) -> dict[str, Any]:
        first = cost(feed)
        settle(feed, self._raw, self._index(count))
        return first

    def _scan(self, index: str) -> dict[str, Any]:
        began = time.perf_counter()
        found, octets = ids.scan_all(self._raw.engine.url, index, SHARDS)
        return {"documents": found, "bytes": octets, "ms": (time.perf_counter() - began) * 1000}

    def _idle(self, feeds: dict[int, App]) -> list[dict[str, Any]]:
        polls: dict[int, list[dict[str, Any]]] = {count: [] for count in feeds}
        for _ in range(_IDLE):
            for count, feed in feeds.items():
                polls[count].append(cost(feed))
        return [
            {
                "documents": count,
                "requests": statistics.median(poll["requests"] for poll in found),
                "bytes": statistics.median(poll["bytes"] for poll in found),
                "ms": statistics.median(poll["ms"] for poll in found),
                "events": sum(sum(poll["events"].values()) for poll in found),
            }
            for count, found in polls.items()
        ]

    def _resync(self, feed: App) -> dict[str, Any]:
        """The same documents, in a new index behind the alias."""
        old, new = self._index(self._count), f"{self._index(self._count)}-new"
        load(self._raw, new, self._count, fingerprints=False)
        self._raw.put(new, TOUCHED, {"updated_at": "2026-11-24T00:00:00Z", "n": 3})
        self._raw.refresh(new)
        alias = f"{old}-alias"
        moves = [{"remove": {"index": old, "alias": alias}}, {"add": {"index": new, "alias": alias}}]
        self._raw.call("POST", "/_aliases", {"actions": moves})
        before = self._scan(new)
        poll = cost(feed)
        after = self._scan(new)
        settle(feed, self._raw, new)
        return {"poll": poll, "scans": [before, after]}

    def _deletes(self, feed: App, most: int, repeat: int) -> list[dict[str, Any]]:
        index, rng = f"{self._index(self._count)}-new", random.Random(2)
        counts = sorted({1, 10, most})
        rounds = [count for _ in range(repeat) for count in counts]
        chosen = set(rng.sample(range(self._count), min(self._count, sum(rounds))))
        going = [id for number, (id, _) in enumerate(documents(self._count)) if number in chosen]
        rng.shuffle(going)
        told = []
        for count in rounds:
            now, going = going[:count], going[count:]
            self._raw.bulk(index, [({"delete": {"_id": id}}, None) for id in now])
            self._raw.refresh(index)
            poll = cost(feed)
            told.append({"deletes": count, "poll": poll, "scan": self._scan(index)})
            feed.runner.poll("w")
        return told
